"""Block-wise caching: a block whose output hardly changes between denoising steps is run at some of them and reused at others.

BAC, Ji et al., arXiv 2506.13456. A schedule says for every block at which evaluations of the network it is run; elsewhere what it
gave last is added to the residual stream again. It is fixed before sampling, so that a traced loop holds the blocks that are
run and nothing else. ``calibration`` makes schedules.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from praxon.errors import ConfigError
from praxon.policies.networks.blocks import BlockName, Compute, Run


@dataclass(frozen=True)
class CacheSchedule:
    """At which evaluations each block is run.

    Args:
        updates: name of a block -> evaluations at which it is run, increasing, from 0 on.
        evaluations: of the network in one sample.
        sampler: settings of the sampler it was calibrated with.
        weights: SHA-256 of the weights it was calibrated with.
    """

    updates: Mapping[str, tuple[int, ...]]
    evaluations: int
    sampler: Mapping[str, Any]
    weights: str

    @property
    def share_run(self) -> float:
        """Blocks that are run, over blocks there would be to run."""
        return sum(map(len, self.updates.values())) / (len(self.updates) * self.evaluations)

    def require_weights(self, weights: str) -> None:
        """Refuse weights with this SHA-256 unless it was calibrated with them.

        Raises:
            ConfigError: with both.
        """
        if weights != self.weights:
            raise ConfigError(
                f"The cache schedule was calibrated with other weights ({self.weights[:12]}, these are {weights[:12]}); "
                "praxon calibrate makes one for these."
            )

    def require(self, blocks: tuple[BlockName, ...], sampler: Mapping[str, Any]) -> None:
        """Refuse a network with other blocks, and a sampler with other settings.

        Raises:
            ConfigError: with what differs.
        """
        if dict(sampler) != dict(self.sampler):
            different = ", ".join(
                f"{key} {self.sampler.get(key)} there and {sampler.get(key)} here"
                for key in sorted({*sampler, *self.sampler})
                if self.sampler.get(key) != sampler.get(key)
            )
            raise ConfigError(
                f"The cache schedule was calibrated with another sampler: {different}; praxon calibrate makes one for this, "
                "engine={cache:null} does without."
            )
        names = [block.name for block in blocks]
        if set(names) != set(self.updates):
            raise ConfigError(
                f"The cache schedule is of the blocks {', '.join(self.updates)}; this network has {', '.join(names) or 'none'}."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for YAML."""
        return {
            "weights": self.weights,
            "sampler": dict(self.sampler),
            "evaluations": self.evaluations,
            "updates": {name: list(steps) for name, steps in self.updates.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "CacheSchedule":
        """The inverse of ``to_dict``.

        Raises:
            ConfigError: it is not one.
        """
        if not isinstance(data, Mapping):
            raise ConfigError(f"A cache schedule is what praxon calibrate makes, or null for none; got {data!r}.")
        try:
            evaluations = int(data["evaluations"])
            updates = {str(name): tuple(int(step) for step in steps) for name, steps in data["updates"].items()}
            sampler, weights = dict(data["sampler"]), str(data["weights"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(
                f"A cache schedule holds weights, sampler, evaluations and updates; {type(error).__name__}: {error}."
            ) from error
        for name, steps in updates.items():
            if not steps or steps[0] != 0 or list(steps) != sorted(set(steps)) or steps[-1] >= evaluations:
                raise ConfigError(
                    f"Block '{name}' is run at evaluations {list(steps)}; they begin with 0, increase, and lie below {evaluations}."
                )
        return cls(updates, evaluations, sampler, weights)


class CachedRun:
    """The blocks of one sample: run where the schedule says, else what they gave last."""

    def __init__(self, schedule: CacheSchedule) -> None:
        self._updates = {name: frozenset(steps) for name, steps in schedule.updates.items()}
        self._kept: dict[str, Tensor] = {}

    def at(self, evaluation: int) -> Run:
        """For ``Denoiser.denoise`` at this evaluation of the network."""

        def run(name: str, compute: Compute) -> Tensor:
            if evaluation in self._updates[name]:
                self._kept[name] = compute()
            return self._kept[name]

        return run
