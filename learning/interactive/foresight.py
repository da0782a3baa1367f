"""Foresight: what the policy's plan would come to from here, and what a good expert would, both tried out in the simulator."""

import numpy as np

from praxon.contract import Observation
from praxon.learning.interactive.gates import Outlook
from praxon.robots.base import Agent
from praxon.robots.plan import PlanAgent
from praxon.sim.world import World


class Foresight:
    """The operator's judgement. It is that of the world's expert at full skill, whoever it is that takes over.

    Whoever judges well and acts badly still teaches well (RLIF, arXiv 2311.12996): so the one is kept apart from the other.

    Args:
        world: in which an episode is running.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self._judge: Agent | None = None
        self._seed = 0

    def reset(self, seed: int) -> None:
        """Start an episode; ``seed`` fixes what is random in the expert."""
        self._seed = seed

    def __call__(self, plan: np.ndarray, steps: int) -> Outlook:
        """The reward that either would have at the end; whoever solves the task on the way has 1 at least.

        The end says where a plan leads. The mean over the way there is that of a beginning which both share.

        Args:
            plan: (T, A) the policy's actions from this step on. Beyond them nothing is looked at: a policy that held its last
                action there would be blamed for waiting, however good its next plan.
            steps: control steps to look ahead, at most.

        Raises:
            ConfigError: a world that cannot go back, or one without an expert.
        """
        if self._judge is None:
            self._judge = self.world.expert()
        self._judge.reset(self._seed)
        ahead = min(steps, len(plan))
        expert = self.world.foresee(self._judge, ahead)
        policy = self.world.foresee(PlanAgent(plan), ahead)
        return Outlook(float(policy[-1]), float(expert[-1]))


def require_foresight(world: World) -> None:
    """Look ahead once, in the first step of an episode: what cannot be done is met before anybody relies on it.

    Args:
        world: in which no episode is running.

    Raises:
        ConfigError: it cannot go back, or has no expert.
    """
    world.run(_Looks(world), seed=0, stop=lambda: True)


class _Looks:
    """The world's expert, who looks ahead before each step."""

    def __init__(self, world: World) -> None:
        self._expert, self._foresight = world.expert(), Foresight(world)

    def reset(self, seed: int) -> None:
        self._expert.reset(seed)
        self._foresight.reset(seed)

    def act(self, observation: Observation) -> np.ndarray | None:
        actions = self._expert.act(observation)
        if actions is not None:
            self._foresight(actions, 1)
        return actions
