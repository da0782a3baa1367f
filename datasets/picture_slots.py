"""Decoded pictures of one size in a fixed piece of memory, by number; the least recently used give way."""

import numpy as np

from praxon.errors import DatasetError

EMPTY = -1
EVICTED_SHARE = 64
"""At least one in so many slots is freed at a time, so that looking for the oldest costs little per picture."""


class PictureSlots:
    """Everything is done for many pictures at once and without a lock; the owner has one.

    Args:
        shape: of a picture, (height, width, 3).
        max_bytes: of pictures held [bytes].

    Attributes:
        num_bytes: of pictures held now [bytes].
    """

    def __init__(self, shape: tuple[int, ...], max_bytes: int) -> None:
        self.shape = shape
        self._numbers = 0
        self._slot_of = np.empty(0, np.int32)
        self.resize(max_bytes)

    @property
    def num_bytes(self) -> int:
        """Of pictures held now."""
        return (self._count - len(self._free)) * self._bytes

    @property
    def room(self) -> int:
        """Pictures that can be added without another giving way."""
        return len(self._free)

    def resize(self, max_bytes: int) -> None:
        """Hold at most so many bytes from now on; forgets all pictures."""
        self._bytes = max(int(np.prod(self.shape)), 1)
        self._count = max(int(max_bytes // self._bytes), 0)
        try:
            self._pictures = np.empty((self._count, *self.shape), np.uint8)  # pages are taken when first written
        except MemoryError as error:
            raise DatasetError(f"A picture cache of {max_bytes} bytes is more than this machine can give.") from error
        self._owner = np.full(self._count, EMPTY)
        self._used = np.zeros(self._count, np.int64)
        self._free = np.arange(self._count)[::-1].copy()
        self._clock = 0
        self._slot_of[:] = EMPTY

    def number(self, count: int) -> int:
        """Reserve ``count`` consecutive numbers; returns the first."""
        first, self._numbers = self._numbers, self._numbers + count
        if self._numbers > len(self._slot_of):
            grown = np.full(max(self._numbers, 2 * len(self._slot_of)), EMPTY, np.int32)
            grown[:first] = self._slot_of[:first]
            self._slot_of = grown
        return first

    def take(self, numbers: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Copy the pictures that are held into their places of ``out``; returns the places of the others."""
        slots = self._slot_of[numbers]
        held = slots != EMPTY
        self._clock += 1
        if held.all():
            self._used[slots] = self._clock
            if len(slots):
                np.take(self._pictures, slots, axis=0, out=out, mode="clip")
            return np.empty(0, np.int64)
        if held.any():
            self._used[slots[held]] = self._clock
            out[held] = self._pictures[slots[held]]
        return np.flatnonzero(~held)

    def put(self, numbers: np.ndarray, pictures: np.ndarray) -> None:
        """Keep pictures of different numbers; the last ones where there is not room for all."""
        held = self._slot_of[numbers]
        self._clock += 1
        self._used[held[held != EMPTY]] = self._clock
        new = np.flatnonzero(held == EMPTY)
        new = new[max(len(new) - self._count, 0) :]
        if not len(new):
            return
        if len(self._free) < len(new):
            self._evict(len(new) - len(self._free))
        slots, self._free = self._free[-len(new) :], self._free[: -len(new)]
        self._pictures[slots] = pictures[new]
        self._slot_of[numbers[new]], self._owner[slots] = slots, numbers[new]
        self._used[slots] = self._clock

    def _evict(self, count: int) -> None:
        held = np.flatnonzero(self._owner != EMPTY)
        count = min(max(count, self._count // EVICTED_SHARE), len(held))
        oldest = held[np.argpartition(self._used[held], count - 1)[:count]]
        self._slot_of[self._owner[oldest]] = EMPTY
        self._owner[oldest] = EMPTY
        self._free = np.concatenate([self._free, oldest])
