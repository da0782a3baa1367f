"""Sampling from several places at once, with exact shares of every batch.

Half of each batch from demonstrations and half from what the robot did itself is the symmetric sampling of Ball et al.,
"Efficient Online Reinforcement Learning with Offline Data" (RLPD), ICML 2023, section 4.1; HIL-SERL does the same. Shares
that hold only on average leave batches without the smaller part.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from praxon.datasets.sampler import Sampler
from praxon.datasets.samplers.weighted import require_batch_size
from praxon.errors import DatasetError

MAX_DENOMINATOR = 1_000_000
"""Shares are taken as fractions, so that 1/3 is a third and not its float."""


class MixtureSampler:
    """Batches of constant size made of parts, one from each sampler, in the samplers' order.

    A part has ``share * batch_size`` indices. Where that is no whole number it is rounded down or up, and up for those to
    whom most is owed so far, so that the shares come true over batches as well.

    Args:
        samplers: where the parts come from, of any batch size: a part may reach over several of their batches.
        shares: of each, positive; they are divided by their sum.
        batch_size: indices per batch.
        offsets: added to the indices of each sampler, e.g. where its windows begin among concatenated ones; 0 where ``None``.
    """

    def __init__(
        self,
        samplers: Sequence[Sampler],
        shares: Sequence[float],
        batch_size: int,
        offsets: Sequence[int] | None = None,
    ) -> None:
        require_batch_size(batch_size)
        offsets = [0] * len(samplers) if offsets is None else offsets
        if not samplers or not len(samplers) == len(shares) == len(offsets):
            raise DatasetError(
                f"A mixture needs a share and an offset for each sampler; got {len(samplers)} samplers, {len(shares)} shares "
                f"and {len(offsets)} offsets."
            )
        if not all(np.isfinite(share) and share * MAX_DENOMINATOR >= 1 for share in shares):
            raise DatasetError(f"The shares of a mixture must be positive numbers; got {', '.join(map(str, shares))}.")
        fractions = [Fraction(share).limit_denominator(MAX_DENOMINATOR) for share in shares]
        self.batch_size = batch_size
        self._quotas = [batch_size * fraction / sum(fractions) for fraction in fractions]
        self._owed = [Fraction(0)] * len(fractions)
        self._parts = [_Stream(sampler, offset) for sampler, offset in zip(samplers, offsets, strict=True)]
        self._step = 0

    def next(self) -> np.ndarray:
        """The next ``batch_size`` indices, int64; those of the first sampler come first."""
        counts = self._counts()
        return np.concatenate([part.take(count) for part, count in zip(self._parts, counts, strict=True)])

    def state_dict(self) -> dict[str, Any]:
        """Batches drawn, indices drawn of each sampler, and where each sampler is."""
        taken = [int(self._step * quota - owed) for quota, owed in zip(self._quotas, self._owed, strict=True)]
        return {"step": self._step, "taken": taken, "parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        if len(state["parts"]) != len(self._parts):
            raise DatasetError(
                f"The state is of a mixture of {len(state['parts'])} samplers; here are {len(self._parts)}."
            )
        self._step = int(state["step"])
        self._owed = [
            self._step * quota - int(taken) for quota, taken in zip(self._quotas, state["taken"], strict=True)
        ]
        for part, saved in zip(self._parts, state["parts"], strict=True):
            part.load_state_dict(saved)

    def _counts(self) -> list[int]:
        """Indices of each part of the next batch."""
        self._step += 1
        owed = [before + quota for before, quota in zip(self._owed, self._quotas, strict=True)]
        counts = [int(quota) for quota in self._quotas]
        fractional = [i for i, quota in enumerate(self._quotas) if quota != int(quota)]
        by_need = sorted(fractional, key=lambda i: (counts[i] - owed[i], i))
        for i in by_need[: self.batch_size - sum(counts)]:
            counts[i] += 1
        self._owed = [due - count for due, count in zip(owed, counts, strict=True)]
        return counts


class _Stream:
    """A sampler read by any number of indices at a time."""

    def __init__(self, sampler: Sampler, offset: int) -> None:
        self._sampler, self._offset = sampler, offset
        self._before = sampler.state_dict()
        self._batch, self._position = np.zeros(0, np.int64), 0

    def take(self, count: int) -> np.ndarray:
        pieces = [np.zeros(0, np.int64)]
        while count:
            if self._position == len(self._batch):
                self._before = self._sampler.state_dict()
                self._batch, self._position = self._sampler.next(), 0
            piece = self._batch[self._position : self._position + count]
            self._position += len(piece)
            count -= len(piece)
            pieces.append(piece + self._offset)
        return np.concatenate(pieces)

    def state_dict(self) -> dict[str, Any]:
        """The sampler's state before the batch that is being read, and how much of it was read."""
        return {"sampler": self._before, "read": self._position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._sampler.load_state_dict(state["sampler"])
        self._before, self._position = self._sampler.state_dict(), int(state["read"])
        self._batch = self._sampler.next() if self._position else np.zeros(0, np.int64)
