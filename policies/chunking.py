"""Chunking: from observations to a window, and from a chunk to one action per tick.

With num_obs_steps 2, horizon 8, num_execute 4, at control tick k (one column per tick):

    tick         k-1    k   k+1   k+2   k+3   k+4   k+5   k+6   k+7
    observed      o     o                                               the window
    generated           0     1     2     3     4     5     6     7     row 0 at the newest observation
    executed            x     x     x     x                             then the chunk of tick k+4 takes over;
    in reserve                                  .     .     .     .     if that one is late, these rows bridge the gap

A chunk computed from tick k that arrives at tick k+2 starts with its row 2: rows are found by time, not by counting.

With temporal ensembling (ACT, arXiv 2304.13705, section IV-C) there is a chunk at every tick, and each tick's action is the
mean of the rows that belong to it, weighted by exp(-m i) with i = 0 for the oldest chunk.
"""

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from praxon.contract import Chunk, Observation
from praxon.errors import ConfigError, ContractError


class ObservationHistory:
    """The last observations, stacked as a batch of one.

    Args:
        num_obs_steps: observations in the window; the first one is repeated until there are enough.
    """

    def __init__(self, num_obs_steps: int) -> None:
        self._recent: deque[Observation] = deque(maxlen=num_obs_steps)
        self._steps = num_obs_steps

    def append(self, observation: Observation) -> None:
        """Add the newest observation; one that carries the newest stamp again changes nothing.

        Raises:
            ContractError: the stamp lies before the newest one.
        """
        if self._recent:
            newest_ns = self._recent[-1].stamp_ns
            if observation.stamp_ns == newest_ns:
                return
            if observation.stamp_ns < newest_ns:
                raise ContractError(
                    f"An observation of {observation.stamp_ns} ns follows one of {newest_ns} ns; "
                    "stamps must grow until reset."
                )
        self._recent.append(observation)

    def window(self) -> dict[str, np.ndarray]:
        """Feature name -> array (1, num_obs_steps, *shape), oldest first.

        Raises:
            ContractError: nothing has been observed since the reset.
        """
        if not self._recent:
            raise ContractError("A window was asked for before the first observation.")
        missing = self._steps - len(self._recent)
        padded: list[Mapping[str, np.ndarray]] = [self._recent[0].features] * missing
        padded += [observation.features for observation in self._recent]
        return {name: np.stack([features[name] for features in padded])[None] for name in padded[0]}

    def reset(self) -> None:
        """Forget everything."""
        self._recent.clear()


@dataclass
class _Track:
    """One chunk on the clock, fading in from what was executed before it."""

    chunk_HA: np.ndarray
    stamp_ns: int
    before: "_Track | None"
    blend_from_ns: int | None = None  # first tick that used it


class ChunkExecutor:
    """Holds the live chunk and says which action belongs to which instant.

    Row i of a chunk belongs to its stamp + i control periods. Between rows actions are interpolated linearly in time;
    past the last row it is held. A new chunk fades in from the continuation of the one before it over ``blend_steps``
    ticks, so that the command stays continuous at the seam: with 2, the first tick takes a third of the new chunk, the
    second two thirds, the third all of it. With ``chunk.ensemble`` nothing fades: chunks that cover a tick are averaged.

    Args:
        chunk: horizon, executed rows and control period.
        blend_steps: ticks of the cross-fade; 0 jumps.
        quaternion: the components of a row that are one. q and -q are the same rotation and half-way between them there is
            none, so that signs are chosen anew: each row's as the row's before, the first row's as the live chunk's there.
            What comes out is then near a rotation, but not of unit length.
    """

    def __init__(self, chunk: Chunk, blend_steps: int = 2, quaternion: slice | None = None) -> None:
        self._horizon, self._num_execute = chunk.horizon, chunk.num_execute
        self._period_ns = round(chunk.control_period_s * 1e9)
        self._blend_steps = blend_steps
        self._quaternion = quaternion
        self._ensemble = chunk.ensemble
        self._averaged: list[_Track] = []  # oldest first; with an ensemble
        self._live: _Track | None = None

    def add(self, chunk_HA: np.ndarray, stamp_ns: int) -> None:
        """Let a chunk (horizon, A) take over from the next tick.

        Args:
            chunk_HA: actions in physical units.
            stamp_ns: stamp of the observation it was computed from.

        Raises:
            ContractError: wrong number of rows, or an older stamp than that of the live chunk.
        """
        if chunk_HA.ndim != 2 or len(chunk_HA) != self._horizon:
            raise ContractError(f"A chunk has shape {chunk_HA.shape}; ({self._horizon}, action size) is executed here.")
        chunk_HA = np.array(chunk_HA, dtype=np.float64)
        before = self._live
        if self._quaternion is not None:
            reference = chunk_HA[0] if before is None else self._interpolated(before, stamp_ns)
            _align_signs(chunk_HA[:, self._quaternion], reference[self._quaternion])
        if before is not None:
            if stamp_ns < before.stamp_ns:
                raise ContractError(f"A chunk of {stamp_ns} ns follows one of {before.stamp_ns} ns; reset in between.")
            if before.blend_from_ns is None:  # replaced before it was ever used
                before = before.before
        self._live = _Track(chunk_HA, stamp_ns, before)
        if self._ensemble is not None:
            self._live.before = None
            self._averaged = [track for track in self._averaged if track.stamp_ns < stamp_ns] + [self._live]

    def actions(self, stamp_ns: int, count: int = 1) -> np.ndarray | None:
        """Actions (count, A) of ``stamp_ns`` and the following ticks, or ``None`` while there is no chunk."""
        live = self._live
        if live is None:
            return None
        self._averaged = [
            track for track in self._averaged if self._ticks_since(track.stamp_ns, stamp_ns) < self._horizon
        ]
        for track in _chain(live):
            if track.blend_from_ns is None:
                track.blend_from_ns = stamp_ns
            if stamp_ns - track.blend_from_ns >= self._blend_steps * self._period_ns:
                track.before = None  # faded in; nothing older is heard any more
        return np.stack([self._action(live, stamp_ns + i * self._period_ns) for i in range(count)])

    def planned(self, stamp_ns: int) -> tuple[np.ndarray | None, int]:
        """What is to be executed at ``stamp_ns`` and the following ticks of a chunk that would begin there.

        Returns:
            Actions (horizon, A), or ``None`` while there is no chunk; how many of them the live chunk has rows for, the
            others hold its last.
        """
        if self._live is None:
            return None, 0
        used = self._ticks_since(self._live.stamp_ns, stamp_ns)
        rows = np.stack([self._action(self._live, stamp_ns + i * self._period_ns) for i in range(self._horizon)])
        return rows, max(0, min(self._horizon, self._horizon - used))

    def begins(self, stamp_ns: int) -> bool:
        """Whether the live chunk's first row belongs to this tick."""
        return self._live is not None and self._ticks_since(self._live.stamp_ns, stamp_ns) == 0

    def rest(self, stamp_ns: int) -> np.ndarray:
        """Actions (T, A) of ``stamp_ns`` and the following ticks as far as the live chunk has rows, its last row at least.

        Raises:
            ContractError: there is no chunk.
        """
        rows, known = self.planned(stamp_ns)
        if rows is None:
            raise ContractError("The rest of a chunk was asked for before the first one.")
        return rows[: max(known, 1)]

    def due(self, stamp_ns: int, ahead: int = 0) -> bool:
        """Whether it is time to ask for the next chunk.

        Args:
            stamp_ns: now.
            ahead: ticks that the next chunk takes to arrive; it is asked for so much earlier than ``num_execute`` rows of the
                live one are used.
        """
        return self._live is None or self._ticks_since(self._live.stamp_ns, stamp_ns) >= self._num_execute - ahead

    def exhausted(self, stamp_ns: int) -> bool:
        """Whether no row belongs to this tick any more (or yet), so that at best the last row is held."""
        return self._live is None or self._ticks_since(self._live.stamp_ns, stamp_ns) >= self._horizon

    def reset(self) -> None:
        """Forget all chunks."""
        self._live = None
        self._averaged = []

    def _ticks_since(self, start_ns: int, stamp_ns: int) -> int:
        # To the nearest tick: real clocks jitter around the grid.
        return (stamp_ns - start_ns + self._period_ns // 2) // self._period_ns

    def _action(self, track: _Track, at_ns: int) -> np.ndarray:
        if self._ensemble is not None:
            return self._mean(track, at_ns, self._ensemble)
        action = self._interpolated(track, at_ns)
        if track.before is None or track.blend_from_ns is None:
            return action
        progress = (at_ns - track.blend_from_ns) / self._period_ns
        weight = min((progress + 1.0) / (self._blend_steps + 1.0), 1.0)
        if weight >= 1.0:
            return action
        continuation = self._action(track.before, at_ns)
        return continuation + weight * (action - continuation)

    def _mean(self, live: _Track, at_ns: int, decay: float) -> np.ndarray:
        covering = [
            track for track in self._averaged if 0 <= self._ticks_since(track.stamp_ns, at_ns) < self._horizon
        ] or [live]
        exponent = -decay * np.arange(len(covering))
        weight = np.exp(exponent - exponent.max())
        return weight @ np.stack([self._interpolated(track, at_ns) for track in covering]) / weight.sum()

    def _interpolated(self, track: _Track, at_ns: int) -> np.ndarray:
        row, rest_ns = divmod(at_ns - track.stamp_ns, self._period_ns)
        if row < 0:
            return track.chunk_HA[0]
        if row >= self._horizon - 1:
            return track.chunk_HA[-1]
        here, there = track.chunk_HA[row], track.chunk_HA[row + 1]
        return here + (rest_ns / self._period_ns) * (there - here)


def soft_mask(delay: int, execute: int, horizon: int) -> list[float]:
    """Weights of a plan's rows (arXiv 2506.07339, equation 5): 1 while the new chunk is computed, then falling to 0.

    Args:
        delay: d, rows that will have been executed when the new chunk arrives.
        execute: s, rows of the new chunk for which there is no plan.
        horizon: H, rows of a chunk.

    Raises:
        ConfigError: unless 0 <= d and d <= H - s: the plan would end before the new chunk arrives.
    """
    if not 0 <= delay <= horizon - execute <= horizon:
        raise ConfigError(
            f"A plan covers {horizon - execute} rows of a chunk of {horizon} ({execute} are new); the new chunk comes after "
            f"{delay}. The delay must be 0 to {horizon - execute}: execute fewer rows of a chunk, or make it longer."
        )
    overlap = horizon - execute
    weights = [1.0] * delay
    for row in range(delay, overlap):
        share = (overlap - row) / (overlap - delay + 1)
        weights.append(share * math.expm1(share) / math.expm1(1.0))
    return weights + [0.0] * execute


def _align_signs(quaternion_H4: np.ndarray, reference_4: np.ndarray) -> None:
    """Flip rows in place so that none points away from the one before, the first not from ``reference_4``."""
    before_H4 = np.concatenate([reference_4[None], quaternion_H4[:-1]])
    turns_H = np.where((before_H4 * quaternion_H4).sum(axis=1) < 0, -1.0, 1.0)
    quaternion_H4 *= np.cumprod(turns_H)[:, None]


def _chain(track: _Track | None) -> Iterator[_Track]:
    while track is not None:
        yield track
        track = track.before
