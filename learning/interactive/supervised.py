"""A policy that somebody watches, who may take over and give back; and the episodes that come of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from praxon.contract import Observation
from praxon.learning.interactive.attendant import Attendant
from praxon.learning.interactive.gates import Gate, Moment
from praxon.learning.interactive.records import Step, columns
from praxon.policies.agent import ChunkAgent
from praxon.robots.base import Agent
from praxon.robots.loop import Tick
from praxon.robots.teleoperation.intervention import Mark
from praxon.sim.world import EpisodeResult, Judgement, World


class SupervisedAgent:
    """Policy and expert on one robot, of which a gate gives one control.

    While the expert drives, the policy draws a new chunk at every step: what it would do now, and, when it gets control back, no
    remainder of a plan from before.

    Args:
        policy: who learns.
        expert: who helps.
        gate: who drives.
    """

    def __init__(self, policy: ChunkAgent, expert: Agent, gate: Gate) -> None:
        self.policy, self.expert, self.gate = policy, expert, gate
        self.progress = 0.0
        """Of the task, as the rollout was told last."""
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Start an episode, the policy in control."""
        for agent in (self.policy, self.expert, self.gate):
            agent.reset(seed)
        self.driving, self.progress, self._step = False, 0.0, 0
        self.actions: tuple[np.ndarray, np.ndarray] | None = None

    def act(self, observation: Observation) -> np.ndarray | None:
        """The actions of whoever is in control; ``None`` until both have something to say."""
        if self.driving:
            self.policy.restart()
        drawn, shown = self.policy.act(observation), self.expert.act(observation)
        if drawn is None or shown is None:
            self.actions = None
            return None
        self.actions = drawn[0], shown[0]
        moment = Moment(self._step, drawn[0], shown[0], self.progress, self.driving)
        self.driving = self.gate.expert_drives(moment)
        self._step += 1
        return shown if self.driving else drawn


@dataclass(frozen=True)
class Rollout:
    """One episode.

    Args:
        frames: columns of the dataset (T, *shape).
        stamps_ns: (T,) [ns].
        result: how it went.
        interventions: takeovers.
        intervened: steps in which the expert drove.
        mark: what a person said of it; nothing is kept of one that was to be discarded.
    """

    frames: dict[str, np.ndarray]
    stamps_ns: np.ndarray
    result: EpisodeResult
    interventions: int
    intervened: int
    mark: Mark = Mark.NONE


def roll_out(
    world: World, agent: SupervisedAgent, seed: int, linger_s: float = 0.0, attendant: Attendant | None = None
) -> Rollout:
    """Run the episode of a seed and keep every step.

    Args:
        world: where.
        agent: who acts.
        seed: of start and agents.
        linger_s: how long to go on after success [s].
        attendant: where a person helps: sees every tick, and may end the episode, whose verdict then counts.
    """
    steps: list[Step] = []
    pending: list[Callable[[Judgement], Step]] = []

    def acted(tick: Tick) -> None:
        if tick.observation is None or agent.actions is None:
            return
        seen, stamp_ns = tick.observation.features, tick.observation.stamp_ns
        (drawn, shown), driving = agent.actions, agent.driving
        pending.append(
            lambda judged: Step(
                seen, stamp_ns, shown if driving else drawn, drawn, shown, driving, judged.reward, judged.success
            )
        )

    def judged(judgement: Judgement) -> None:
        agent.progress = judgement.reward
        steps.extend(make(judgement) for make in pending)
        pending.clear()

    if attendant is None:
        result, mark = world.run(agent, seed, [acted], linger_s, judged), Mark.NONE
    else:
        result = world.run(agent, seed, [acted, attendant], linger_s, judged, lambda: attendant.mark != Mark.NONE)
        mark = attendant.mark
    if mark in (Mark.SUCCESS, Mark.FAILURE):
        steps[-1] = replace(steps[-1], success=mark == Mark.SUCCESS)
        result = replace(result, success=mark == Mark.SUCCESS)
    ended = result.success or result.steps < world.step_limit or mark != Mark.NONE
    frames = columns(world.contract, steps, ended, failed=mark == Mark.FAILURE)
    driven = np.array([step.intervened for step in steps])
    takeovers = int(driven[0]) + int(np.count_nonzero(driven[1:] & ~driven[:-1]))
    return Rollout(frames, np.array([step.stamp_ns for step in steps]), result, takeovers, int(driven.sum()), mark)
