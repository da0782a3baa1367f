"""Recording an episode: what was observed and what the demonstrator meant to do, frame by frame."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from praxon.robots.base import Agent
from praxon.robots.loop import Tick
from praxon.sim.episode import EpisodeResult, Simulation


class Demonstrator(Agent, Protocol):
    """An agent that can say what it meant, which need not be what it did (``PerturbedAgent``)."""

    intended: np.ndarray | None
    """The demonstrated action of the last tick, (num_joints,)."""


@dataclass(frozen=True)
class Demonstration:
    """One recorded episode.

    Args:
        frames: every feature of the simulation's contract by name, (T, *shape).
        stamps_ns: (T,) times of the observations [ns].
        result: how it went.
    """

    frames: dict[str, np.ndarray]
    stamps_ns: np.ndarray
    result: EpisodeResult


def record_episode(simulation: Simulation, agent: Demonstrator, seed: int, linger_s: float = 0.0) -> Demonstration:
    """Run one episode and keep every tick on which there was something to see and to do.

    Args:
        simulation: where.
        agent: who demonstrates.
        seed: of start and agent.
        linger_s: how long to go on after success [s].
    """
    frames: dict[str, list[np.ndarray]] = {feature.name: [] for feature in simulation.contract}
    stamps: list[int] = []

    def record(tick: Tick) -> None:
        if tick.observation is None or agent.intended is None:
            return
        for name, value in tick.observation.features.items():
            frames[name].append(value)
        frames[simulation.contract.action.name].append(agent.intended.astype(np.float32))
        stamps.append(tick.observation.stamp_ns)

    result = simulation.run(agent, seed, [record], linger_s)
    return Demonstration({name: np.stack(values) for name, values in frames.items()}, np.array(stamps), result)
