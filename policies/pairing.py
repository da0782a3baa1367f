"""Optimal-transport pairing: which noise of a batch is led to which chunk of it.

Independent noise and chunks give paths that cross; where they cross the velocity is their mean, and the flow bends. The
assignment of the batch's noises to its chunks with the least squared distance crosses less (Tong et al., arXiv
2302.00482; Pooladian et al., arXiv 2304.14772).

For conditional generation that alone is wrong. A chunk's noise then depends on the chunk, and the chunk on its
observation, so that in training the noise under an observation o is no longer N(0, I), which sampling starts from: the
conditional distribution p(a | o) that is learned is biased. Cheng and Schwing (C2OT, arXiv 2503.10636) add a distance
between conditions to the cost,

    cost_ij = |e_i - a_j|^2 / A  +  weight |o_i - o_j|^2 / O

(A and O: mean over all pairs), where o_i is the observation that noise i was drawn beside. The larger the weight, the
fewer noises leave their observation: at infinity noises are exchanged between equal observations alone, which is
unbiased; at 0 it is the biased pairing. In between a bias remains, of the size of the difference between the
observations that exchange noises. It makes a sample's loss depend on the rest of the batch, in training alone.
"""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


@torch.no_grad()
def pair_noise(noise: Tensor, action: Tensor, observation: Tensor, weight: float) -> Tensor:
    """The noises, reordered so that row j is the one to be led to chunk j.

    Args:
        noise: (B, ...).
        action: chunks (B, ...), of the noise's size.
        observation: (B, ...), anything whose squared distance says how different two observations are.
        weight: of that distance; at least 0.

    Returns:
        A permutation of the rows of ``noise``.
    """
    cost = _relative_distance(noise, action) + weight * _relative_distance(observation, observation)
    _, chunk_of_noise = linear_sum_assignment(cost.cpu().numpy())
    noise_of_chunk = torch.as_tensor(chunk_of_noise, device=noise.device).argsort()
    return noise[noise_of_chunk]


def _relative_distance(left: Tensor, right: Tensor) -> Tensor:
    """Squared distances (B, B) over their mean; zeros where there is no distance at all."""
    distance_BB = torch.cdist(left.flatten(1).float(), right.flatten(1).float()).square()
    return distance_BB / distance_BB.mean().clamp_min(torch.finfo(distance_BB.dtype).tiny)
