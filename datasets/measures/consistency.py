"""Action consistency and state diversity, from the nearest states of other episodes.

After Belkhale, Cui and Sadigh, "Data Quality in Imitation Learning", NeurIPS 2023 (arXiv 2306.02437): what a learner can
make of demonstrations depends on whether they act alike in like states (action divergence) and on how far the next states
spread (transition diversity). The paper gives these as properties of distributions; the estimates from k nearest
neighbours are ours. The distance to neighbours is the quantity of which the logarithm's mean is the particle estimate of
state entropy in Liu and Abbeel, "Behavior From the Void" (APT), NeurIPS 2021.
"""

from collections.abc import Callable

import numpy as np
from scipy.spatial import cKDTree

from praxon.datasets.measures.measured import Measure, Measured, Recorded, over_episodes
from praxon.datasets.measures.neighbours import Neighbours, nearest_neighbours
from praxon.datasets.measures.signals import Signal, action_signal, evenly, state_signal

ACTION_VARIANCE = Measure(
    "action_variance", "spread^2", -1, "how much the actions of other episodes differ in states like these"
)
ACTION_DEVIATION = Measure(
    "action_deviation", "spread^2", -1, "how far the action is from the mean action of other episodes in such states"
)
TRANSITION_VARIANCE = Measure(
    "transition_variance", "1", 0, "how much the next states of other episodes differ from states like these"
)
STATE_NOVELTY = Measure("state_novelty", "spread", 0, "how far the nearest states of other episodes are")
STATE_COVERAGE = Measure("state_coverage", "1", 0, "share of the dataset's cells of state space that are visited")

NUM_CELLS = 256
"""Cells of state space, at most; fewer for datasets of fewer frames."""
MAX_LANDMARK_CANDIDATES = 20_000
ROWS_AT_ONCE = 8_192


def measure_consistency(
    dataset: Recorded, k: int = 10, max_frames: int = 50_000, exclusion_frames: int | None = None
) -> list[Measured]:
    """The measures above; none where there is no state or nothing to compare with.

    With neighbours j = 1..k of frame i, actions a and state displacements d in units of their spread, means over components:

        action_variance      mean_j (a_j - mean_j a_j)^2     0: all do the same; 1: as different as anywhere
        action_deviation     (a_i - mean_j a_j)^2
        transition_variance  mean_j (d_j - mean_j d_j)^2     by the dataset's mean d^2; d: next frame's state less this one's
        state_novelty        mean_j |s_i - s_j| / sqrt(D)

    An episode's value is the mean over its frames; for ``state_coverage`` it is the number of cells it visits, divided by the
    number of cells. Actions are each frame's own, that is the first of a chunk.

    Args: as of ``nearest_neighbours``.
    """
    state, action = state_signal(dataset), action_signal(dataset)
    if not state.size:
        return []
    found = [_coverage(dataset, state)]
    neighbours = nearest_neighbours(dataset, state, k, max_frames, exclusion_frames)
    if neighbours is None:
        return found
    last = np.cumsum(dataset.episode_lengths) - 1
    is_last = np.zeros(last[-1] + 1, bool)
    is_last[last] = True

    def displacement(rows: np.ndarray) -> np.ndarray:
        """(n, D) from each frame to the next; NaN at an episode's end."""
        following = state[np.minimum(rows + 1, last[-1])] - state[rows]
        following[is_last[rows]] = np.nan
        return following

    values = {STATE_NOVELTY: neighbours.distances.mean(axis=1)}
    if action.size:
        values[ACTION_VARIANCE], values[ACTION_DEVIATION] = _compare(neighbours, lambda rows: action[rows])
    values[TRANSITION_VARIANCE], _ = _compare(neighbours, displacement)
    steps = displacement(evenly(len(is_last), 50_000))
    usual = (steps[np.isfinite(steps)] ** 2).sum() / max(np.isfinite(steps).sum(), 1)
    values[TRANSITION_VARIANCE] /= usual if usual > 0 else 1.0
    for measure, measured in values.items():
        frames = _fill(neighbours.frames, measured, dataset)
        found.append(Measured(measure, over_episodes(np.mean, frames, dataset), frames))
    return found


def _compare(neighbours: Neighbours, read: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Variance of the neighbours' values and squared distance of the frame's own from their mean, each (M,).

    ``read`` maps frame indices (n,) to values (n, D); rows with NaN do not count.
    """
    variance, deviation = np.full((2, len(neighbours.frames)), np.nan)
    k = neighbours.found.shape[1]
    for start in range(0, len(neighbours.frames), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        own, others = neighbours.frames[rows], neighbours.found[rows]
        values = read(others.reshape(-1)).reshape(len(own), k, -1)
        usable = np.isfinite(values).all(axis=2, keepdims=True)
        count = usable.sum(axis=1)
        mean = np.where(usable, values, 0.0).sum(axis=1) / np.maximum(count, 1)
        squares = np.where(usable, (values - mean[:, None]) ** 2, 0.0).sum(axis=1) / np.maximum(count, 1)
        variance[rows] = np.where(count[:, 0] > 1, squares.mean(axis=1), np.nan)
        deviation[rows] = np.where(count[:, 0] > 0, ((read(own) - mean) ** 2).mean(axis=1), np.nan)
    return variance, deviation


def _fill(looked_at: np.ndarray, values: np.ndarray, dataset: Recorded) -> np.ndarray:
    """(N,) float32: frames between those that were looked at take the value of the nearest of their episode."""
    ends = np.cumsum(dataset.episode_lengths)
    filled = np.full(ends[-1], np.nan, np.float32)
    for start, end in zip(ends - dataset.episode_lengths, ends, strict=True):
        first, last = np.searchsorted(looked_at, [start, end])
        if last > first:
            middles = (looked_at[first : last - 1] + looked_at[first + 1 : last]) / 2
            filled[start:end] = values[first + np.searchsorted(middles, np.arange(start, end))]
    return filled


def _coverage(dataset: Recorded, state: Signal) -> Measured:
    """Cells of state space are those nearest to landmarks that lie as far from each other as possible.

    The landmarks are chosen by farthest-first traversal (Gonzalez, "Clustering to minimize the maximum intercluster
    distance", 1985): a grid would have more cells than frames in a dozen dimensions, and clusters crowd where data do.
    """
    candidates = state[evenly(state.num_frames, MAX_LANDMARK_CANDIDATES)]
    candidates = candidates[np.isfinite(candidates).all(axis=1)]
    visited = np.full(len(dataset.episode_lengths), np.nan)
    if len(candidates):
        landmarks = cKDTree(_farthest_first(candidates, NUM_CELLS))
        for episode in range(len(visited)):
            points = state[dataset.episode_slice(episode)]
            points = points[np.isfinite(points).all(axis=1)]
            visited[episode] = len(np.unique(landmarks.query(points)[1])) / landmarks.n
    return Measured(STATE_COVERAGE, visited)


def _farthest_first(points: np.ndarray, number: int) -> np.ndarray:
    """At most ``number`` of the points: that farthest from the middle, then always the one farthest from all chosen.

    It ends where no point differs from those chosen. The first is found so that the order of episodes does not matter.
    """
    chosen = [int(((points - points.mean(axis=0)) ** 2).sum(axis=1).argmax())]
    distances = ((points - points[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < number and distances.max() > 0:
        chosen.append(int(distances.argmax()))
        distances = np.minimum(distances, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
    return points[chosen]
