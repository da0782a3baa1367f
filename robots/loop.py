"""ControlLoop: observe, act, filter, command, notify. The same loop in simulation, in the twin, on hardware and under ROS."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from praxon.contract import Observation
from praxon.robots.base import Agent, Robot, SafeCommand
from praxon.robots.safety import SafetyFilter


@dataclass(frozen=True)
class Tick:
    """What happened at one control step; handed to every subscriber (recorder, video, metrics).

    Args:
        index: ticks since the loop was reset.
        observation: what was seen, None when nothing complete had arrived.
        action: (num_joints,) what the agent asked for, None when it said nothing.
        command: what was sent.
    """

    index: int
    observation: Observation | None
    action: np.ndarray | None
    command: SafeCommand


class ControlLoop:
    """Runs an agent on a robot at a fixed period against absolute deadlines, so that it never drifts.

    Args:
        robot: the body.
        agent: who decides.
        safety: the filter every command passes.
        subscribers: called with each ``Tick`` after its command was sent.
    """

    def __init__(
        self, robot: Robot, agent: Agent, safety: SafetyFilter, subscribers: Sequence[Callable[[Tick], None]] = ()
    ) -> None:
        self.robot = robot
        self.agent = agent
        self.safety = safety
        self.subscribers = list(subscribers)
        self.period_ns = round(safety.period_s * 1e9)
        self.overruns = 0
        self._index = 0
        self._deadline_ns = 0

    def reset(self, positions: np.ndarray, seed: int) -> None:
        """Start from rest at the measured joint ``positions`` (num_joints,) with everything random fixed by ``seed``."""
        self.safety.reset(positions)
        self.agent.reset(seed)
        self.overruns = 0
        self._index = 0
        self._deadline_ns = self.robot.now_ns()

    def tick(self) -> Tick:
        """One control step; returns when the next one is due.

        A missed deadline is counted and skipped to the next tick of the grid; the robot meanwhile runs on into the
        preview of its last command, which ends at rest. Where deciding took that long, the new command is issued for
        the tick that has begun by then, and asked rows that were meant for earlier ones are dropped, all but the last.
        """
        self._skip_missed()
        observation = self.robot.observe()
        actions = None if observation is None else self.agent.act(observation)
        spent = self._skip_missed()
        if actions is not None:
            actions = actions[min(spent, len(actions) - 1) :]
        stamp_ns = self._deadline_ns if observation is None else observation.stamp_ns
        command = self.safety.filter(actions, stamp_ns, self._deadline_ns, self.robot.lookahead)
        self.robot.command(command)
        tick = Tick(self._index, observation, None if actions is None else actions[0], command)
        for notify in self.subscribers:
            notify(tick)
        self._index += 1
        self._wait()
        return tick

    def beside(self, agent: Agent, subscribers: Sequence[Callable[[Tick], None]] = ()) -> "ControlLoop":
        """A loop at the same tick on the same robot and filter: to see what would come of another agent.

        Who runs it puts robot and filter back as they were.
        """
        other = ControlLoop(self.robot, agent, self.safety, subscribers)
        other._index, other._deadline_ns = self._index, self._deadline_ns
        return other

    def _skip_missed(self) -> int:
        """Go on to the tick of the grid that has begun last; how many were missed."""
        missed = max(0, (self.robot.now_ns() - self._deadline_ns) // self.period_ns)
        self.overruns += missed
        self._deadline_ns += missed * self.period_ns
        return missed

    def _wait(self) -> None:
        self._deadline_ns += self.period_ns
        late_ns = self.robot.now_ns() - self._deadline_ns
        if late_ns > 0:
            missed = late_ns // self.period_ns + 1
            self.overruns += int(missed)
            self._deadline_ns += missed * self.period_ns
        self.robot.wait_until(self._deadline_ns)
