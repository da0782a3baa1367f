"""What a policy is trained on after a round: which steps of those that were watched, and how much each counts."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.learning.interactive.records import SUCCESS, driven_by_expert
from praxon.learning.weighting import Weighting


@dataclass(frozen=True)
class Lessons:
    """What is learned from.

    Args:
        keep: dataset -> which of its frames (num_frames,) are samples; all where it gives ``None``.
        cut: whether chunks end where what is kept ends: where the expert gave control back, nobody knows what it would have done.
        weighting: how much samples count; all the same where ``None``.
    """

    keep: Callable[[LeRobotDataset], np.ndarray | None]
    cut: bool = False
    weighting: Weighting | None = None


def everything(dataset: LeRobotDataset) -> None:
    """Every frame."""


def of_the_expert(dataset: LeRobotDataset) -> np.ndarray:
    """Frames (num_frames,) at which the expert drove."""
    return driven_by_expert(dataset.columns)


def of_solved_episodes(dataset: LeRobotDataset) -> np.ndarray:
    """Frames (num_frames,) of episodes that were solved at some step, whoever drove."""
    solved = np.asarray(dataset.columns[SUCCESS]).reshape(-1) != 0
    parts = [dataset.episode_slice(episode) for episode in range(dataset.num_episodes)]
    return np.concatenate([np.full(part.stop - part.start, solved[part].any()) for part in parts])
