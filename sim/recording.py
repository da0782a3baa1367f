"""Recording an episode: what was observed and what the demonstrator meant to do, frame by frame."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from praxon.contract import Feature
from praxon.robots.base import Agent
from praxon.robots.loop import Tick
from praxon.sim.world import EpisodeResult, Judgement, World


class Demonstrator(Agent, Protocol):
    """An agent that can say what it meant, which need not be what it did (``PerturbedAgent``)."""

    intended: np.ndarray | None
    """The demonstrated action of the last tick, (A,)."""


@dataclass(frozen=True)
class Demonstration:
    """One recorded episode.

    Args:
        frames: every feature of the world's contract by name, (T, *shape), and ``phase`` (T, 1) where it was asked for.
        stamps_ns: (T,) times of the observations [ns].
        result: how it went.
    """

    frames: dict[str, np.ndarray]
    stamps_ns: np.ndarray
    result: EpisodeResult


PHASE = Feature("phase", "vector", (1,), dtype="int64")
"""The column that says in which phase of the task the demonstrator is."""


REWARD = Feature("next.reward", "vector", (1,))
SUCCESS = Feature("next.success", "vector", (1,), dtype="int64")
"""The columns that say what the world thought of each step: its reward, and whether the task was solved after it."""


class Phased(Protocol):
    """Who can say in which phase of its task it is."""

    @property
    def phase(self) -> int:
        """Of the last tick."""


def record_episode(
    world: World,
    agent: Demonstrator,
    seed: int,
    linger_s: float = 0.0,
    phased: Phased | None = None,
    rewards: bool = False,
) -> Demonstration:
    """Run one episode and keep every tick on which there was something to see and to do.

    Args:
        world: where.
        agent: who demonstrates.
        seed: of start and agent.
        linger_s: how long to go on after success [s].
        phased: whose phase is recorded as ``PHASE``; none is where ``None``.
        rewards: record ``REWARD`` and ``SUCCESS``.
    """
    frames: dict[str, list[np.ndarray]] = {feature.name: [] for feature in world.contract}
    if phased is not None:
        frames[PHASE.name] = []
    if rewards:
        frames |= {REWARD.name: [], SUCCESS.name: []}
    stamps: list[int] = []

    def record(tick: Tick) -> None:
        if tick.observation is None or agent.intended is None:
            return
        for name, value in tick.observation.features.items():
            frames[name].append(value)
        frames[world.contract.action.name].append(world.demonstrated(agent.intended))
        if phased is not None:
            frames[PHASE.name].append(np.array([phased.phase], np.int64))
        stamps.append(tick.observation.stamp_ns)

    def judged(judgement: Judgement) -> None:
        if rewards and len(stamps) > len(frames[REWARD.name]):
            frames[REWARD.name].append(np.array([judgement.reward], np.float32))
            frames[SUCCESS.name].append(np.array([judgement.success], np.int64))

    result = world.run(agent, seed, [record], linger_s, judged)
    return Demonstration({name: np.stack(values) for name, values in frames.items()}, np.array(stamps), result)
