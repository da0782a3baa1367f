"""Fitting a policy's normaliser to data: stored statistics of observations, and of actions as the policy represents them."""

import numpy as np
import torch

from praxon.datasets.joined import JoinedWindows
from praxon.datasets.statistics import Statistics, feature_statistics
from praxon.datasets.windows import Windows
from praxon.policies.base import Policy

BLOCK = 4096
MAX_WINDOWS = 50_000
"""Windows from which the statistics of represented actions are taken, evenly spaced over the data."""


def fit_normalizer(policy: Policy, statistics: Statistics, windows: Windows | JoinedWindows) -> None:
    """Fit ``policy.normalizer``.

    Args:
        statistics: of the dataset's features.
        windows: of the dataset; actions that the policy represents in another way than they are stored have statistics
            over all chunk starts, for each row of the chunk where rows differ.
    """
    action = policy.contract.action.name
    if not policy.actions.stored:
        indices = np.unique(np.linspace(0, len(windows) - 1, min(len(windows), MAX_WINDOWS)).astype(np.int64))
        parts = []
        for block in np.split(indices, range(BLOCK, len(indices), BLOCK)):
            batch = {k: torch.from_numpy(v) for k, v in windows.batch(block, pictures=False).items()}
            parts.append(policy.actions.encode(batch["action"], batch).numpy())
        if not policy.actions.row_shape:
            parts = [part.reshape(-1, policy.actions.size) for part in parts]
        statistics = {**statistics, action: feature_statistics(np.concatenate(parts))}
    policy.normalizer.fit(statistics)
