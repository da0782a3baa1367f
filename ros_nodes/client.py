"""NodeClient: another process's lifecycle node, its parameters and its status, with deadlines and clear sentences."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import praxon.ros_nodes.needs_ros  # noqa: F401  (one sentence where ROS 2 is missing)

# isort: split
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import String

from praxon.errors import RobotError
from praxon.ros_nodes import qos

START_S = 60.0
"""How long a process may take until its services are there [s]."""
TRANSITION_S = 60.0
"""How long a transition may take [s]."""
CALL_S = 10.0
"""How long any other call may take [s]."""
REPEAT_S = 2.0
"""After how long without an answer a call is repeated [s].

DDS discovery is not symmetric: for a moment after a service has appeared to us, it may not know us yet, and the request
or the answer is lost without a trace.
"""
REASON_S = 3.0
"""How long the sentence may take that says why a transition was refused [s]: it is latched, and comes when discovered."""
GOALS = {
    "configure": "inactive",
    "activate": "active",
    "deactivate": "inactive",
    "cleanup": "unconfigured",
    "shutdown": "finalized",
}
"""Where each transition leads."""


class NodeClient:
    """Talks to one lifecycle node. Waiting is for threads that do not spin ``node``.

    Args:
        node: ours, spun by an executor elsewhere.
        name: of the other node.
        check: called while waiting; raises when waiting has become pointless (its process died, we are to stop).
    """

    def __init__(self, node: Node, name: str, check: Callable[[], None] = lambda: None) -> None:
        self.name = name
        self._node, self._check = node, check
        self._change_state = node.create_client(ChangeState, f"{name}/change_state")
        self._get_state = node.create_client(GetState, f"{name}/get_state")
        self._set_parameters = node.create_client(SetParameters, f"{name}/set_parameters")
        self._received: dict[str, Any] = {}
        self._news = threading.Condition()
        self.listen("status", String, lambda message: json.loads(message.data))

    def listen(self, topic: str, message_type: type, read: Callable[[Any], Any]) -> None:
        """Keep what arrives last on the node's latched ``~/topic``, for ``wait_for``."""

        def receive(message: Any) -> None:
            with self._news:
                self._received[topic] = read(message)
                self._news.notify_all()

        self._node.create_subscription(message_type, f"{self.name}/{topic}", receive, qos.LATCHED)

    def wait_for(self, topic: str, condition: Callable[[Any], bool], timeout_s: float) -> Any:
        """What was last heard on ``~/topic`` once it meets the condition; ``RobotError`` when that takes too long."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            with self._news:
                value = self._received.get(topic)
                if value is not None and condition(value):
                    return value
                self._news.wait(0.05)
            self._check()
            if time.monotonic() > deadline_s:
                raise RobotError(
                    f"Node '{self.name}' did not report what was waited for on ~/{topic} within {timeout_s:g} s; "
                    f"last heard: {value}."
                )

    def require_no_failure(self) -> None:
        """Raise ``RobotError`` with the node's own sentence if it has failed since its last transition."""
        with self._news:
            status = self._received.get("status")
        if status is not None and status["error"]:
            raise RobotError(str(status["error"]))

    def change_state(self, transition: str, timeout_s: float = TRANSITION_S) -> None:
        """Run a transition: 'configure', 'activate', 'deactivate', 'cleanup' or 'shutdown'.

        Raises:
            RobotError: the node's own sentence when it refused; or that it did not answer.
        """
        request = ChangeState.Request()
        request.transition.label = transition
        before = self.state()
        with self._news:
            self._received.pop("status", None)
        self._wait_until_offered(self._change_state, transition)
        deadline_s = time.monotonic() + timeout_s
        call = _Call(self._change_state, request)
        while not self._answered(call, REPEAT_S):
            if time.monotonic() > deadline_s:
                raise RobotError(f"Node '{self.name}' did not answer '{transition}' within {timeout_s:g} s.")
            state = _Call(self._get_state, GetState.Request())
            if not self._answered(state, REPEAT_S) or call.done.is_set():
                continue  # the node answers nothing while it is at it
            now = state.answer().current_state.label
            if now == GOALS[transition]:
                return  # only the answer was lost
            self.require_no_failure()
            if now == before:
                call = _Call(self._change_state, request)  # it was never heard
        if call.answer().success:
            return
        try:
            status = self.wait_for("status", lambda value: bool(value["error"]), REASON_S)
        except RobotError:
            raise RobotError(
                f"Node '{self.name}' refused to {transition}; it is {self.state()}, from where that may not be possible."
            ) from None
        raise RobotError(str(status["error"]))

    def state(self) -> str:
        """Label of the lifecycle state: 'unconfigured', 'inactive', 'active' or 'finalized'."""
        return str(self._call(self._get_state, GetState.Request(), "get_state", CALL_S).current_state.label)

    def set_parameters(self, values: Mapping[str, Any]) -> None:
        """Set parameters; ``RobotError`` names one that was refused."""
        parameters = [Parameter(name, value=value) for name, value in values.items()]
        request = SetParameters.Request(parameters=[each.to_parameter_msg() for each in parameters])
        answer = self._call(self._set_parameters, request, "set_parameters", CALL_S)
        for parameter, result in zip(parameters, answer.results, strict=True):
            if not result.successful:
                raise RobotError(f"Node '{self.name}' refused parameter '{parameter.name}': {result.reason}.")

    def call(self, service_type: Any, service: str, request: Any) -> Any:
        """Call the node's ``~/service`` once."""
        client = self._node.create_client(service_type, f"{self.name}/{service}")
        try:
            return self._call(client, request, service, CALL_S)
        finally:
            self._node.destroy_client(client)

    def _call(self, client: Any, request: Any, what: str, timeout_s: float) -> Any:
        """The answer to a request that may be repeated without harm."""
        self._wait_until_offered(client, what)
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            call = _Call(client, request)
            if self._answered(call, REPEAT_S):
                return call.answer()
            call.forget()
        raise RobotError(f"Node '{self.name}' did not answer '{what}' within {timeout_s:g} s.")

    def _wait_until_offered(self, client: Any, what: str) -> None:
        deadline_s = time.monotonic() + START_S
        while not client.service_is_ready():
            self._check()
            if time.monotonic() > deadline_s:
                raise RobotError(f"Node '{self.name}' offers no '{what}' within {START_S:g} s; is it running?")
            time.sleep(0.01)

    def _answered(self, call: "_Call", timeout_s: float) -> bool:
        deadline_s = time.monotonic() + timeout_s
        while not call.done.wait(0.05):
            self._check()
            if time.monotonic() > deadline_s:
                return False
        return True


class _Call:
    """One request on its way."""

    def __init__(self, client: Any, request: Any) -> None:
        self.done = threading.Event()
        self._client = client
        self._future = client.call_async(request)
        self._future.add_done_callback(lambda _: self.done.set())

    def answer(self) -> Any:
        """What came back; only once ``done``."""
        return self._future.result()

    def forget(self) -> None:
        """Expect nothing any more."""
        self._client.remove_pending_request(self._future)
