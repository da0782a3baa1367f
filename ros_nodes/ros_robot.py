"""RosRobot: topics look like any other robot. Observations are aligned by stamp, commands are trajectories."""

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

import numpy as np

import praxon.ros_nodes.needs_ros  # noqa: F401  (one sentence where ROS 2 is missing)

# isort: split
from rclpy.callback_groups import CallbackGroup
from rclpy.duration import Duration
from trajectory_msgs.msg import JointTrajectory

from praxon.contract import Observation, PolicyContract
from praxon.robots.base import SafeCommand
from praxon.robots.spec import RobotSpec
from praxon.ros_nodes import qos
from praxon.ros_nodes.convert import MessageError, stamp_from_message, trajectory_to_message
from praxon.ros_nodes.streams import Stream, stream
from praxon.ros_nodes.trajectory import command_trajectory

HISTORY_NS = 500_000_000
"""How long a received value is kept for alignment [ns]."""
WARNING_PERIOD_S = 2.0
POLL_S = 0.001
"""How often a wait for the first observation looks [s]: the control loop begins right after a report has come."""


class Polled(CallbackGroup):
    """Subscriptions whose messages are taken by whoever needs them, when they are needed, and by no executor.

    An executor would spend more time on waking up for two hundred messages a second than the control loop needs for
    everything else, and every message would wait its turn. Their events are not waited for either: Fast DDS wakes a
    wait for events of a subscription as long as it has unread messages, which here is always.
    """

    def can_execute(self, entity: Any) -> bool:
        """Never."""
        return False

    def beginning_execution(self, entity: Any) -> bool:
        """Never."""
        return False

    def ending_execution(self, entity: Any) -> None:
        """Nothing to release."""


class RosRobot:
    """The features of a contract, read from topics, and the robot's trajectory topic, written.

    Messages wait in the middleware, the newest five of each topic, until ``observe`` takes them. ``observe``,
    ``command`` and ``wait_until`` are for the thread of a control loop. Messages that cannot be used are dropped and
    counted in ``drops`` by cause: 'nonfinite', 'missing_joint', 'frame', 'malformed', 'out_of_order'; 'no_stamp' counts
    messages whose header stamp is zero, for which the time of taking them is used.

    Args:
        node: a lifecycle node that is configuring; commands go out while it is active.
        spec: the robot.
        contract: which features to read, and how far apart in time those of one observation may be.
        lookahead: rows of preview in each command, which end at rest: how long the robot moves on if it hears nothing.
    """

    def __init__(self, node: Any, spec: RobotSpec, contract: PolicyContract, lookahead: int) -> None:
        self.spec = spec
        self.lookahead = lookahead
        self.drops: Counter[str] = Counter()
        self._node = node
        self._clock = node.get_clock()
        self._max_age_ns = round(contract.max_observation_age_s * 1e9)
        self._lock = threading.RLock()
        self._since_ns = 0
        self._released = threading.Event()
        streams = [stream(feature, spec) for feature in contract.observations]
        self._history: dict[str, deque[tuple[int, np.ndarray]]] = {each.feature.name: deque() for each in streams}
        self._topics = {each.feature.name: each.topic for each in streams}
        # The robot's own joints are the clock of an observation; everything else is matched to them.
        joints = [each.feature.name for each in streams if each.feature.kind == "joint_position"]
        self._reference = joints[0] if joints else streams[0].feature.name
        by_topic: dict[str, list[Stream]] = {}
        for each in streams:
            by_topic.setdefault(each.topic, []).append(each)
        group = Polled()
        self._subscriptions = [
            (
                node.create_subscription(
                    sharing[0].message_type,
                    topic,
                    _unused,
                    qos.SENSOR,
                    callback_group=group,
                ),
                sharing,
            )
            for topic, sharing in by_topic.items()
        ]
        self._publisher = node.create_lifecycle_publisher(JointTrajectory, spec.ros.trajectory_topic, qos.COMMAND)

    # -- robots.base.Robot ------------------------------------------------------------------------

    def now_ns(self) -> int:
        """The node's clock: system time, or ``/clock`` under ``use_sim_time`` [ns]."""
        return int(self._clock.now().nanoseconds)

    def observe(self) -> Observation | None:
        """The newest state of the joints with, for every other feature, the value nearest to it in time.

        None while a feature has not been received, or where its nearest value is further away than the contract's
        maximum observation age.
        """
        with self._lock:
            self._take()
            reference = self._history[self._reference]
            if not reference:
                return None
            stamp_ns = reference[-1][0]
            features = {}
            for name, history in self._history.items():
                if not history:
                    return None
                at_ns, value = min(history, key=lambda entry: abs(entry[0] - stamp_ns))
                if abs(at_ns - stamp_ns) > self._max_age_ns:
                    return None
                features[name] = value
        return Observation(stamp_ns, features)

    def command(self, command: SafeCommand) -> None:
        """Publish a filtered command as a trajectory that ends at rest."""
        self._publisher.publish(trajectory_to_message(command_trajectory(command, self.spec.joint_names)))

    def wait_until(self, deadline_ns: int) -> None:
        """Sleep until the node's clock shows ``deadline_ns``; cut short by ``release``."""
        while (left_ns := deadline_ns - self.now_ns()) > 0 and not self._released.is_set():
            # A simulated clock may run at any pace, or stand: look again often.
            longest_s = 0.002 if self._clock.ros_time_is_active else 0.1
            time.sleep(min(left_ns / 1e9, longest_s))

    # -- beyond -----------------------------------------------------------------------------------

    def forget(self) -> None:
        """Drop what was received, and from now on what was measured before now."""
        with self._lock:
            self._since_ns = self.now_ns()
            for history in self._history.values():
                history.clear()

    def wait_for_observation(self, timeout_s: float, given_up: threading.Event) -> Observation | None:
        """The first complete observation, or None when the time [s] ran out."""
        deadline_s = time.monotonic() + timeout_s
        while (observation := self.observe()) is None and not given_up.is_set() and time.monotonic() < deadline_s:
            time.sleep(POLL_S)
        return observation

    def wait_for_listener(self, timeout_s: float, given_up: threading.Event) -> bool:
        """Whether somebody subscribes to the commands within ``timeout_s``.

        Commands sent before that are lost, and the robot would then have to jump to where the later ones are.
        """
        deadline_s = time.monotonic() + timeout_s
        while self._publisher.get_subscription_count() == 0:
            if given_up.is_set() or time.monotonic() > deadline_s:
                return False
            time.sleep(0.01)
        return True

    def missing(self) -> list[str]:
        """Features of which nothing usable has been received, with their topics."""
        with self._lock:
            return [f"{name} (topic {self._topics[name]})" for name, history in self._history.items() if not history]

    def ages_s(self) -> dict[str, float]:
        """Age of the newest value of each feature received [s]."""
        now_ns = self.now_ns()
        with self._lock:
            self._take()
            return {name: (now_ns - history[-1][0]) / 1e9 for name, history in self._history.items() if history}

    def flush(self, timeout_s: float) -> None:
        """Wait until the commands sent have arrived, at most ``timeout_s``."""
        self._publisher.wait_for_all_acked(Duration(seconds=timeout_s))

    def release(self) -> None:
        """Destroy subscriptions and the publisher."""
        self._released.set()
        with self._lock:
            for subscription, _ in self._subscriptions:
                self._node.destroy_subscription(subscription)
            self._subscriptions = []
        self._node.destroy_lifecycle_publisher(self._publisher)

    def _take(self) -> None:
        """Everything that has arrived since the last time."""
        for subscription, streams in self._subscriptions:
            while (taken := subscription.handle.take_message(subscription.msg_type, False)) is not None:
                self._read(taken[0], streams)

    def _read(self, message: Any, streams: list[Stream]) -> None:
        stamp_ns = stamp_from_message(message.header.stamp)
        if stamp_ns == 0:
            self.drops["no_stamp"] += 1
            stamp_ns = self.now_ns()
        try:
            values = {each.feature.name: each.from_message(message) for each in streams}
        except MessageError as error:
            self._drop(error.cause, f"{streams[0].topic}: {error}")
            return
        self._store(stamp_ns, values)

    def _store(self, stamp_ns: int, values: Mapping[str, np.ndarray]) -> None:
        """Keep what one message says of the features of its topic."""
        if stamp_ns < self._since_ns:
            return
        histories = [self._history[name] for name in values]
        if histories[0] and stamp_ns <= histories[0][-1][0]:
            self.drops["out_of_order"] += 1
            return
        for history, value in zip(histories, values.values(), strict=True):
            history.append((stamp_ns, value))
            while history[0][0] < stamp_ns - HISTORY_NS:
                history.popleft()

    def _drop(self, cause: str, sentence: str) -> None:
        self.drops[cause] += 1
        self._node.get_logger().warning(sentence, throttle_duration_sec=WARNING_PERIOD_S)


def _unused(message: Any) -> None:
    """rclpy wants a callback for every subscription; those of ``Polled`` are never called."""
