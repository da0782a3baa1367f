"""The scorer of PTR: from what the policy saw and the chunk that was recorded, a query for what followed.

Its own small encoder reads the clean chunk: inside a policy that denoises, actions come with noise, and scores would too.
Nothing of it is needed when the policy acts. The policy is read and not steered: no gradient goes back into it.

Shapes: B batch, H size of the context, T rows of a chunk, N action size in the network, d size of a target.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NORM_EPS = 1e-6
LARGEST_LOGIT = 20.0


class Scorer(nn.Module):
    """Queries for consequences.

    Args:
        context_size: H.
        action_shape: (T, N).
        target_size: d.
        width: of the hidden layers.
    """

    def __init__(self, context_size: int, action_shape: tuple[int, int], target_size: int, width: int = 128) -> None:
        super().__init__()
        flat = action_shape[0] * action_shape[1]
        self.action = nn.Sequential(nn.Flatten(), nn.Linear(flat, width), nn.GELU(), nn.Linear(width, width))
        self.context = nn.LayerNorm(context_size)
        self.query = nn.Sequential(
            nn.Linear(context_size + width, 2 * width), nn.GELU(), nn.Linear(2 * width, target_size)
        )

    def forward(self, context_BH: Tensor, chunk_BTN: Tensor) -> Tensor:
        """Unit queries (B, d)."""
        return self.answer(context_BH, self.action(chunk_BTN))

    def answer(self, context_BH: Tensor, action_BW: Tensor) -> Tensor:
        """Unit queries (B, d) for chunks that are encoded already."""
        query_BD = self.query(torch.cat([self.context(context_BH), action_BW], dim=1))
        return unit(query_BD)


def unit(values_BD: Tensor) -> Tensor:
    """Divided by their length."""
    return F.normalize(values_BD, dim=-1, eps=NORM_EPS)


def logits(cosines: Tensor, temperature: float) -> Tensor:
    """d = cosine / temperature, no larger than 20 either way."""
    return (cosines / temperature).clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
