"""The dispersive loss: features of different samples shall differ.

A contrastive loss without positive pairs (Wang and He, "Diffuse and Disperse", arXiv 2506.09027; in a robot policy: MP1,
arXiv 2507.10543). A one-step policy that maps neighbouring observations to equal features cannot tell them apart later.
With features f_i of a batch, D_ij = |f_i - f_j|^2 / max_kl |f_k - f_l|^2 as in MP1 (a larger scale alone changes nothing):

    L = log S,    S = mean_ij exp(-D_ij / temperature) = mean_i S_i,    S_i = mean_j exp(-D_ij / temperature)

L belongs to the batch. To reweight samples each needs a share of its own,

    L_i = log S + S_i / S - 1,

whose mean is L, value and gradient, and which is larger for a sample whose features are near to many others. So a
sample's loss depends on the rest of its batch: in training alone, features are not touched when sampling.

Shapes: B batch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def dispersive_loss(features: Sequence[Tensor], temperature: float = 1.0) -> Tensor:
    """Per-sample dispersive loss, summed over features: (B,), float32, at most 0 in its mean.

    Args:
        features: activations, each (B, ...).
        temperature: distances well beyond it, relative to the batch's largest squared distance, are all the same to it.
    """
    return torch.stack([_disperse(feature.flatten(1).float(), temperature) for feature in features]).sum(dim=0)


def _disperse(feature_BF: Tensor, temperature: float) -> Tensor:
    squared_B = feature_BF.square().sum(dim=-1)
    with torch.autocast(feature_BF.device.type, enabled=False):  # small distances are differences of large numbers
        overlap_BB = feature_BF @ feature_BF.T
    distance_BB = (squared_B[:, None] + squared_B[None] - 2.0 * overlap_BB).clamp_min(0.0)
    distance_BB = distance_BB.masked_fill(torch.eye(len(feature_BF), dtype=torch.bool, device=feature_BF.device), 0.0)
    relative_BB = distance_BB / distance_BB.max().clamp_min(torch.finfo(torch.float32).tiny)
    near_B = torch.exp(-relative_BB / temperature).mean(dim=1)
    near = near_B.mean()
    return near.log() + near_B / near - 1.0
