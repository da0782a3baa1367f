"""The node `robot_sim`: a simulated robot that speaks what the real one would.

    python -m praxon.ros_nodes.robot_sim_node --ros-args -p task:=pick_place -p seed:=7

Listens on the robot's trajectory topic and publishes joint states, object poses and, if asked for, pictures. Beyond
what a robot does it begins episodes (``~/reset``) and judges them: ``~/success`` and ``~/episode``, both latched.
"""

import json
import sys
import threading
import time
import traceback
from dataclasses import asdict
from typing import Any

import praxon.ros_nodes.needs_ros  # noqa: F401  (one sentence where ROS 2 is missing)

# isort: split
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from praxon.errors import RobotError
from praxon.robots.model import SOURCES
from praxon.ros_nodes import qos
from praxon.ros_nodes.camera_thread import CameraThread
from praxon.ros_nodes.convert import (
    MessageError,
    joints_to_message,
    stamp_to_message,
    trajectory_from_message,
)
from praxon.ros_nodes.lifecycle import ManagedNode, run_node
from praxon.ros_nodes.live_simulation import SLICE_NS, Episode, LiveSimulation
from praxon.ros_nodes.streams import Stream, stream
from praxon.sim.factory import make_simulation
from praxon.sim.registration import own_tasks
from praxon.targets import load_option, options

SLICES_PER_S = round(1e9 / SLICE_NS)
LATE_S = 0.1
"""Physics that is further behind the wall clock than this skips the difference instead of catching up [s]."""
WARNING_PERIOD_S = 2.0


class RobotSimNode(ManagedNode):
    """A ``LiveSimulation`` paced by the wall clock."""

    def __init__(self) -> None:
        super().__init__("robot_sim")
        declare = self.declared.declare
        declare("task", "pick_place", "name of the task's config", choices=own_tasks())
        declare("robot", "panda", "name of the robot's config", choices=options("robot"))
        declare("model", "own", "the robot's model", choices=SOURCES)
        declare("seed", 0, "of the episode that ~/reset begins", 0, 2**31 - 1)
        declare("real_time_factor", 1.0, "simulated per wall second; other than 1, /clock is published", 0.01, 100.0)
        declare("joint_state_rate", 100.0, "of joint states [Hz], rounded to whole slices of 10 ms", 1.0, 100.0)
        declare("object_rate", 50.0, "of object poses [Hz]", 1.0, 100.0)
        declare("camera_rate", 20.0, "of pictures [Hz]", 1.0, 100.0)
        declare("cameras", [], "names of the cameras whose pictures are published")
        declare("image_height", 84, "of pictures [pixels]", 8, 4096)
        declare("image_width", 84, "of pictures [pixels]", 8, 4096)
        self._live: LiveSimulation | None = None
        self._cameras: CameraThread | None = None
        self._physics: threading.Thread | None = None
        self._topics: dict[str, Any] = {}
        self._object_streams: list[Stream] = []
        self._subscription: Any = None
        self._reset: Any = None
        self._halt = threading.Event()

    # -- lifecycle --------------------------------------------------------------------------------

    def configure(self) -> None:
        """Compile the scene, open topics and services."""
        robot = self.declared.text("robot", options("robot"))
        config = {**load_option("robot", robot), "model": self.declared.text("model", SOURCES)}
        size = (self.declared.integer("image_height"), self.declared.integer("image_width"))
        cameras = self.declared.texts("cameras")
        task = self.declared.text("task", own_tasks())
        simulation = make_simulation(task, config, cameras=cameras, image_size=size)
        live = self._live = LiveSimulation(simulation, self.declared.integer("seed"), time.time_ns())
        spec = simulation.scene.robot

        streams = [stream(feature, spec) for feature in simulation.contract.observations]
        self._object_streams = [each for each in streams if each.feature.kind == "pose"]
        self._joints_topic = spec.ros.joint_states_topic
        for each in streams:
            self._open(each.message_type, each.topic, qos.SENSOR)
        self._open(Bool, "~/success", qos.LATCHED)
        self._open(String, "~/episode", qos.LATCHED)
        if self.declared.number("real_time_factor") != 1:
            self._open(Clock, "/clock", qos.STATUS)
        images = [each for each in streams if each.feature.kind == "image"]
        if images:
            self._cameras = CameraThread(live, images, self.declared.number("camera_rate"), self._publish, self.fail)
        self._subscription = self.create_subscription(
            JointTrajectory, spec.ros.trajectory_topic, self._receive, qos.COMMAND
        )
        self._reset = self.create_service(Trigger, "~/reset", self._begin)

    def activate(self) -> None:
        """Let time run."""
        assert self._live is not None
        self._halt.clear()
        self._live.skip(max(0, time.time_ns() - self._live.stamp_ns))
        self._announce(self._live.episode)
        self._physics = threading.Thread(target=self._run, args=(self._live,), name="physics", daemon=True)
        self._physics.start()
        if self._cameras is not None:
            self._cameras.start()

    def deactivate(self) -> None:
        """Let time stand."""
        self._halt.set()
        if self._physics is not None:
            self._physics.join()
            self._physics = None
        if self._cameras is not None:
            self._cameras.stop()

    def release(self) -> None:
        """Close topics and services."""
        self.deactivate()
        for publisher in self._topics.values():
            self.destroy_lifecycle_publisher(publisher)
        if self._subscription is not None:
            self.destroy_subscription(self._subscription)
        if self._reset is not None:
            self.destroy_service(self._reset)
        self._topics, self._subscription, self._reset = {}, None, None
        self._live, self._cameras = None, None

    # -- time -------------------------------------------------------------------------------------

    def _run(self, live: LiveSimulation) -> None:
        """One slice after the other against absolute deadlines, reports at whole multiples of slices."""
        try:
            factor = self.declared.number("real_time_factor")
            every = {
                name: max(1, round(SLICES_PER_S / self.declared.number(name)))
                for name in ("joint_state_rate", "object_rate")
            }
            deadline_s, count = time.monotonic(), 0
            while not self._halt.is_set():
                deadline_s += SLICE_NS / 1e9 / factor
                late_s = time.monotonic() - deadline_s
                if late_s < 0:
                    time.sleep(-late_s)
                elif late_s > LATE_S:
                    live.skip(round(late_s * factor * 1e9))
                    live.counts["late"] += 1
                    deadline_s += late_s
                ended = live.advance()
                count += 1
                self._report(live, count % every["joint_state_rate"] == 0, count % every["object_rate"] == 0)
                if ended is not None:
                    self._announce(ended)
        except Exception as error:
            traceback.print_exc()
            self.fail(f"The simulation stopped: {type(error).__name__}: {error}")

    def _report(self, live: LiveSimulation, joints: bool, objects: bool) -> None:
        streams = self._object_streams if objects else []
        report = live.report([each.feature.source for each in streams])
        if "/clock" in self._topics:
            self._publish("/clock", Clock(clock=stamp_to_message(report.stamp_ns)))
        if joints:
            state = joints_to_message(report.names, report.positions, report.stamp_ns, report.velocities)
            self._publish(self._joints_topic, state)
        for each in streams:
            self._publish(each.topic, each.to_message(report.poses[each.feature.source], report.stamp_ns))

    # -- messages ---------------------------------------------------------------------------------

    def _open(self, message_type: type, topic: str, profile: Any) -> None:
        self._topics[topic] = self.create_lifecycle_publisher(message_type, topic, profile)

    def _publish(self, topic: str, message: Any) -> None:
        self._topics[topic].publish(message)

    def _receive(self, message: Any) -> None:
        """A command: followed, or refused and counted."""
        live = self._live
        if live is None or self._halt.is_set():
            return
        try:
            live.command(trajectory_from_message(message, live.stamp_ns))
        except (MessageError, RobotError) as error:
            live.counts[error.cause if isinstance(error, MessageError) else "refused"] += 1
            self.get_logger().warning(str(error), throttle_duration_sec=WARNING_PERIOD_S)

    def _begin(self, request: Any, response: Any) -> Any:
        """``~/reset``: begin the episode of the parameter ``seed``."""
        if self._live is None or self._physics is None:
            response.success, response.message = False, "Node 'robot_sim' begins episodes while it is active."
            return response
        episode = self._live.reset(self.declared.integer("seed"))
        self._announce(episode)
        response.success, response.message = True, json.dumps(asdict(episode))
        return response

    def _announce(self, episode: Episode) -> None:
        self._publish("~/success", Bool(data=episode.success))
        self._publish("~/episode", String(data=json.dumps(asdict(episode))))

    def figures(self) -> dict[str, Any]:
        """Counts of commands clamped and refused, and of times when physics fell behind."""
        if self._live is None:
            return {}
        return {"episode": self._live.episode.number, "seed": self._live.episode.seed, **self._live.counts}


def main() -> int:
    """Entry point."""
    return run_node(RobotSimNode)


if __name__ == "__main__":
    sys.exit(main())
