"""Domains: one graph each, free again when its holder is gone."""

import subprocess
import sys

import pytest

from praxon.errors import RobotError
from praxon.ros_nodes.domain import Domain


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    monkeypatch.delenv("ROS_AUTOMATIC_DISCOVERY_RANGE", raising=False)


def test_two_graphs_never_share_a_domain() -> None:
    first, second = Domain(), Domain()
    assert first.id != second.id
    assert {first.id, second.id} <= set(range(1, 102))
    with pytest.raises(RobotError, match=rf"^ROS domain {first.id} is in use by other runs of Praxon"):
        Domain(first.id)
    first.close()
    Domain(first.id).close()
    second.close()


def test_a_domain_is_free_when_its_holder_was_killed() -> None:
    code = "from praxon.ros_nodes.domain import Domain; d = Domain(); print(d.id, flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    number = int(holder.stdout.readline())
    with pytest.raises(RobotError):
        Domain(number)
    holder.kill()
    holder.communicate()
    Domain(number).close()


def test_the_environment_decides_where_it_says_something(monkeypatch: pytest.MonkeyPatch) -> None:
    free = Domain()
    number = free.id
    free.close()
    monkeypatch.setenv("ROS_DOMAIN_ID", str(number))
    domain = Domain()
    assert domain.id == number
    environment = domain.environment()
    assert environment["ROS_DOMAIN_ID"] == str(number)
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    assert domain.environment()["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "SUBNET"
    domain.close()
