"""The PTR score and weight: how well what was seen after a chunk can be told from what was not.

Zhang et al., "Conservative Offline Robot Policy Learning via Posterior-Transition Reweighting", arXiv 2603.16542. Of 1 + K
candidates the first is the observed consequence:

    p = exp(d_0) / sum_j exp(d_j),    T = log p + log(K + 1),    w = 1 + alpha (clip(exp(T / beta), w_min, w_max) - 1)

T is 0, and w is 1, where the scorer cannot tell.

Shapes: B batch, C candidates.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Identified(NamedTuple):
    """What candidates' logits say.

    Args:
        log_posterior_B: log p of the observed consequence.
        score_B: T.
        correct_B: whether the observed consequence has the largest logit.
        margin_B: its logit less the largest of the others.
    """

    log_posterior_B: Tensor
    score_B: Tensor
    correct_B: Tensor
    margin_B: Tensor


def identify(logits_BC: Tensor, allowed_BC: Tensor) -> Identified:
    """Logits of the candidates, the observed consequence first, among those that are allowed.

    Args:
        logits_BC: d.
        allowed_BC: which candidates count; the first always does.
    """
    logits_BC = logits_BC.masked_fill(~allowed_BC, -torch.inf)
    log_posterior_B = F.log_softmax(logits_BC, dim=1)[:, 0]
    others_B = logits_BC[:, 1:].amax(dim=1)
    margin_B = torch.where(others_B.isfinite(), logits_BC[:, 0] - others_B, 0.0)
    score_B = log_posterior_B + allowed_BC.sum(dim=1).log()
    return Identified(log_posterior_B, score_B, margin_B > 0, margin_B)


def weigh(score_B: Tensor, beta: float, least: float, most: float, alpha: float = 1.0) -> Tensor:
    """The weight of each score, between 1 + alpha (least - 1) and 1 + alpha (most - 1), through which no gradient flows."""
    return 1.0 + alpha * ((score_B.detach() / beta).exp().clamp(least, most) - 1.0)


def rank_loss(matched_B: Tensor, permuted_B: Tensor) -> Tensor:
    """-log sigmoid(d_0 - d_0'), where d_0' is the logit with another sample's action: the action has to matter (B,)."""
    return F.softplus(permuted_B - matched_B)
