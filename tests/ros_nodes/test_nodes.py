"""The two nodes as processes over real DDS: lifecycle, what is on the wire and when, and how they end."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from std_srvs.srv import Trigger

from praxon.cli import run
from praxon.errors import RobotError
from praxon.robots.panda import PANDA
from praxon.ros_nodes.convert import joints_from_message, stamp_from_message
from praxon.ros_nodes.graph import RosEpisode, Started, run_episodes
from praxon.ros_nodes.parent import PARENT_VARIABLE

pytestmark = pytest.mark.ros

COMMANDS = "panda_arm_controller/joint_trajectory"
AT_REST = 0.02
"""Velocities below this are rest [rad/s or m/s]."""


@pytest.fixture(scope="module")
def robot_sim(nodes: Any) -> Any:
    client = nodes.start("robot_sim", task="pick_place", seed=4)
    client.change_state("configure")
    client.change_state("activate")
    return client


@pytest.fixture(scope="module")
def policy(nodes: Any, bundle: Path) -> Any:
    return nodes.start("policy", bundle=bundle)


def begin(robot_sim: Any, seed: int) -> dict[str, Any]:
    robot_sim.set_parameters({"seed": seed})
    answer = robot_sim.call(Trigger, "reset", Trigger.Request())
    assert answer.success, answer.message
    return json.loads(answer.message)


def test_robot_sim_reports_every_joint_on_a_grid_of_ten_milliseconds(robot_sim: Any, spy: Any) -> None:
    spy.reports(50)
    heard = spy.states[-50:]
    stamps = np.array([stamp_from_message(message.header.stamp) for message in heard])
    assert np.all(np.diff(stamps) >= 10_000_000)
    assert np.median(np.diff(stamps)) == 10_000_000
    assert set(heard[-1].name) == {*PANDA.joint_names, "panda_finger_joint2"}


def test_reset_gives_the_start_of_the_simulation_of_that_seed(robot_sim: Any, spy: Any) -> None:
    from praxon.sim.factory import make_simulation

    first, second = begin(robot_sim, 11), begin(robot_sim, 12)
    assert (first["seed"], second["seed"], second["number"] - first["number"]) == (11, 12, 1)
    assert robot_sim.wait_for("episode", lambda value: value["seed"] == 12, 5)["finished"] is False
    spy.reports(5)
    start = make_simulation("pick_place").reset(12)
    np.testing.assert_allclose(joints_from_message(spy.states[-1], PANDA.joint_names), start, atol=1e-3)


def test_a_wrong_bundle_is_refused_in_one_sentence_and_a_right_one_can_follow(
    policy: Any, bundle: Path, swapped_bundle: Path, tmp_path: Path
) -> None:
    policy.set_parameters({"bundle": str(tmp_path / "none")})
    with pytest.raises(RobotError, match=r"^There is no bundle at '.*none'; 'praxon train' writes one\.$"):
        policy.change_state("configure")
    assert policy.state() == "unconfigured"
    policy.set_parameters({"bundle": str(swapped_bundle)})
    with pytest.raises(RobotError) as caught:
        policy.change_state("configure")
    sentence = str(caught.value)
    assert "does not fit robot 'panda'" in sentence
    assert "policy [panda_joint2, panda_joint1, " in sentence
    assert "here [panda_joint1, panda_joint2, " in sentence
    assert policy.state() == "unconfigured"
    assert sentence in policy.child.log.read_text()
    assert "Traceback" not in policy.child.log.read_text()
    policy.set_parameters({"bundle": str(bundle), "serving": "{backend: onx}"})
    with pytest.raises(RobotError, match=r"Backend 'onx' does not exist.*Did you mean 'onnx'"):
        policy.change_state("configure")
    policy.set_parameters({"serving": "{precision: float32}", "engine": "fast"})
    with pytest.raises(RobotError, match=r"'engine' of node 'policy' is 'fast'; settings by name are needed"):
        policy.change_state("configure")
    policy.set_parameters({"engine": "{steps: 3, method: identity}"})
    policy.change_state("configure")
    assert policy.state() == "inactive"
    policy.change_state("cleanup")
    policy.set_parameters({"engine": "", "serving": ""})
    policy.change_state("configure")
    assert policy.state() == "inactive"


def test_nothing_is_commanded_outside_active_and_the_last_command_is_a_hold(
    robot_sim: Any, policy: Any, spy: Any
) -> None:
    assert policy.state() == "inactive"
    begin(robot_sim, 21)
    spy.reports(20)
    assert spy.commands == []
    policy.change_state("activate")
    spy.until(lambda: len(spy.commands) >= 25)
    policy.change_state("deactivate")
    status = policy.wait_for("status", lambda value: value["state"] == "inactive", 5)
    assert len(status["latencies_ms"]) >= 20
    assert min(status["latencies_ms"]) > 0
    assert status["drops"] == {}
    assert status["error"] == ""

    require_rest_at_the_end_of_the_last_command(spy)
    stamps = [stamp_from_message(message.header.stamp) for message in spy.commands]
    assert stamps == sorted(stamps)
    for message in spy.commands:
        assert tuple(message.joint_names) == PANDA.joint_names
        assert not np.any(message.points[-1].velocities)


def test_activation_without_a_robot_fails_and_says_what_is_missing(robot_sim: Any, policy: Any, spy: Any) -> None:
    robot_sim.change_state("deactivate")
    policy.set_parameters({"observation_timeout_s": 0.3})
    with pytest.raises(RobotError, match=r"observation\.state \(topic joint_states\), observation\.cube_pose"):
        policy.change_state("activate")
    assert policy.state() == "inactive"
    policy.set_parameters({"observation_timeout_s": 5.0})
    robot_sim.change_state("activate")
    spy.reports(5)


def test_after_cleanup_no_command_publisher_is_left(policy: Any, spy: Any) -> None:
    assert spy.node.count_publishers(COMMANDS) == 1
    policy.change_state("cleanup")
    spy.until(lambda: spy.node.count_publishers(COMMANDS) == 0)
    policy.change_state("configure")
    spy.until(lambda: spy.node.count_publishers(COMMANDS) == 1)


def test_an_interrupted_policy_holds_before_it_ends(robot_sim: Any, policy: Any, spy: Any) -> None:
    begin(robot_sim, 22)
    count = len(spy.commands)
    policy.change_state("activate")
    spy.until(lambda: len(spy.commands) >= count + 12)
    policy.child.interrupt()
    assert policy.child.wait(10)
    assert policy.child.returncode == 0
    spy.until(lambda: spy.node.count_publishers(COMMANDS) == 0)
    assert "Traceback" not in policy.child.log.read_text()
    require_rest_at_the_end_of_the_last_command(spy)


def test_a_policy_that_is_killed_leaves_the_robot_at_rest(robot_sim: Any, nodes: Any, bundle: Path, spy: Any) -> None:
    policy = nodes.start("policy", bundle=bundle)
    policy.change_state("configure")
    begin(robot_sim, 23)
    count = len(spy.commands)
    policy.change_state("activate")
    spy.until(lambda: len(spy.commands) >= count + 12)
    assert np.abs(spy.velocities(10)).max() > AT_REST  # it was moving
    os.kill(policy.child.pid, signal.SIGKILL)
    assert policy.child.wait(5)
    require_rest_at_the_end_of_the_last_command(spy)


def require_rest_at_the_end_of_the_last_command(spy: Any) -> None:
    """Whatever was sent last ends at rest, and there the robot is once it has been followed.

    On a busy machine the last commands may arrive when they are over; a robot refuses those, and rests at the end of the last one
    that came in time.
    """
    spy.reports(5)
    last = spy.commands[-1]
    assert not np.any(last.points[-1].velocities)
    spy.reports(5 * len(last.points) + 50)  # the preview, and half a second for the servos
    assert spy.commands[-1] is last
    assert np.abs(spy.velocities(5)).max() < AT_REST
    finals = np.array([command.points[-1].positions for command in spy.commands[-10:]])
    away = np.abs(joints_from_message(spy.states[-1], PANDA.joint_names) - finals).max(axis=1)
    assert away.min() < 5e-3, f"The robot rests away from the ends of the latest commands by {away} rad."


def test_a_shut_down_node_ends_its_process(robot_sim: Any) -> None:
    robot_sim.change_state("shutdown")
    assert robot_sim.child.wait(10)
    assert robot_sim.child.returncode == 0


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"taks": "lift"},
            r"^Node 'robot_sim' has no parameter 'taks'\. Did you mean 'task'\? Parameters: task, robot",
        ),
        (
            {"joint_state_rate": 1e6},
            r"^Parameter 'joint_state_rate' of node 'robot_sim' takes a float between 1 and 100",
        ),
        ({"task": "lfit"}, r"^Parameter 'task' of node 'robot_sim' is 'lfit'\. Did you mean 'lift'\? Known: "),
    ],
)
def test_a_wrong_parameter_is_refused_at_configure_by_its_name(
    nodes: Any, given: dict[str, Any], sentence: str
) -> None:
    client = nodes.start("robot_sim", **given)
    with pytest.raises(RobotError, match=sentence):
        client.change_state("configure")
    client.child.interrupt()
    assert client.child.wait(20)
    assert client.child.returncode == 0


class Conductor:
    """``python -m praxon.ros_nodes.episodes`` serving until it is interrupted."""

    def __init__(self, bundle: Path, folder: Path) -> None:
        arguments = ["--bundle", str(bundle), "--task", "pick_place", "--run-dir", str(folder), "--seed", "3"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "praxon.ros_nodes.episodes", *arguments],
            stdout=subprocess.PIPE,
            env={**os.environ, PARENT_VARIABLE: str(os.getpid())},
            start_new_session=True,
            text=True,
        )
        assert self.process.stdout is not None
        self.active, self.serving = (json.loads(self.process.stdout.readline()) for _ in range(2))

    def alive(self) -> list[str]:
        """Its nodes that still run, those that wait to be reaped not counted."""
        found = []
        for name, pid in self.active["processes"].items():
            stat = Path(f"/proc/{pid}/stat")
            if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
                found.append(name)
        return found


@pytest.fixture
def free_domain(spy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs choose a domain of their own, away from the spy's."""
    monkeypatch.delenv("ROS_DOMAIN_ID")


@pytest.mark.usefixtures("free_domain")
def test_an_interrupt_stops_every_process_the_policy_with_a_hold(bundle: Path, tmp_path: Path) -> None:
    conductor = Conductor(bundle, tmp_path)
    assert (conductor.active["event"], conductor.serving["event"]) == ("active", "serving")
    assert conductor.alive() == ["robot_sim", "policy"]
    conductor.process.send_signal(signal.SIGINT)
    assert conductor.process.wait(20) == 130
    assert conductor.alive() == []
    for name in ("robot_sim", "policy"):
        assert "Traceback" not in (tmp_path / f"{name}.log").read_text()


@pytest.mark.usefixtures("free_domain")
def test_nodes_end_with_the_conductor_that_started_them(bundle: Path, tmp_path: Path, spy: Any) -> None:
    conductor = Conductor(bundle, tmp_path)
    conductor.process.kill()
    conductor.process.wait(5)
    spy.until(lambda: conductor.alive() == [])


@pytest.mark.usefixtures("free_domain")
def test_a_refused_bundle_reaches_the_caller_as_the_nodes_own_sentence(tmp_path: Path) -> None:
    with pytest.raises(RobotError, match=r"^There is no bundle at '.*nowhere'; 'praxon train' writes one\.$"):
        run_episodes(tmp_path / "nowhere", "pick_place", "panda", [1], tmp_path)


def test_what_no_message_carries_is_refused_before_any_process_starts(
    save_tiny_bundle: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    instruction = "Put the cube onto the green marker."
    bundle = save_tiny_bundle(tmp_path / "bundle", change=lambda contract: contract.with_tasks((instruction,)))
    assert run(["serve", f"bundle={bundle}", f"run_dir={tmp_path / 'run'}"]) == 1
    assert "Feature 'task' of kind 'task' has no ROS message" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_graph_does_not_start_in_a_domain_that_is_taken(spy: Any, bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(
        RobotError, match=r"^ROS domain \d+ is in use by other runs of Praxon on this machine; stop one"
    ):
        run_episodes(bundle, "pick_place", "panda", [1], tmp_path)


@pytest.mark.usefixtures("free_domain")
def test_an_episode_runs_through_the_graph_to_its_end(save_tiny_bundle: Any, tmp_path: Path) -> None:
    """An untrained policy does not reach anything: the episode ends at the time limit of six seconds."""
    bundle = save_tiny_bundle(tmp_path / "bundle", "reach")
    started: list[Started] = []
    finished: list[RosEpisode] = []
    episodes = run_episodes(bundle, "reach", "panda", [41], tmp_path, finished.append, started=started.append)
    assert episodes == finished
    (graph,), (episode,) = started, episodes
    assert (episode.seed, episode.success, episode.seconds) == (41, False, 6.0)
    assert 1 <= len(episode.latencies_ms) <= 125
    assert min(episode.latencies_ms) > 0
    assert len(episode.inference_ms) >= 1
    assert set(episode.metrics) == {"max_distance_m", "min_distance_m"}
    assert set(graph.processes) == {"robot_sim", "policy"}
    assert not any(Path(f"/proc/{pid}").exists() for pid in graph.processes.values())
