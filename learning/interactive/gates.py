"""Gates: who drives. An operator's device, a rule about what the policy does, or chance; to the rollout all are the same.

A gate is asked at every control step, with what the policy would do and what the expert would, and says whether the expert has
control. It sees no more of the world than its rule needs, and is a function of the episode's seed.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from praxon.errors import ConfigError, nearest
from praxon.robots.teleoperation.operator import OperatorAgent

if TYPE_CHECKING:
    from praxon.contract import PolicyContract
    from praxon.datasets.lerobot_reader import LeRobotDataset
    from praxon.learning.interactive.experience import Experience
    from praxon.sim.world import World


@dataclass(frozen=True)
class Outlook:
    """Where things lead from here, one and the other in control.

    Args:
        policy: what the policy's plan would come to, in the unit of the task's reward.
        expert: what a good expert would come to.
    """

    policy: float
    expert: float


@dataclass(frozen=True)
class Moment:
    """What a gate decides by.

    Args:
        step: of the episode, from 0.
        policy_action: (A,) what the policy would do.
        expert_action: (A,) what the expert would do.
        progress: of the task so far, 0 to 1, as the world's reward tells it.
        driving: whether the expert has control.
        features: what is observed, by name.
        begins: whether the policy's chunk begins at this step.
        outlook: (control steps to look ahead) -> what either would come to; nothing is looked at before a gate calls it.
            ``None`` where nobody can look ahead.
    """

    step: int
    policy_action: np.ndarray
    expert_action: np.ndarray
    progress: float
    driving: bool
    features: Mapping[str, np.ndarray] = field(default_factory=dict)
    begins: bool = False
    outlook: Callable[[int], Outlook] | None = None


class Gate(ABC):
    """Parent of gates.

    One that learns prepares itself before each round, and may change between episodes, by nothing but the notes that it made of
    them. These are kept beside the data, so that a run that was cut short goes on with the same gate.
    """

    def require(  # noqa: B027  (most take any)
        self, contract: "PolicyContract", demonstrations: Sequence["LeRobotDataset"], world: "World"
    ) -> None:
        """Refuse a policy, demonstrations or a world that this gate cannot work with, before anything runs.

        Args:
            contract: of the policy.
            demonstrations: that were given.
            world: where it will decide; no episode is running.
        """

    def prepare(self, experience: "Experience") -> None:  # noqa: B027  (most learn nothing)
        """Learn what there is to learn before a round, and forget the round before."""

    def notes(self) -> dict[str, Any]:
        """What is to be remembered of the episode since ``reset``, as JSON has it."""
        return {}

    def remember(self, notes: Mapping[str, Any]) -> None:  # noqa: B027  (most remember nothing)
        """Change by the notes of an episode of this round; called for each, in order."""

    def report(self) -> dict[str, Any]:
        """What is to be known of the round so far, as JSON has it."""
        return {}

    def reset(self, seed: int) -> None:  # noqa: B027  (most have nothing to forget)
        """Forget the last episode; ``seed`` fixes everything random in the next."""

    @abstractmethod
    def expert_drives(self, moment: Moment) -> bool:
        """Who has control at this step."""


class Never(Gate):
    """The policy alone drives."""

    def expert_drives(self, moment: Moment) -> bool:
        """False."""
        return False


class Always(Gate):
    """The expert alone drives: demonstrations."""

    def expert_drives(self, moment: Moment) -> bool:
        """True."""
        return True


class ByDevice(Gate):
    """A person's device says who drives.

    Args:
        operator: who listens to it, and is asked what to do before the gate is.
    """

    def __init__(self, operator: OperatorAgent) -> None:
        self.operator = operator

    def expert_drives(self, moment: Moment) -> bool:
        """While the operator has control."""
        return self.operator.driving


class Mixture(Gate):
    """Chance: the expert drives with probability ``beta``, drawn anew every few steps (DAgger's mixture, Ross et al. 2011).

    Args:
        beta: probability.
        steps: between draws.
    """

    def __init__(self, beta: float, steps: int = 1) -> None:
        if not 0 <= beta <= 1 or steps < 1:
            raise ConfigError(
                f"A mixture of {beta} every {steps} steps; a probability and at least one step are needed."
            )
        self.beta, self.steps = beta, steps
        self.reset(0)

    def reset(self, seed: int) -> None:
        """See ``Gate.reset``."""
        self._rng, self._drives = np.random.default_rng([seed, 3]), False

    def expert_drives(self, moment: Moment) -> bool:
        """As drawn last."""
        if moment.step % self.steps == 0:
            self._drives = bool(self._rng.random() < self.beta)
        return self._drives


SCHEDULES: dict[str, Callable[[float, int], float]] = {
    "exponential": lambda beta, number: beta**number,
    "first": lambda beta, number: float(number == 1),
    "constant": lambda beta, number: beta,
}
"""DAgger's probability that the expert drives, of ``beta`` and the round, from 1 on (Ross et al. 2011, section 3)."""


def mixture(schedule: str, beta: float, steps: int, number: int) -> Mixture:
    """The mixture of a round.

    Args:
        schedule: of ``SCHEDULES``.
        beta: what it goes by.
        steps: control steps between draws: those that are carried out of a chunk, or one.
        number: of the round, from 1 on.

    Raises:
        ConfigError: no such schedule, or no probability.
    """
    if schedule not in SCHEDULES:
        raise ConfigError(
            f"There is no schedule '{schedule}'.{nearest(schedule, SCHEDULES)} There are {', '.join(SCHEDULES)}."
        )
    return Mixture(SCHEDULES[schedule](beta, number), steps)


class Random(Gate):
    """Chance again, as a bored operator: a takeover begins with probability ``rate`` and lasts ``steps``.

    Args:
        rate: of beginning, at each step without one.
        steps: of a takeover.
    """

    def __init__(self, rate: float, steps: int) -> None:
        if not 0 <= rate <= 1 or steps < 1:
            raise ConfigError(
                f"Takeovers at a rate of {rate} for {steps} steps; a probability and at least one step are needed."
            )
        self.rate, self.steps = rate, steps
        self.reset(0)

    def reset(self, seed: int) -> None:
        """See ``Gate.reset``."""
        self._rng, self._left = np.random.default_rng([seed, 4]), 0

    def expert_drives(self, moment: Moment) -> bool:
        """While a takeover lasts."""
        if self._left == 0 and self._rng.random() < self.rate:
            self._left = self.steps
        drives = self._left > 0
        self._left = max(0, self._left - 1)
        return drives


class Stalled(Gate):
    """An attentive operator: takes over when the task has not progressed for a while, and gives back when it has.

    Args:
        patience: steps without progress after which control is taken.
        gain: progress that counts as some.
        steps: least length of a takeover.
        done: progress from which on nobody takes over.
    """

    def __init__(self, patience: int = 20, gain: float = 0.02, steps: int = 16, done: float = 0.98) -> None:
        if patience < 1 or steps < 1 or not gain > 0:
            raise ConfigError(
                f"Patience of {patience} steps, takeovers of {steps} and a gain of {gain}; all have to be positive."
            )
        self.patience, self.gain, self.steps, self.done = patience, gain, steps, done
        self.reset(0)

    def reset(self, seed: int) -> None:
        """See ``Gate.reset``."""
        self._best, self._since, self._taken, self._at = -np.inf, 0, 0, 0.0

    def expert_drives(self, moment: Moment) -> bool:
        """From a stall until there is progress again, and for no shorter than ``steps``."""
        if moment.progress >= self._best + self.gain:
            self._best, self._since = moment.progress, 0
        else:
            self._since += 1
        if moment.driving:
            self._taken += 1
            back = self._taken >= self.steps and moment.progress >= self._at + self.gain
            if back:
                self._best, self._since = moment.progress, 0
            return not back
        if self._since >= self.patience and moment.progress < self.done:
            self._taken, self._at = 0, moment.progress
            return True
        return False


class Discrepancy(Gate):
    """Takes over where policy and expert disagree, gives back where they agree well: two thresholds (LazyDAgger, arXiv 2104.00053).

    Args:
        threshold: of the largest difference of a component, in its unit, above which the expert takes over.
        back: share of it below which the policy gets control back.
        steps: least length of a takeover.
    """

    def __init__(self, threshold: float, back: float = 0.5, steps: int = 8) -> None:
        if not threshold > 0 or not 0 < back <= 1 or steps < 1:
            raise ConfigError(
                f"A threshold of {threshold}, back at {back} of it, for {steps} steps; above 0, a share and at least one are "
                "needed."
            )
        self.threshold, self.back, self.steps = threshold, back, steps
        self.reset(0)

    def reset(self, seed: int) -> None:
        """See ``Gate.reset``."""
        self._taken = 0

    def expert_drives(self, moment: Moment) -> bool:
        """By the difference of the two actions."""
        difference = float(np.abs(moment.policy_action - moment.expert_action).max())
        if not moment.driving:
            self._taken = 0
            return difference > self.threshold
        self._taken += 1
        return self._taken < self.steps or difference > self.back * self.threshold
