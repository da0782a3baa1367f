"""An expert of less than full skill: it misjudges where things are, reacts late, and its hand is not steady.

It plays the human of whom a policy learns, and whom it may surpass. At skill 1 it is the expert itself; every fault grows in
proportion to what is lacking.
"""

from collections import deque

import numpy as np

from praxon.contract import Observation, PolicyContract
from praxon.errors import ConfigError
from praxon.robots.base import Agent
from praxon.sim.world import World

DELAY_S = 0.2
"""Between what is meant and what is done, at skill 0 [s]."""
UNSTEADY_RAD = 0.006
"""Standard deviation of the noise on each joint of the arm at skill 0 [rad]."""
UNSTEADY_SHARE = 0.2
"""The same in gymnasium environments, as a share of half the range of each component of the action."""
STEADINESS = 0.8
"""Share of the noise that is the same at the next step."""
MISJUDGED_M = 0.035
"""How far things are from where they are taken to be, when they are misjudged [m]."""
MISJUDGING = 0.9
"""Probability of misjudging at skill 0, drawn anew each time."""
JUDGED_EVERY_S = 1.5
"""Time between two looks [s]."""


def skilled_expert(world: World, skill: float, expert: Agent | None = None) -> Agent:
    """The world's expert at a skill; the expert itself at skill 1.

    Args:
        world: where.
        skill: from 0 to 1.
        expert: the world's, where there is one already.

    Raises:
        ConfigError: a skill outside [0, 1], or a world without an expert.
    """
    found = world.expert() if expert is None else expert
    if skill == 1:
        return found
    return LessSkilled(found, world.contract, skill, world.push_heights(UNSTEADY_RAD, UNSTEADY_SHARE))


class LessSkilled:
    """Wraps an expert.

    Args:
        expert: who knows how it is done.
        contract: of the world; poses of bodies among its observations are what is misjudged.
        skill: 1 for the expert itself, 0 for the worst.
        heights: (A,) how much each component of the action may tremble, as ``World.push_heights`` gives it.

    Raises:
        ConfigError: a skill outside [0, 1].
    """

    def __init__(self, expert: Agent, contract: PolicyContract, skill: float, heights: np.ndarray) -> None:
        if not 0 <= skill <= 1:
            raise ConfigError(f"The expert's skill is {skill}; 0 (the worst) to 1 is needed.")
        self.expert, self.skill = expert, skill
        period_s, lacking = contract.chunk.control_period_s, 1.0 - skill
        self._poses = [feature.name for feature in contract.observations if feature.kind == "pose" and feature.source]
        self._late = round(lacking * DELAY_S / period_s)
        self._unsteady = lacking * np.asarray(heights, np.float64)
        self._misjudging = lacking * MISJUDGING
        self._look_every = max(1, round(JUDGED_EVERY_S / period_s))
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Forget the last episode; ``seed`` fixes every fault in the next."""
        self.expert.reset(seed)
        self._rng = np.random.default_rng([seed, 2])
        self._meant: deque[np.ndarray] = deque(maxlen=self._late + 1)
        self._tremble = np.zeros_like(self._unsteady)
        self._off = np.zeros(3)
        self._tick = 0

    def act(self, observation: Observation) -> np.ndarray | None:
        """The expert's action of a while ago, for where things seemed to be."""
        if self._tick % self._look_every == 0:
            angle, misjudges = self._rng.uniform(0, 2 * np.pi), self._rng.random() < self._misjudging
            self._off = MISJUDGED_M * misjudges * np.array([np.cos(angle), np.sin(angle), 0.0])
        self._tick += 1
        features = dict(observation.features)
        for name in self._poses:
            pose = features[name].copy()
            pose[:3] += self._off.astype(pose.dtype)
            features[name] = pose
        actions = self.expert.act(Observation(observation.stamp_ns, features))
        if actions is None:
            return None
        fresh = self._rng.standard_normal(len(self._unsteady)) * self._unsteady
        self._tremble = STEADINESS * self._tremble + np.sqrt(1 - STEADINESS**2) * fresh
        self._meant.append(actions)
        return self._meant[0] + self._tremble
