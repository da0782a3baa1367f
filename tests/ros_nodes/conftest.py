"""A domain of our own, a small bundle, real node processes, and a spy that hears everything they say."""

import importlib.util
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from praxon.contract import PolicyContract

if importlib.util.find_spec("rclpy") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def save_tiny_bundle() -> Callable[..., Path]:
    """Writes an untrained policy for a task on the panda that moves about its home pose."""
    from praxon.policies.build import build_policy
    from praxon.policies.bundle import save_bundle
    from praxon.sim.factory import make_simulation
    from praxon.targets import load_option

    def save(
        path: Path,
        task: str = "pick_place",
        change: Callable[[PolicyContract], PolicyContract] = lambda contract: contract,
    ) -> Path:
        simulation = make_simulation(task)
        home = np.array(simulation.scene.robot.home)
        config = load_option("policy", "debug") | {"actions": "absolute"}
        policy = build_policy(config, change(simulation.contract))
        statistics = {}
        for feature in policy.contract:
            mean = home if feature.kind == "joint_position" else np.array([0.5, 0, 0.02, 1, 0, 0, 0])
            spread = {"min": mean - 0.2, "max": mean + 0.2, "q01": mean - 0.1, "q99": mean + 0.1}
            statistics[feature.name] = {"mean": mean, "std": np.full(feature.shape, 0.05), **spread}
        policy.normalizer.fit(statistics)
        save_bundle(path, policy, {"policy": config})
        return path

    return save


@pytest.fixture(scope="session")
def bundle(save_tiny_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bundle(tmp_path_factory.mktemp("bundle") / "bundle")


@pytest.fixture(scope="session")
def swapped_bundle(save_tiny_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the first two joints of the action exchanged."""

    def swap(contract: PolicyContract) -> PolicyContract:
        first, second, *rest = contract.action.names
        return replace(contract, action=replace(contract.action, names=(second, first, *rest)))

    return save_tiny_bundle(tmp_path_factory.mktemp("swapped") / "bundle", change=swap)


@dataclass
class Spy:
    """A node that hears commands, joint states and status, in the order of their arrival."""

    node: Any
    commands: list[Any] = field(default_factory=list)
    states: list[Any] = field(default_factory=list)

    def until(self, condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline_s, "waited in vain"
            time.sleep(0.01)

    def reports(self, count: int) -> None:
        """Wait until the robot has reported ``count`` more times."""
        wanted = len(self.states) + count
        self.until(lambda: len(self.states) >= wanted)

    def velocities(self, count: int) -> np.ndarray:
        """Velocities of all joints in the last ``count`` reports."""
        return np.array([list(message.velocity) for message in self.states[-count:]])


@pytest.fixture(scope="module")
def spy() -> Iterator[Spy]:
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from sensor_msgs.msg import JointState
    from trajectory_msgs.msg import JointTrajectory

    from praxon.ros_nodes import qos
    from praxon.ros_nodes.domain import Domain

    before = dict(os.environ)
    domain = Domain()
    os.environ.update(domain.environment())
    rclpy.init(args=[])
    node = rclpy.create_node("spy")
    spy = Spy(node)
    node.create_subscription(
        JointTrajectory, "panda_arm_controller/joint_trajectory", spy.commands.append, replace_depth(qos.COMMAND)
    )
    node.create_subscription(JointState, "joint_states", spy.states.append, qos.SENSOR)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    yield spy
    executor.shutdown()
    thread.join()
    node.destroy_node()
    rclpy.shutdown()
    domain.close()
    os.environ.clear()
    os.environ.update(before)


def replace_depth(profile: Any) -> Any:
    """The same quality of service, but nothing is lost while the spy is busy."""
    from rclpy.qos import QoSProfile

    return QoSProfile(
        history=profile.history, depth=1000, reliability=profile.reliability, durability=profile.durability
    )


@dataclass
class Nodes:
    """Node processes of one test module, in the spy's domain."""

    spy: Spy
    folder: Path
    children: list[Any] = field(default_factory=list)

    def start(self, name: str, **parameters: Any) -> Any:
        """Start ``<name>_node`` with parameters; returns a client whose ``child`` is the process."""
        from std_msgs.msg import String

        from praxon.ros_nodes.client import NodeClient
        from praxon.ros_nodes.processes import Child

        given = [part for key, value in parameters.items() for part in ("-p", f"{key}:={value}")]
        log = self.folder / f"{name}{len(self.children)}.log"
        child = Child(f"praxon.ros_nodes.{name}_node", ["--ros-args", *given], log, os.environ)
        self.children.append(child)
        client = NodeClient(self.spy.node, name, child.require_alive)
        client.listen("episode", String, lambda message: json.loads(message.data))
        client.child = child  # type: ignore[attr-defined]
        return client


@pytest.fixture(scope="module")
def nodes(spy: Spy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    from praxon.ros_nodes.processes import stop_all

    started = Nodes(spy, tmp_path_factory.mktemp("nodes"))
    yield started
    stop_all(started.children)
