"""What is commanded: spikes in the action, and how far the robot is from where it was sent."""

from collections.abc import Iterator

import numpy as np

from praxon.datasets.measures.measured import Measure, Measured, Recorded, over_episodes
from praxon.datasets.measures.signals import Signal, action_signal, followed_components

ACTION_SPIKE = Measure(
    "action_spike", "1", -1, "largest bend of the action, by that which one frame in a hundred exceeds"
)
TRACKING_GAP = Measure(
    "tracking_gap", "spread", -1, "distance of the next measured position from the commanded one, root mean square"
)

MAX_SAMPLES = 200_000
"""Frames from which the usual bend is taken."""


def measure_commands(dataset: Recorded) -> list[Measured]:
    """The measures above; the gap only where components of the action command positions that are observed.

    A bend is |a[t-1] - 2 a[t] + a[t+1]| of a component, in units of its 99th percentile over the dataset; the frame's value
    is that of the worst component, the episode's that of the worst frame. The percentile is exceeded by one frame in a
    hundred, so that a gripper that opens and closes now and then is no spike.
    """
    action = action_signal(dataset, relative=False)
    found = []
    if action.size:
        spikes = _spikes(dataset, action)
        found.append(Measured(ACTION_SPIKE, over_episodes(np.max, spikes, dataset), spikes))
    pairs = followed_components(dataset)
    if pairs:
        gap = _gap(dataset, pairs)
        found.append(Measured(TRACKING_GAP, over_episodes(np.mean, gap, dataset), gap))
    return found


def _spikes(dataset: Recorded, action: Signal) -> np.ndarray:
    """(N,) the largest bend in units of each component's own usual one; 0 at an episode's ends."""
    spacing = -(-action.num_frames // MAX_SAMPLES)
    sample = np.concatenate([bends[::spacing] for bends in _bends(dataset, action)])
    usual, largest = np.nanquantile(sample, 0.99, axis=0), np.nanmax(sample, axis=0, initial=0.0)
    usual = np.where(usual > 0, usual, np.where(largest > 0, largest, 1.0))
    return np.concatenate([(bends / usual).max(axis=1).astype(np.float32) for bends in _bends(dataset, action)])


def _bends(dataset: Recorded, action: Signal) -> Iterator[np.ndarray]:
    """(T, D) of each episode."""
    for episode in range(len(dataset.episode_lengths)):
        values = action[dataset.episode_slice(episode)]
        bends = np.zeros_like(values)
        bends[1:-1] = np.abs(np.diff(values, n=2, axis=0))
        yield bends


def _gap(dataset: Recorded, pairs: list[tuple[int, str, int]]) -> np.ndarray:
    """(N,) over the components that are followed; NaN at an episode's last frame."""
    values = dataset.columns[dataset.contract.action.name]
    squares = np.zeros(len(values))
    counted = 0
    for component, feature, source in pairs:
        command, measured = (
            values[:, component].astype(np.float64),
            dataset.columns[feature][:, source].astype(np.float64),
        )
        spread = np.nanstd(measured)
        if spread > 0:
            squares[:-1] += ((command[:-1] - measured[1:]) / spread) ** 2
            counted += 1
    squares[np.cumsum(dataset.episode_lengths) - 1] = np.nan
    return np.sqrt(squares / max(counted, 1)).astype(np.float32)
