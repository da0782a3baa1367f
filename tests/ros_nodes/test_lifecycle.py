"""What every managed node does: one sentence for each refusal, inactive after a failure, nothing left after cleanup."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from std_msgs.msg import String

from praxon.errors import RobotError
from praxon.ros_nodes import qos
from praxon.ros_nodes.client import NodeClient
from praxon.ros_nodes.lifecycle import ManagedNode

pytestmark = pytest.mark.ros


class Machine(ManagedNode):
    """Does as it is told, and writes down in which order it was called."""

    def __init__(self) -> None:
        super().__init__("machine")
        self.calls: list[str] = []
        self.refuse = ""
        self.declared.declare("speed", 1.0, "of the machine [m/s]", 0.0, 2.0)

    def configure(self) -> None:
        self.calls.append("configure")
        self.output = self.create_lifecycle_publisher(String, "~/output", qos.STATUS)
        self._maybe_refuse("configure")

    def activate(self) -> None:
        self.calls.append("activate")
        self._maybe_refuse("activate")

    def deactivate(self) -> None:
        self.calls.append("deactivate")
        self._maybe_refuse("deactivate")
        assert self.output.is_activated  # the last message can still be sent

    def release(self) -> None:
        self.calls.append("release")
        self.destroy_lifecycle_publisher(self.output)

    def summary(self) -> dict[str, Any]:
        return {"made": 7}

    def _maybe_refuse(self, what: str) -> None:
        if self.refuse == what:
            raise RobotError(f"No {what} today.")


@pytest.fixture
def machine(spy: Any) -> Iterator[Machine]:
    from rclpy.executors import MultiThreadedExecutor

    node = Machine()
    executor = MultiThreadedExecutor(num_threads=2)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    yield node
    executor.shutdown()
    thread.join()
    node.destroy_node()


@pytest.fixture
def client(spy: Any, machine: Machine) -> NodeClient:
    return NodeClient(spy.node, "machine")


def test_a_whole_life(machine: Machine, client: NodeClient) -> None:
    for transition in ("configure", "activate", "deactivate"):
        client.change_state(transition)
    assert client.wait_for("status", lambda value: value["state"] == "inactive", 5)["made"] == 7
    client.change_state("cleanup")
    client.change_state("shutdown")
    assert machine.calls == ["configure", "activate", "deactivate", "release"]
    assert machine.finalized


def test_a_shutdown_while_active_stops_first(machine: Machine, client: NodeClient) -> None:
    for transition in ("configure", "activate", "shutdown"):
        client.change_state(transition)
    assert machine.calls == ["configure", "activate", "deactivate", "release"]
    assert machine.finalized


def test_a_refusal_is_one_sentence_and_undone(machine: Machine, client: NodeClient) -> None:
    machine.refuse = "configure"
    with pytest.raises(RobotError, match=r"^No configure today\.$"):
        client.change_state("configure")
    assert client.state() == "unconfigured"
    machine.refuse = "activate"
    client.change_state("configure")
    with pytest.raises(RobotError, match=r"^No activate today\.$"):
        client.change_state("activate")
    assert client.state() == "inactive"
    assert machine.calls == ["configure", "release", "configure", "activate", "deactivate"]
    assert not machine.output.is_activated


def test_a_failure_while_active_deactivates_and_is_told(machine: Machine, client: NodeClient) -> None:
    client.change_state("configure")
    client.change_state("activate")
    client.require_no_failure()
    machine.fail("The belt has snapped.")
    status = client.wait_for("status", lambda value: bool(value["error"]), 5)
    assert status == {"state": "inactive", "error": "The belt has snapped.", "made": 7}
    assert client.state() == "inactive"
    with pytest.raises(RobotError, match=r"^The belt has snapped\.$"):
        client.require_no_failure()
    client.change_state("activate")
    assert client.state() == "active"


def test_a_deactivation_that_fails_leaves_nothing_open(machine: Machine, client: NodeClient) -> None:
    client.change_state("configure")
    client.change_state("activate")
    machine.refuse = "deactivate"
    with pytest.raises(RobotError, match=r"^No deactivate today\.$"):
        client.change_state("deactivate")
    assert machine.calls == ["configure", "activate", "deactivate", "release"]
    assert client.state() == "unconfigured"


@pytest.mark.parametrize("lost", ["request", "answer"])
def test_a_request_or_an_answer_that_is_lost_does_no_harm(
    machine: Machine, client: NodeClient, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rclpy.task import Future

    monkeypatch.setattr("praxon.ros_nodes.client.REPEAT_S", 0.2)
    send = client._change_state.call_async
    sent: list[Any] = []

    def lossy(request: Any) -> Any:
        sent.append(request)
        if len(sent) > 1:
            return send(request)
        if lost == "answer":
            send(request)
        return Future()

    monkeypatch.setattr(client._change_state, "call_async", lossy)
    client.change_state("configure")
    assert client.state() == "inactive"
    assert machine.calls == ["configure"]
    assert len(sent) == (2 if lost == "request" else 1)


def test_an_impossible_transition_says_where_the_node_is(client: NodeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("praxon.ros_nodes.client.REASON_S", 0.1)
    with pytest.raises(RobotError, match=r"^Node 'machine' refused to activate; it is unconfigured, from where"):
        client.change_state("activate")


def test_values_out_of_range_are_refused_while_running(client: NodeClient) -> None:
    client.set_parameters({"speed": 2.0})
    with pytest.raises(RobotError, match=r"^Node 'machine' refused parameter 'speed': "):
        client.set_parameters({"speed": 2.1})
