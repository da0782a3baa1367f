"""The gate of RLIF (arXiv 2311.12996): it takes over when the policy's plan would come to less than what an expert would do.

RLIF compares values of a critic that was trained beforehand, and takes over with probability 0.95 where the policy's is the lower
by a factor, with 0.05 where it is not. Here either is tried out in the simulator and their rewards compared, and the rule is a
difference instead of a factor: with values below zero, a factor takes over from a policy that is as good as the expert.
"""

from collections.abc import Sequence

import numpy as np

from praxon.contract import PolicyContract
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.errors import ConfigError
from praxon.learning.interactive.foresight import require_foresight
from praxon.learning.interactive.gates import Gate, Moment, Outlook
from praxon.sim.world import World


class Value(Gate):
    """Looks ahead when the policy makes a new plan, and every few steps; takes over where the expert would do better by ``gap``.

    A look carries out 2 ``horizon`` control steps in the simulator. Episodes are the same to the bit as without looking.

    Args:
        gap: reward at the end of the horizon by which the expert has to be better.
        horizon: control steps to look ahead, or as far as the policy's chunk goes where that is nearer.
        every: steps between two looks, at most; while the expert drives, exactly.
        steps: least length of a takeover.
        reaction: steps between a look and the takeover that follows: the plan that is judged is then the one that is blamed, and
            not the one before it. While they pass nobody looks.
        back: share of ``gap`` that the policy's new plan may be worse by when it gets control back.
        miss: probability of not taking over at a look where that is due; at the next look there is another chance.
        false_alarm: probability of taking over at a look where it is not due.
    """

    def __init__(
        self,
        gap: float,
        horizon: int = 16,
        every: int = 8,
        steps: int = 8,
        reaction: int = 2,
        back: float = 0.5,
        miss: float = 0.05,
        false_alarm: float = 0.01,
    ) -> None:
        if not gap > 0 or not 0 < back <= 1 or min(horizon, every, steps, reaction + 1) < 1:
            raise ConfigError(
                f"A gap of {gap}, back at {back} of it, looking {horizon} steps ahead every {every}, for {steps} steps after "
                f"{reaction}; above 0, a share, at least one and at least none are needed."
            )
        if not (0 <= miss <= 1 and 0 <= false_alarm <= 1):
            raise ConfigError(f"Misses at {miss} and false alarms at {false_alarm}; probabilities are needed.")
        self.gap, self.horizon, self.every, self.steps, self.reaction = gap, horizon, every, steps, reaction
        self.back, self.miss, self.false_alarm = back, miss, false_alarm
        self.reset(0)

    def require(self, contract: PolicyContract, demonstrations: Sequence[LeRobotDataset], world: World) -> None:
        """See ``Gate.require``."""
        require_foresight(world)

    def reset(self, seed: int) -> None:
        """See ``Gate.reset``."""
        self._rng = np.random.default_rng([seed, 5])
        self._since, self._taken = 0, 0
        self._left: int | None = None

    def expert_drives(self, moment: Moment) -> bool:
        """By the outlooks, with an operator's errors in taking over and none in giving back."""
        if moment.driving:
            self._taken += 1
            if self._taken < self.steps or (self._taken - self.steps) % self.every:
                return True
            self._since = 0
            return self._shortfall(moment) > self.back * self.gap
        if self._left is not None:
            self._left -= 1
            return self._react()
        self._since += 1
        if not moment.begins and self._since < self.every:
            return False
        self._since, self._taken = 0, 0
        due = self._shortfall(moment) > self.gap
        chance = self._rng.random()
        if chance >= self.miss if due else chance < self.false_alarm:
            self._left = self.reaction
        return self._react()

    def _react(self) -> bool:
        """Whether the time to react is over."""
        if self._left != 0:
            return False
        self._left = None
        return True

    def _shortfall(self, moment: Moment) -> float:
        """How much less the policy's plan comes to than the expert."""
        if moment.outlook is None:
            raise ConfigError(
                "The gate 'value' looks ahead, and was given nothing to look with; a Foresight of the world is."
            )
        found: Outlook = moment.outlook(self.horizon)
        return found.expert - found.policy
