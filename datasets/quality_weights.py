"""Sampling weights from what data are worth: measures of quality, returns, progress.

Trajectory weighting is that of Hong et al., "Harnessing Mixed Offline RL Datasets via Trajectory Weighting", ICLR 2023:
frames are sampled in proportion to exp(score / temperature) with scores scaled to [0, 1], so that the data look as if a
better operator had recorded them. The floor on the effective sample size is ours.

It can harm: where episodes must be stitched together, or where scores differ only because some starts are harder.
"""

from collections.abc import Sequence

import numpy as np

from praxon.datasets.measures.measured import Recorded
from praxon.datasets.measures.signals import state_signal
from praxon.datasets.quality import Quality
from praxon.errors import DatasetError

SCALES = ("episode", "frame")
METHODS = ("minmax", "rank")
REWARD = "next.reward"


def weights(
    quality: Quality,
    names: Sequence[str],
    temperature: float = 0.1,
    scale: str = "episode",
    method: str = "minmax",
    least_effective_share: float = 0.2,
) -> np.ndarray:
    """Sampling weight of every frame (N,), their sum 1, from one or several measures.

    Each measure is scaled to [0, 1], the better end at 1; the score is their mean. Values that are NaN take the median.

    Args:
        quality: of the dataset.
        names: of the measures. A leading ``-`` says that less is better, ``+`` that more is; without one the measure's own
            direction holds, and one that has none is refused.
        temperature: of the softmax; the best weighs exp(1 / temperature) times the worst, 22026 times at 0.1.
        scale: ``episode`` gives all frames of an episode its value, ``frame`` each frame its own.
        method: ``minmax`` scales values linearly between the extremes; ``rank`` by their order, which outliers cannot stretch.
        least_effective_share: the temperature is raised until 1 / sum(w^2) is at least this share of the frames.

    Raises:
        DatasetError: a name, scale or method that does not exist, or a measure that single frames do not have.
    """
    if not names or scale not in SCALES or method not in METHODS:
        raise DatasetError(
            f"Weights need names of measures, a scale ({' or '.join(SCALES)}) and a method ({' or '.join(METHODS)}); got "
            f"{list(names)}, '{scale}' and '{method}'."
        )
    to_unit = _by_extremes if method == "minmax" else _by_rank
    score = np.mean([to_unit(_goodness(quality, name, scale)) for name in names], axis=0)
    if scale == "episode":
        score = np.repeat(score, quality.episode_lengths)
    return softmax_weights(score, temperature, least_effective_share)


def trajectory_weights(
    scores: np.ndarray, lengths: np.ndarray, temperature: float = 0.1, least_effective_share: float = 0.2
) -> np.ndarray:
    """Weights of all frames (N,), their sum 1, from a score of each episode (E,), more is better.

    The softmax runs over frames, so that a long episode has weight in proportion to its length.
    """
    return softmax_weights(np.repeat(_by_extremes(scores), lengths), temperature, least_effective_share)


def return_weights(dataset: Recorded, temperature: float = 0.1, least_effective_share: float = 0.2) -> np.ndarray:
    """Return weighting (RW): the score of an episode is the sum of its rewards G.

    Raises:
        DatasetError: no column ``next.reward``.
    """
    return trajectory_weights(_returns(dataset), dataset.episode_lengths, temperature, least_effective_share)


def advantage_weights(dataset: Recorded, temperature: float = 0.1, least_effective_share: float = 0.2) -> np.ndarray:
    """Advantage weighting (AW): the score is G less what a linear regression on the first state expects.

    It does not take the luck of an easy start for skill.

    Raises:
        DatasetError: no column ``next.reward``, or too few episodes for the regression: with as many coefficients as episodes
            every return is expected.
    """
    returns = _returns(dataset)
    first = np.cumsum(dataset.episode_lengths) - dataset.episode_lengths
    states = state_signal(dataset)[first]
    inputs = np.column_stack([states[:, np.ptp(states, axis=0) > 0], np.ones(len(first))])
    if len(returns) <= inputs.shape[1]:
        raise DatasetError(
            f"Advantage weighting fits {inputs.shape[1]} coefficients to the returns of {len(returns)} episodes; it needs "
            "more episodes than coefficients, return weighting needs none."
        )
    coefficients, *_ = np.linalg.lstsq(inputs, returns)
    advantages = returns - inputs @ coefficients
    if np.ptp(advantages) <= 1e-9 * np.abs(returns).max(initial=0.0):
        advantages = np.zeros(len(returns))  # what is left is rounding, and would be stretched to [0, 1]
    return trajectory_weights(advantages, dataset.episode_lengths, temperature, least_effective_share)


def progress_weights(
    progress: np.ndarray, lengths: np.ndarray, lookahead: int = 50, threshold: float = 0.01
) -> np.ndarray:
    """Weights (N,) in [0, 1] of the loss by progress made: reward-aligned behaviour cloning (RA-BC) of SARM, arXiv 2509.25358.

    With r the progress over the next ``lookahead`` frames, or up to the episode's end, mu = max(mean r, 0) and sigma of r:
    1 where r > threshold, clip((r - mu + 2 sigma) / (4 sigma), 0, 1) for r from 0 to the threshold, 0 where r < 0. Unknown
    progress (NaN) weighs 1. Steps back on purpose, such as a second grasp, weigh 0: give corrections by a human weight 1.

    Args:
        progress: (N,) of the task, 0 to 1.
        lengths: (E,) frames per episode.
        lookahead: frames.
        threshold: progress that is full weight.
    """
    last = np.repeat(np.cumsum(lengths) - 1, lengths)
    ahead = np.minimum(np.arange(len(progress)) + lookahead, last)
    gained = progress[ahead] - progress
    known = gained[np.isfinite(gained)]
    mean, spread = (max(float(known.mean()), 0.0), float(known.std())) if len(known) else (0.0, 0.0)
    partial = np.clip((gained - (mean - 2 * spread)) / (4 * spread + 1e-8), 0.0, 1.0)
    return np.where(np.isnan(gained) | (gained > threshold), 1.0, np.where(gained < 0, 0.0, partial))


def softmax_weights(scores: np.ndarray, temperature: float, least_effective_share: float = 0.2) -> np.ndarray:
    """exp(score / temperature), divided by its sum; the temperature grows until enough of the scores count.

    Args:
        scores: (n,) finite.
        temperature: to begin with, positive.
        least_effective_share: of n that 1 / sum(w^2), the effective sample size (Kish), must reach; below 1.

    Raises:
        DatasetError: a score that is not finite, or settings out of range.
    """
    wrong = np.flatnonzero(~np.isfinite(scores))
    if not len(scores) or len(wrong):
        where = f"{len(wrong)} of {len(scores)} that are not finite, the first at {wrong[0]}" if len(wrong) else "none"
        raise DatasetError(f"Weights need a finite score for every frame; got {where}.")
    if temperature <= 0 or not 0 <= least_effective_share < 1:
        raise DatasetError(
            f"Weights need a temperature > 0 and 0 <= least_effective_share < 1; got {temperature} and {least_effective_share}."
        )
    while True:
        found = np.exp((scores - scores.max()) / temperature)
        found /= found.sum()
        if effective_size(found) >= least_effective_share * len(scores):
            return found
        temperature *= 1.5


def effective_size(values: np.ndarray) -> float:
    """How many equally weighted samples are worth as much: (sum w)^2 / sum w^2 (Kish, "Survey Sampling", 1965)."""
    return float(values.sum() ** 2 / (values**2).sum())


def _goodness(quality: Quality, name: str, scale: str) -> np.ndarray:
    """Values of a measure, turned so that more is better."""
    bare = name.lstrip("+-")
    direction = {"+": 1, "-": -1}.get(name[:1], quality.measure(bare).better)
    if direction == 0:
        raise DatasetError(f"Measure '{bare}' has no better end; '+{bare}' would prefer more of it, '-{bare}' less.")
    if scale == "frame" and bare not in quality.frames:
        raise DatasetError(
            f"Measure '{bare}' is of whole episodes; those of single frames are {', '.join(quality.frames)}."
        )
    values = np.asarray((quality.frames if scale == "frame" else quality.episodes)[bare], np.float64)
    finite = values[np.isfinite(values)]
    return direction * np.where(np.isfinite(values), values, np.median(finite) if len(finite) else 0.0)


def _by_extremes(values: np.ndarray) -> np.ndarray:
    """Scaled to [0, 1]; all 0 where all are equal, NaN where one is not finite."""
    if not np.isfinite(values).all():
        return np.full(len(values), np.nan)
    span = np.ptp(values)
    return (values - values.min()) / span if span > 0 else np.zeros(len(values))


def _by_rank(values: np.ndarray) -> np.ndarray:
    """Rank from 0 to 1; equal values share their mean rank."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts + 1) / 2
    return mean_rank[places] / max(len(values) - 1, 1)


def _returns(dataset: Recorded) -> np.ndarray:
    """(E,) sum of the rewards of each episode."""
    if REWARD not in dataset.columns:
        raise DatasetError(f"Weights by return need the column '{REWARD}'; there are {', '.join(dataset.columns)}.")
    rewards = dataset.columns[REWARD].reshape(-1).astype(np.float64)
    return np.array([rewards[dataset.episode_slice(e)].sum() for e in range(len(dataset.episode_lengths))])
