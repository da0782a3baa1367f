"""Transitions in a ring, and batches of them: half of what was just done, half of what was given.

A transition may span several steps: ``reward`` is then their discounted sum and ``discount`` gamma to the number of steps. ``mask``
is 0 only where nothing can follow; where time ran out something could have, and it is 1.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from praxon.errors import ConfigError

SCALARS = ("reward", "discount", "mask")


class ReplayBuffer:
    """The latest transitions.

    Args:
        capacity: most that are kept; the oldest make room.
        state_size: S.
        action_size: A.
        more: shapes of what else a transition holds, by name.
    """

    def __init__(
        self, capacity: int, state_size: int, action_size: int, more: Mapping[str, tuple[int, ...]] | None = None
    ) -> None:
        shapes = {"state": (state_size,), "action": (action_size,), "next_state": (state_size,), **(more or {})}
        self._arrays: dict[str, np.ndarray] = {
            name: np.zeros((capacity, *shape), np.float32) for name, shape in shapes.items()
        }
        self._arrays |= {name: np.zeros(capacity, np.float32) for name in SCALARS}
        self.capacity, self.added = capacity, 0

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    def add(self, transition: Mapping[str, Any]) -> None:
        """One transition: ``state``, ``action``, ``next_state``, ``reward``, ``discount``, ``mask``, and what else was named.

        Raises:
            ConfigError: an entry is missing, or not finite; nothing is added then.
        """
        values = {}
        for name, array in self._arrays.items():
            if name not in transition:
                raise ConfigError(f"A transition needs '{name}'; got {', '.join(transition)}.")
            value = np.asarray(transition[name], np.float32)
            if value.shape != array.shape[1:] or not np.isfinite(value).all():
                raise ConfigError(
                    f"A transition's '{name}' has to be finite and of shape {array.shape[1:]}; got {value.shape}: {value!r:.80}."
                )
            values[name] = value
        place = self.added % self.capacity
        for name, value in values.items():
            self._arrays[name][place] = value
        self.added += 1

    def sample(self, count: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Transitions drawn independently, by name (count, ...)."""
        places = rng.integers(0, len(self), count)
        return {name: torch.from_numpy(array[places]) for name, array in self._arrays.items()}


def symmetric(
    online: ReplayBuffer, offline: ReplayBuffer | None, count: int, rng: np.random.Generator
) -> dict[str, Tensor]:
    """A batch of which every second transition is of ``offline``, where there are some (RLPD's symmetric sampling)."""
    if offline is None or not len(offline):
        return online.sample(count, rng)
    if not len(online):
        return offline.sample(count, rng)
    given, done = offline.sample(count // 2, rng), online.sample(count - count // 2, rng)
    mixed = {}
    for name, values in done.items():
        mixed[name] = torch.empty((count, *values.shape[1:]))
        mixed[name][0::2], mixed[name][1::2] = values, given[name]
    return mixed
