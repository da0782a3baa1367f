"""PerturbedAgent: an expert that is pushed while it demonstrates, so that data shows how to come back.

Now and then the executed command is displaced for a moment; what is recorded is always the action the expert intended.
After Laskey et al., "DART: Noise Injection for Robust Imitation Learning", CoRL 2017, with pushes in place of white noise:
an expert that must align within millimetres never gets there under noise that does not pause.
"""

import numpy as np

from praxon.contract import Observation
from praxon.robots.base import Agent


class PerturbedAgent:
    """Wraps an expert.

    Args:
        expert: who demonstrates.
        heights: (A,) standard deviation of a push's height on each component of the action, in its unit, as
            ``World.push_heights`` gives them; zeros leave the expert alone.
        period_s: control period [s].
        rate_hz: pushes per second on average while none is under way.
        duration_s: of a push; it rises and falls as a half sine [s].
    """

    def __init__(
        self,
        expert: Agent,
        heights: np.ndarray,
        period_s: float,
        rate_hz: float = 0.6,
        duration_s: float = 0.4,
    ) -> None:
        self.expert = expert
        self.intended: np.ndarray | None = None
        """The expert's own action of the last tick, (A,); this is the demonstration."""
        self._std = np.asarray(heights, np.float64)
        self._probability = rate_hz * period_s
        self._shape = np.sin(np.pi * (np.arange(max(1, round(duration_s / period_s))) + 0.5) * period_s / duration_s)
        self._height = np.zeros_like(self._std)
        self._tick = len(self._shape)
        self._rng = np.random.default_rng(0)

    def reset(self, seed: int) -> None:
        """No push is under way."""
        self.expert.reset(seed)
        self._rng = np.random.default_rng([seed, 1])
        self._tick = len(self._shape)
        self.intended = None

    def act(self, observation: Observation) -> np.ndarray | None:
        """The expert's action, displaced by the push of this tick if there is one."""
        actions = self.expert.act(observation)
        if actions is None:
            return None
        self.intended = actions[0]
        if self._tick == len(self._shape):
            if self._rng.random() >= self._probability:
                return actions
            self._height = self._std * self._rng.standard_normal(len(self._std))
            self._tick = 0
        push = self._height * self._shape[self._tick]
        self._tick += 1
        return actions + push
