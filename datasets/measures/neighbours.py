"""The nearest states of other episodes: what each frame is compared with.

Frames just before and after are near and say nothing: with them in, every operator agrees with himself.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from praxon.datasets.measures.measured import Recorded
from praxon.datasets.measures.signals import Signal, evenly

MAX_CELLS = 4_000_000
"""Neighbours looked at in one go (16 bytes each)."""


@dataclass(frozen=True)
class Neighbours:
    """Frames and their neighbours.

    Args:
        frames: (M,) indices of the frames that were looked at, ascending.
        found: (M, k) indices of their neighbours, nearest first.
        distances: (M, k) root mean square difference of the state's components [spread].
    """

    frames: np.ndarray
    found: np.ndarray
    distances: np.ndarray


def nearest_neighbours(
    dataset: Recorded, state: Signal, k: int = 10, max_frames: int = 50_000, exclusion_frames: int | None = None
) -> Neighbours | None:
    """The ``k`` nearest states of each frame, by Euclidean distance between states in units of their spread.

    Args:
        dataset: where the episodes begin and end.
        state: what is compared.
        k: neighbours; fewer where other episodes have fewer frames.
        max_frames: of longer datasets, this many evenly spaced frames are looked at, among themselves.
        exclusion_frames: frames of the same episode count as neighbours when they are farther than this in time;
            ``None``: never.

    Returns:
        ``None`` where fewer than two frames could be compared with any one.
    """
    episodes = np.repeat(np.arange(len(dataset.episode_lengths)), dataset.episode_lengths)
    frames = evenly(len(episodes), max_frames)
    points = state[frames] if state.size else np.zeros((len(frames), 0))
    usable = np.isfinite(points).all(axis=1)
    frames, points = frames[usable], points[usable]
    owners = episodes[frames]
    barred = _most_barred(frames, owners, exclusion_frames)
    k = min(k, len(frames) - barred)
    if k < 2 or not state.size:
        return None
    tree = cKDTree(points)
    found, distances = np.empty((len(frames), k), np.int64), np.empty((len(frames), k))
    pending, wanted = np.arange(len(frames)), min(3 * k, len(frames))
    while len(pending):
        unfinished = []
        for rows in np.array_split(pending, -(-len(pending) * wanted // MAX_CELLS)):
            near, there = tree.query(points[rows], wanted)
            allowed = owners[there] != owners[rows, None]
            if exclusion_frames is not None:
                allowed |= np.abs(frames[there] - frames[rows, None]) > exclusion_frames
            place = np.cumsum(allowed, axis=1)
            enough = place[:, -1] >= k
            chosen = (allowed & (place <= k))[enough]
            found[rows[enough]] = there[enough][chosen].reshape(-1, k)
            distances[rows[enough]] = near[enough][chosen].reshape(-1, k)
            unfinished.append(rows[~enough])
        pending, wanted = np.concatenate(unfinished), min(4 * wanted, len(frames))
    return Neighbours(frames, frames[found], distances / np.sqrt(state.size))


def _most_barred(frames: np.ndarray, owners: np.ndarray, exclusion_frames: int | None) -> int:
    """How many frames, itself among them, some frame may not be compared with."""
    if exclusion_frames is None:
        return int(np.bincount(owners).max(initial=0))
    spacing = int(np.diff(frames).min(initial=exclusion_frames + 1))
    return 2 * (exclusion_frames // spacing) + 1
