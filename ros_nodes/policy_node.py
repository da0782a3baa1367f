"""The node `policy`: a bundle commanding a robot over topics.

    python -m praxon.ros_nodes.policy_node --ros-args -p bundle:=runs/demo/bundle -p robot:=panda

Publishes commands on the robot's trajectory topic and the predicted chunks on ``~/chunk`` while active; ``~/status``
(latched JSON) and ``/diagnostics`` always. After a deactivation the status carries the latencies of the run.
"""

import sys
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import praxon.ros_nodes.needs_ros  # noqa: F401  (one sentence where ROS 2 is missing)

# isort: split
from trajectory_msgs.msg import JointTrajectory

from praxon.errors import RobotError
from praxon.robots.loop import ControlLoop, Tick
from praxon.robots.safety import SafetyFilter
from praxon.ros_nodes import qos
from praxon.ros_nodes.control_thread import ControlThread
from praxon.ros_nodes.convert import trajectory_to_message
from praxon.ros_nodes.lifecycle import ManagedNode, run_node
from praxon.ros_nodes.ros_robot import RosRobot
from praxon.ros_nodes.trajectory import Trajectory
from praxon.sim.factory import make_robot
from praxon.targets import options

if TYPE_CHECKING:
    from praxon.ros_nodes.serving import ServedPolicy

FLUSH_S = 1.0
"""How long a deactivation waits for the hold to be acknowledged [s]."""


class PolicyNode(ManagedNode):
    """Observe, act, filter, command, with the same loop as in simulation."""

    def __init__(self) -> None:
        super().__init__("policy")
        declare = self.declared.declare
        declare("bundle", "", "directory of the bundle to serve")
        declare("robot", "panda", "name of the robot's config", choices=options("robot"))
        declare("seed", 0, "of the denoising noise, taken at activation", 0, 2**31 - 1)
        declare("threads", 0, "threads of one inference; 0: as the bundle says, else 1", 0, 64)
        declare("engine", "", "how chunks are drawn, where it is not as the bundle says: '{steps: 5}'")
        declare("serving", "", "how they are computed, likewise: '{backend: openvino}'")
        declare("lookahead", 3, "control steps previewed in each command before it brakes to rest", 1, 4)
        declare(
            "observation_timeout_s",
            5.0,
            "how long activation waits for the robot to listen, then to report [s]",
            0.1,
            60.0,
        )
        self._served: ServedPolicy | None = None
        self._robot: RosRobot | None = None
        self._control: ControlThread | None = None
        self._chunks: Any = None
        self._clear_figures()

    # -- lifecycle --------------------------------------------------------------------------------

    def configure(self) -> None:
        """Load and check the bundle, warm up, open topics."""
        from praxon.ros_nodes.serving import ServedPolicy

        spec = make_robot(self.declared.text("robot", options("robot")))
        self._served = ServedPolicy(
            Path(self.declared.text("bundle")),
            spec,
            self.declared.integer("threads"),
            self.declared.integer("seed"),
            self._publish_chunk,
            self.declared.settings("engine"),
            self.declared.settings("serving"),
        )
        contract = self._served.contract
        self._robot = RosRobot(self, spec, contract, self.declared.integer("lookahead"))
        self._chunks = self.create_lifecycle_publisher(JointTrajectory, "~/chunk", qos.STATUS)
        safety = SafetyFilter(spec, contract.chunk.control_period_s, contract.max_observation_age_s)
        loop = ControlLoop(self._robot, self._served.agent, safety, [self._note])
        self._control = ControlThread(loop, self.fail)
        self.get_logger().info(
            f"Bundle '{self._served.path}' ({self._served.runtime.digest[:12]}) for task '{contract.task}' on "
            f"'{spec.name}': inference {1e3 * self._served.warm_up_s[-1]:.1f} ms by {self._served.runtime.name}."
        )

    def activate(self) -> None:
        """Wait for one fresh observation of everything, then begin at rest from where the robot is."""
        assert self._robot is not None
        assert self._control is not None
        self._clear_figures()
        timeout_s = self.declared.number("observation_timeout_s")
        if not self._robot.wait_for_listener(timeout_s, self.stopping):
            topic = self._robot.spec.ros.trajectory_topic
            raise RobotError(f"Nobody listens to commands on '{topic}' within {timeout_s:g} s; is the robot running?")
        self._robot.forget()
        observation = self._robot.wait_for_observation(timeout_s, self.stopping)
        if observation is None:
            missing = self._robot.missing()
            found = f"nothing came of {', '.join(missing)}" if missing else "what came is too far apart in time"
            raise RobotError(f"There is no complete observation within {timeout_s:g} s: {found}.")
        positions = self._measured(observation.features)
        self._control.start(positions, self.declared.integer("seed"))

    def deactivate(self) -> None:
        """Stop the policy, then hold; returns when the hold has arrived."""
        if self._control is not None and self._robot is not None:
            self._control.stop()
            self._robot.flush(FLUSH_S)

    def release(self) -> None:
        """Close topics and the inference thread."""
        if self._control is not None:
            self._control.stop()
        if self._robot is not None:
            self._robot.release()
        if self._chunks is not None:
            self.destroy_lifecycle_publisher(self._chunks)
        if self._served is not None:
            self._served.close()
        self._served = self._robot = self._control = self._chunks = None

    def _measured(self, features: Mapping[str, np.ndarray]) -> np.ndarray:
        assert self._served is not None
        joints = next((f for f in self._served.contract.observations if f.kind == "joint_position"), None)
        if joints is None:
            raise RobotError("The policy observes no joints, so that where to start from is not known.")
        return features[joints.name].astype(np.float64)

    # -- while active -----------------------------------------------------------------------------

    def _note(self, tick: Tick) -> None:
        """Latency and clamps of each tick; runs in the control thread after the command was sent."""
        assert self._robot is not None
        self._clamps.update(tick.command.report.causes)
        if tick.observation is not None and tick.action is not None:
            self._latencies_ms.append((self._robot.now_ns() - tick.observation.stamp_ns) / 1e6)

    def _publish_chunk(self, chunk_HA: np.ndarray, stamp_ns: int) -> None:
        """The predicted chunk: row i is to be reached one period after its tick."""
        served = self._served
        if served is None or not np.isfinite(chunk_HA).all() or self._chunks.get_subscription_count() == 0:
            return
        period_s = served.contract.chunk.control_period_s
        times_ns = stamp_ns + round(period_s * 1e9) * np.arange(1, len(chunk_HA) + 1, dtype=np.int64)
        velocities = np.gradient(chunk_HA, period_s, axis=0) if len(chunk_HA) > 1 else np.zeros_like(chunk_HA)
        names = served.contract.action.names
        self._chunks.publish(trajectory_to_message(Trajectory(names, stamp_ns, times_ns, chunk_HA, velocities)))

    # -- figures ----------------------------------------------------------------------------------

    def _clear_figures(self) -> None:
        self._latencies_ms: list[float] = []
        self._clamps: Counter[str] = Counter()
        if self._served is not None:
            self._served.runner.latencies_s.clear()
        if self._robot is not None:
            self._robot.drops.clear()

    def summary(self) -> dict[str, Any]:
        """Latencies [ms], overruns, clamps and drops of the run that has just ended."""
        if self._served is None or self._control is None or self._robot is None:
            return {}
        return {
            "latencies_ms": [round(value, 3) for value in self._latencies_ms],
            "inference_ms": [round(value, 3) for value in self._served.inference_ms()],
            "overruns": self._control.loop.overruns,
            "clamps": dict(self._clamps),
            "drops": dict(self._robot.drops),
            "refused_chunks": self._served.agent.refused_chunks,
        }

    def figures(self) -> dict[str, Any]:
        """Latency, age and counts, as diagnostics show them."""
        served, robot, control = self._served, self._robot, self._control
        if served is None or robot is None or control is None:
            return {"threads": threading.active_count()}
        found: dict[str, Any] = {"bundle": served.runtime.digest[:12], "overruns": control.loop.overruns}
        for name, values in (("inference", served.inference_ms()), ("observation_to_command", self._latencies_ms)):
            if values:
                p50, p99 = np.percentile(list(values), [50, 99])
                found |= {f"{name}_p50_ms": f"{p50:.2f}", f"{name}_p99_ms": f"{p99:.2f}"}
        found |= {f"age_s {name}": f"{age:.3f}" for name, age in robot.ages_s().items()}
        found |= {f"dropped {cause}": count for cause, count in list(robot.drops.items())}
        found |= {f"clamped {cause}": count for cause, count in list(self._clamps.items())}
        return found | {"refused_chunks": served.agent.refused_chunks}


def main() -> int:
    """Entry point."""
    return run_node(PolicyNode)


if __name__ == "__main__":
    sys.exit(main())
