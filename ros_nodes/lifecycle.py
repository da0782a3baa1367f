"""What both nodes share: a lifecycle node whose refusals are one sentence, and the process around it.

A subclass writes four methods that raise when something is wrong; this class turns that into transitions. What went
wrong is logged once, in one sentence, and stands in the latched ``~/status`` for whoever asked for the transition.
"""

import gc
import json
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import praxon.ros_nodes.needs_ros  # noqa: F401  (one sentence where ROS 2 is missing)

# isort: split
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.exceptions import InvalidHandle
from rclpy.executors import MultiThreadedExecutor
from rclpy.lifecycle import LifecycleNodeMixin, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import String

from praxon.errors import ConfigError, PraxonError
from praxon.ros_nodes import qos
from praxon.ros_nodes.flag import Flag
from praxon.ros_nodes.parameters import Parameters
from praxon.ros_nodes.parent import die_with_parent

DIAGNOSTICS_PERIOD_S = 1.0


class ManagedNode(LifecycleNodeMixin, Node):
    """A lifecycle node.

    Transitions run in a callback group of their own, so that one that waits for messages gets them.

    Args:
        name: of the node.
    """

    def __init__(self, name: str) -> None:
        Node.__init__(self, name)
        self.transitions = MutuallyExclusiveCallbackGroup()
        LifecycleNodeMixin.__init__(self, callback_group=self.transitions)
        self.stopping = threading.Event()
        """Set when the process is asked to end; whoever waits for something in a transition gives up then."""
        self.declared = Parameters(self)
        self._status = self.create_publisher(String, "~/status", qos.LATCHED)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.STATUS)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._diagnose)
        self._failed = self.create_guard_condition(self._stop_after_failure, callback_group=self.transitions)
        self._error = ""

    # -- what a subclass writes -------------------------------------------------------------------

    def configure(self) -> None:
        """Check parameters, load, create publishers and subscriptions. May raise; ``release`` follows then."""

    def activate(self) -> None:
        """Start; publishers made by ``create_lifecycle_publisher`` are open. May raise; ``deactivate`` follows then."""

    def deactivate(self) -> None:
        """Stop, the safe command last; publishers are still open. Also after an ``activate`` that failed half-way."""

    def release(self) -> None:
        """Give back everything ``configure`` made, whatever part of it there is."""

    def figures(self) -> Mapping[str, Any]:
        """What diagnostics report besides the state."""
        return {}

    def summary(self) -> Mapping[str, Any]:
        """What ``~/status`` carries after a deactivation."""
        return {}

    # -- transitions ------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unconfigured -> inactive, or a sentence and unconfigured."""
        return self._attempt("configure", "inactive", self._configure, undo=self.release)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Inactive -> active, or a sentence and inactive."""
        super().on_activate(state)
        return self._attempt("activate", "active", self.activate, undo=partial(self._close, state))

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Active -> inactive."""
        return self._attempt("deactivate", "inactive", partial(self._close, state), summary=self.summary)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Inactive -> unconfigured."""
        return self._attempt("clean up", "unconfigured", self.release)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Any -> finalized."""

        def end() -> None:
            if state.label == "active":
                self.deactivate()
            if state.label != "unconfigured":
                self.release()

        return self._attempt("shut down", "finalized", end)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After an error in a transition: back to unconfigured, holding nothing."""
        return self._attempt("recover", "unconfigured", self.release)

    def fail(self, sentence: str) -> None:
        """Say what went wrong while active; the node is then deactivated. May be called from any thread."""
        self._error = sentence
        self.get_logger().error(sentence)
        self._failed.trigger()

    def _stop_after_failure(self) -> None:
        if self._error and self._state_machine.current_state[1] == "active":
            self.trigger_deactivate()

    def _configure(self) -> None:
        self.declared.check()
        self.configure()
        # What was imported and loaded stays: collections need not walk through it while a loop is running.
        gc.collect()
        gc.freeze()

    def _close(self, state: LifecycleState) -> None:
        self.deactivate()
        LifecycleNodeMixin.on_deactivate(self, state)

    def _attempt(
        self,
        what: str,
        goal: str,
        action: Callable[[], None],
        undo: Callable[[], None] | None = None,
        summary: Callable[[], Mapping[str, Any]] = dict,
    ) -> TransitionCallbackReturn:
        """Run a transition. One that can be undone may be refused; in any other a problem is an error."""
        try:
            action()
        except Exception as error:
            expected = isinstance(error, PraxonError)
            said = str(error) if expected else f"{type(error).__name__}: {error}"
            self._refuse(what, said if expected else f"Node '{self.get_name()}' could not {what}: {said}")
            if not expected:
                traceback.print_exc()
            if undo is None:
                return TransitionCallbackReturn.ERROR  # on_error says it again, with the state that it leads to
            self._error = ""
            undo()
            return TransitionCallbackReturn.FAILURE
        self._publish_status(goal, **summary())
        self._error = ""
        return TransitionCallbackReturn.SUCCESS

    def _refuse(self, what: str, sentence: str) -> None:
        self._error = sentence
        self.get_logger().error(sentence)
        self._publish_status(f"{what} refused")

    def _publish_status(self, state: str, **fields: Any) -> None:
        self._status.publish(String(data=json.dumps({"state": state, "error": self._error, **fields})))

    def _diagnose(self) -> None:
        label = self._state_machine.current_state[1]
        level = DiagnosticStatus.ERROR if self._error else DiagnosticStatus.OK
        status = DiagnosticStatus(level=level, name=self.get_fully_qualified_name(), message=self._error or label)
        values = {"state": label, **self.figures()}
        status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    @property
    def finalized(self) -> bool:
        """Whether the lifecycle has ended."""
        return bool(self._state_machine.current_state[1] == "finalized")


def run_node(make_node: Callable[[], ManagedNode], arguments: Sequence[str] | None = None) -> int:
    """Run a node until its lifecycle is shut down or the process is interrupted; returns the exit status.

    An interrupt (Ctrl-C, SIGTERM) shuts the lifecycle down first, so that the safe command is still sent.
    """
    die_with_parent()
    # Python hands the interpreter from thread to thread every 5 ms by default: as long as a tenth of a control period.
    sys.setswitchinterval(0.0005)
    # rclpy's own handlers would close the context, and with it the publisher of the last command, before anyone stops.
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    ending = Flag()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ending.set())
    try:
        node = make_node()
    except ConfigError as error:
        print(error, file=sys.stderr)
        rclpy.shutdown()
        return 1
    node.get_logger().info(
        f"Unconfigured: 'ros2 lifecycle set /{node.get_name()} configure', then 'activate', or any other client of its lifecycle."
    )
    executor = MultiThreadedExecutor(num_threads=3)
    executor.add_node(node)
    problems: list[Exception] = []
    spinning = threading.Thread(target=_spin, args=(executor, ending, problems), name="executor", daemon=True)
    spinning.start()
    while not ending.wait(0.1):
        if node.finalized:
            ending.wait(0.2)  # the answer to whoever asked for it is on its way
            break
    ending.set()
    node.stopping.set()
    executor.shutdown()
    spinning.join()
    if not node.finalized:
        node.trigger_shutdown()
    node.destroy_node()
    # The state machine keeps the node, and the node its DDS participant: others would see it for another 20 s.
    del node, executor, spinning
    gc.unfreeze()
    gc.collect()
    rclpy.try_shutdown()
    return 1 if problems else 0


def _spin(executor: MultiThreadedExecutor, ending: Flag, problems: list[Exception]) -> None:
    try:
        while not ending.is_set():
            try:
                executor.spin_once(timeout_sec=0.5)
            except InvalidHandle:
                # A transition destroyed an entity between this executor's listing it and its waiting for it; rclpy
                # guards against that for some kinds only. The next round lists what there is now.
                continue
    except Exception as error:
        traceback.print_exc()
        problems.append(error)
    finally:
        ending.set()
