"""How the robot moves: pauses, jerk, the way it takes, how long it takes, with true time between frames.

Smoothness is the log dimensionless jerk of Balasubramanian, Melendez-Calderon and Burdet, "A Robust and Sensitive Metric
for Quantifying Movement Smoothness", IEEE Transactions on Biomedical Engineering 2012, taken of the whole vector of joint
positions in units of their spread.
"""

from dataclasses import dataclass

import numpy as np

from praxon.datasets.measures.measured import Measure, Measured, Recorded, over_episodes
from praxon.datasets.measures.signals import episode_times, motion_signal

DURATION = Measure("duration", "s", 0, "time from the first frame to the last")
PAUSE_SHARE = Measure("pause_share", "1", -1, "share of the frames in which the robot stands still")
LONGEST_PAUSE = Measure("longest_pause", "s", -1, "longest stand between two movements")
IDLE_START = Measure("idle_start", "s", -1, "time before the robot first moves")
IDLE_END = Measure("idle_end", "s", -1, "time after the robot last moved")
SPEED = Measure("speed", "spread/s", 0, "speed of the joints")
JERK = Measure("jerk", "spread/s^3", -1, "third derivative of the joints' path; root mean square over an episode")
SMOOTHNESS = Measure("smoothness", "1", 1, "log dimensionless jerk, negated: how few starts and stops the movement has")
PATH_EFFICIENCY = Measure("path_efficiency", "1", 1, "way from the first to the last position by the way taken")

SPEED_WINDOW_S = 0.1
"""Time over which speed is taken [s]; the difference of neighbouring frames is mostly noise at high rates."""


@dataclass(frozen=True)
class Motion:
    """One episode's movement: speed (T,) [spread/s], jerk (T,) [spread/s^3], and the episode's own numbers."""

    speed: np.ndarray
    jerk: np.ndarray
    duration: float
    path_efficiency: float
    smoothness: float


def measure_motion(dataset: Recorded, pause_speed_share: float = 0.02) -> list[Measured]:
    """The measures above; those of speed, pauses and jerk only where the dataset says where the robot is.

    Args:
        dataset: what to measure.
        pause_speed_share: the robot stands still below this share of the 95th percentile of its speed over the dataset.
    """
    times = [episode_times(dataset, episode) for episode in range(len(dataset.episode_lengths))]
    found = [Measured(DURATION, np.array([time[-1] if len(time) else np.nan for time in times]))]
    signal = motion_signal(dataset)
    if not signal.size:
        return found
    speed, jerk = np.empty((2, signal.num_frames), np.float32)
    smoothness, efficiency = np.empty((2, len(times)))
    for episode, time in enumerate(times):
        rows = dataset.episode_slice(episode)
        motion = episode_motion(signal[rows], time)
        speed[rows], jerk[rows] = motion.speed, motion.jerk
        smoothness[episode], efficiency[episode] = motion.smoothness, motion.path_efficiency
    return [
        *found,
        Measured(SPEED, over_episodes(np.mean, speed, dataset), speed),
        Measured(JERK, over_episodes(_rms, jerk, dataset), jerk),
        Measured(SMOOTHNESS, smoothness),
        Measured(PATH_EFFICIENCY, efficiency),
        *_pauses(dataset, times, speed, pause_speed_share),
    ]


def episode_motion(positions: np.ndarray, times: np.ndarray) -> Motion:
    """Movement along positions (T, D) at times (T,) [s], strictly increasing; NaN for what too few frames can tell.

    Derivatives are divided differences, exact for polynomials of their degree at any spacing of the stamps. With duration
    D and peak speed v, smoothness is -ln(D^3 / v^2 * integral |x'''|^2 dt).
    """
    num_frames = len(positions)
    speed, jerk = np.full((2, num_frames), np.nan)
    smoothness = efficiency = np.nan
    if num_frames >= 2:
        half = max(1, round(SPEED_WINDOW_S / 2 / float(np.median(np.diff(times)))))
        before, after = (
            np.maximum(np.arange(num_frames) - half, 0),
            np.minimum(np.arange(num_frames) + half, num_frames - 1),
        )
        speed = _norm(positions[after] - positions[before]) / (times[after] - times[before])
        path = float(_norm(np.diff(positions, axis=0)).sum())
        efficiency = float(_norm(positions[-1] - positions[0])) / path if path > 0 else np.nan
    if num_frames >= 4:
        thirds = 6 * _norm(_divided_differences(positions, times, 3))
        # the value of frames t-1 ... t+2 stands at t; the ends repeat the nearest
        jerk = thirds[np.clip(np.arange(num_frames) - 1, 0, num_frames - 4)]
        integral = float((thirds**2).mean() * (times[-1] - times[0]))
        peak = float((_norm(np.diff(positions, axis=0)) / np.diff(times)).max())
        if integral > 0 and peak > 0:
            smoothness = float(-np.log((times[-1] - times[0]) ** 3 / peak**2 * integral))
    return Motion(speed, jerk, float(times[-1]) if num_frames else np.nan, efficiency, smoothness)


def _pauses(dataset: Recorded, times: list[np.ndarray], speed: np.ndarray, share: float) -> list[Measured]:
    finite = speed[np.isfinite(speed)]
    threshold = share * float(np.quantile(finite, 0.95)) if len(finite) else 0.0
    still = np.where(np.isfinite(speed), speed <= threshold, np.nan).astype(np.float32)
    longest, start, end = np.full((3, len(times)), np.nan)
    for episode, time in enumerate(times):
        if len(time):
            stretches = _stretches(still[dataset.episode_slice(episode)] == 1, time)
            start[episode], longest[episode], end[episode] = stretches
    return [
        Measured(PAUSE_SHARE, over_episodes(np.mean, still, dataset), still),
        Measured(LONGEST_PAUSE, longest),
        Measured(IDLE_START, start),
        Measured(IDLE_END, end),
    ]


def _stretches(still: np.ndarray, times: np.ndarray) -> tuple[float, float, float]:
    """Time [s] of the stand at the start, of the longest one between movements, and of the one at the end.

    An episode without any movement is one stand at its start.
    """
    edges = np.diff(np.concatenate([[0], still.astype(np.int8), [0]]))
    first, last = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    seconds = times[last] - times[first]
    at_start, at_end = first == 0, (last == len(still) - 1) & (first > 0)
    between = seconds[~at_start & ~at_end]
    return float(seconds[at_start].sum()), float(between.max(initial=0.0)), float(seconds[at_end].sum())


def _divided_differences(values: np.ndarray, times: np.ndarray, order: int) -> np.ndarray:
    """Newton's divided differences (T - order, D): the derivative of that order by its factorial."""
    for step in range(1, order + 1):
        values = np.diff(values, axis=0) / (times[step:] - times[:-step])[:, None]
    return values


def _norm(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors, axis=-1)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).mean()))
