"""A policy that somebody watches, who may take over and give back; and the episodes that come of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from praxon.contract import Observation
from praxon.errors import RobotError
from praxon.learning.interactive.attendant import Attendant
from praxon.learning.interactive.counts import Counts
from praxon.learning.interactive.foresight import Foresight
from praxon.learning.interactive.gates import Gate, Moment
from praxon.learning.interactive.records import Step, columns
from praxon.policies.agent import ChunkAgent
from praxon.robots.base import Agent
from praxon.robots.loop import Tick
from praxon.robots.teleoperation.intervention import Mark
from praxon.sim.world import EpisodeResult, Judgement, World

PREVIEW = 5
"""Rows that a control loop is given at least: the action, and what follows for feed-forward."""


class SupervisedAgent:
    """Policy and expert on one robot, of which a gate gives one control.

    While the expert drives, the policy draws a new chunk at every step: what it would do now, and, when it gets control back, no
    remainder of a plan from before.

    Args:
        policy: who learns.
        expert: who helps.
        gate: who drives.
        foresight: for gates that look ahead, in the world that the robot is in; ``None``: they cannot.
    """

    def __init__(self, policy: ChunkAgent, expert: Agent, gate: Gate, foresight: Foresight | None = None) -> None:
        self.policy, self.expert, self.gate, self.foresight = policy, expert, gate, foresight
        self.progress = 0.0
        """Of the task, as the rollout was told last."""
        self._rows = max(PREVIEW, policy.contract.chunk.num_execute)
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Start an episode, the policy in control."""
        for agent in (self.policy, self.expert, self.gate):
            agent.reset(seed)
        if self.foresight is not None:
            self.foresight.reset(seed)
        self.driving, self.progress, self._step = False, 0.0, 0
        self.actions: tuple[np.ndarray, np.ndarray] | None = None
        self.plan, self.decided = np.zeros((0, 0)), False

    def act(self, observation: Observation) -> np.ndarray | None:
        """The actions of whoever is in control; ``None`` until both have something to say."""
        if self.driving:
            self.policy.restart()
        drawn, shown = self.policy.act(observation, self._rows - 1), self.expert.act(observation)
        if drawn is None or shown is None:
            self.actions = None
            return None
        self.actions, self.plan = (drawn[0], shown[0]), drawn[: self.policy.contract.chunk.num_execute]
        self.decided = self.policy.begins(observation.stamp_ns)
        moment = self._moment(observation, *self.actions)
        self.driving = self.gate.expert_drives(moment)
        self._step += 1
        return shown if self.driving else drawn

    def _moment(self, observation: Observation, drawn: np.ndarray, shown: np.ndarray) -> Moment:
        foresight, stamp_ns = self.foresight, observation.stamp_ns
        outlook = None if foresight is None else lambda steps: foresight(self.policy.rest(stamp_ns), steps)
        features = observation.features
        return Moment(self._step, drawn, shown, self.progress, self.driving, features, self.decided, outlook)


@dataclass(frozen=True)
class Rollout:
    """One episode.

    Args:
        frames: columns of the dataset (T, *shape).
        stamps_ns: (T,) [ns].
        result: how it went.
        counts: what happened.
        mark: what a person said of it; nothing is kept of one that was to be discarded.
    """

    frames: dict[str, np.ndarray]
    stamps_ns: np.ndarray
    result: EpisodeResult
    counts: Counts
    mark: Mark = Mark.NONE


def roll_out(
    world: World,
    agent: SupervisedAgent,
    seed: int,
    linger_s: float = 0.0,
    watch: Callable[[Step], None] = lambda step: None,
    attendant: Attendant | None = None,
    gives_up: bool = False,
) -> Rollout:
    """Run the episode of a seed and keep every step.

    Args:
        world: where.
        agent: who acts.
        seed: of start and agents.
        linger_s: how long to go on after success [s].
        watch: told every step once it is over.
        attendant: where a person helps: sees every tick, and may end the episode, whose verdict then counts.
        gives_up: whether whoever helps blames an episode whose time runs out unsolved, as a takeover does. Time has run out all the
            same, and something could have followed.
    """
    steps: list[Step] = []
    pending: list[Callable[[Judgement], Step]] = []
    ended_there = False

    def acted(tick: Tick) -> None:
        if tick.observation is None or agent.actions is None:
            return
        seen, stamp_ns = tick.observation.features, tick.observation.stamp_ns
        (drawn, shown), plan, decided, driving = agent.actions, agent.plan, agent.decided, agent.driving
        done = shown if driving else drawn
        pending.append(
            lambda judged: Step(
                seen, stamp_ns, done, drawn, shown, plan, decided, driving, judged.reward, judged.success
            )
        )

    def judged(judgement: Judgement) -> None:
        nonlocal ended_there
        agent.progress, ended_there = judgement.reward, judgement.ended
        for make in pending:
            steps.append(make(judgement))
            watch(steps[-1])
        pending.clear()

    if attendant is None:
        result, mark = world.run(agent, seed, [acted], linger_s, judged), Mark.NONE
    else:
        result = world.run(agent, seed, [acted, attendant], linger_s, judged, lambda: attendant.mark != Mark.NONE)
        mark = attendant.mark
    if not steps:
        raise RobotError(
            f"Nothing was done in the episode of seed {seed}: the policy gave no chunk of finite numbers "
            f"({agent.policy.refused_chunks} were refused)."
        )
    if mark in (Mark.SUCCESS, Mark.FAILURE):
        steps[-1] = replace(steps[-1], success=mark == Mark.SUCCESS)
        result = replace(result, success=mark == Mark.SUCCESS)
    fell = not result.success and ended_there and mark == Mark.NONE
    ended = result.success or fell or mark in (Mark.SUCCESS, Mark.FAILURE)
    # A failure that ends the episode is one that an operator would have prevented: else failing early would cost nothing.
    given_up = gives_up and not ended
    frames = columns(world.contract, steps, ended, failed=fell or mark == Mark.FAILURE or given_up)
    return Rollout(frames, np.array([step.stamp_ns for step in steps]), result, Counts.of(frames), mark)
