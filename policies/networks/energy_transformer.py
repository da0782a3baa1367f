"""The energy transformer: observation tokens and an action chunk -> one number, low where the chunk fits the observation.

As in EBT-Policy (Davies et al., arXiv 2510.27545; Gladstone et al., arXiv 2507.02092) the energy knows no noise level and no
time, and a chunk is found by going down its slope. With x the chunk in network units,

    E(x; o) = 1/2 |x - m(x; o)|^2,    force -dE/dx = m - x + (dm/dx)^T (x - m)

where the transformer m says which chunk it would rather see; the papers read the number off the transformer directly, which
learns slowly the commonest force of all, that towards one chunk. m starts at zero, so an untrained energy is a bowl around the
mean action. E is never negative, zero where a chunk is what m expects, and grows without bound because m does not (it is read
off a layer norm), so that descent cannot run away. Training differentiates the force, so everything here has second
derivatives: attention is spelled out, as fused kernels have none.

Shapes: B batch, T action tokens, A action size, S observation tokens, D width, N heads, H width of one head, L layers.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from praxon.policies.networks.blocks import Run, run_all
from praxon.policies.networks.denoiser import Denoiser
from praxon.policies.networks.sizes import require_heads, sized

SIZES = {
    "small": {"width": 96, "depth": 2, "num_heads": 4, "mlp_ratio": 2},
    "base": {"width": 256, "depth": 6, "num_heads": 8, "mlp_ratio": 4},
    "large": {"width": 512, "depth": 8, "num_heads": 8, "mlp_ratio": 4},
}


class EnergyCondition(NamedTuple):
    """Observation keys and values of every layer."""

    keys_LBNSH: Tensor
    values_LBNSH: Tensor


class EnergyBlock(nn.Module):
    """Self-attention, cross-attention to observations and MLP, pre-norm."""

    def __init__(self, width: int, num_heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.self_norm, self.cross_norm, self.mlp_norm = (nn.LayerNorm(width) for _ in range(3))
        self.self_in = nn.Linear(width, 3 * width)
        self.self_out = nn.Linear(width, width)
        self.cross_in = nn.Linear(width, width)
        self.cross_out = nn.Linear(width, width)
        self.mlp_in = nn.Linear(width, mlp_ratio * width)
        self.mlp_out = nn.Linear(mlp_ratio * width, width)

    def forward(self, x_BTD: Tensor, key_BNSH: Tensor, value_BNSH: Tensor) -> Tensor:
        B, T, D = x_BTD.shape
        N = self.num_heads
        projected = self.self_in(self.self_norm(x_BTD)).view(B, T, 3, N, D // N).permute(2, 0, 3, 1, 4)
        x_BTD = x_BTD + self.self_out(plain_attention(*projected.unbind()).transpose(1, 2).reshape(B, T, D))
        query_BNTH = self.cross_in(self.cross_norm(x_BTD)).view(B, T, N, D // N).transpose(1, 2)
        attended_BNTH = plain_attention(query_BNTH, key_BNSH, value_BNSH)
        x_BTD = x_BTD + self.cross_out(attended_BNTH.transpose(1, 2).reshape(B, T, D))
        return x_BTD + self.mlp_out(F.gelu(self.mlp_in(self.mlp_norm(x_BTD))))


class EnergyTransformer(Denoiser):
    """An energy as a ``Denoiser`` whose prediction is the force; the flow time makes no difference.

    Args:
        action_size: A.
        horizon: T, the number of learned action positions.
        num_tokens: S; attention takes any number.
        token_width: width of an observation token.
        size: ``small``, ``base`` or ``large``: the defaults of what follows.
        width: D, divisible by ``num_heads``.
        depth: L.
        num_heads: N.
        mlp_ratio: hidden width of the MLP over D.

    Raises:
        ConfigError: D is not divisible by N, or an unknown size.
    """

    def __init__(
        self,
        action_size: int,
        horizon: int,
        num_tokens: int,
        token_width: int,
        *,
        size: str = "small",
        width: int | None = None,
        depth: int | None = None,
        num_heads: int | None = None,
        mlp_ratio: int | None = None,
    ) -> None:
        super().__init__()
        chosen = sized(SIZES, size, width=width, depth=depth, num_heads=num_heads, mlp_ratio=mlp_ratio)
        width, depth, num_heads = chosen["width"], chosen["depth"], chosen["num_heads"]
        require_heads(width, num_heads)
        self.width, self.depth, self.num_heads = width, depth, num_heads
        self.action_in = nn.Linear(action_size, width)
        # As large as what they are added to: a row that can hardly be told from its neighbours learns ten times slower.
        self.positions_TD = nn.Parameter(torch.randn(horizon, width))
        self.condition_out = nn.Linear(token_width, depth * 2 * width)
        self.blocks = nn.ModuleList(EnergyBlock(width, num_heads, chosen["mlp_ratio"]) for _ in range(depth))
        self.head_norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, action_size)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def condition(self, tokens_BSD: Tensor) -> EnergyCondition:
        """Observation tokens (B, S, token width) -> the keys and values every layer attends to."""
        B, S, token_width = tokens_BSD.shape
        projected = self.condition_out(F.layer_norm(tokens_BSD, (token_width,)))
        split = projected.view(B, S, 2, self.depth, self.num_heads, self.width // self.num_heads)
        return EnergyCondition(*split.permute(2, 3, 0, 4, 1, 5))

    def modulation(self, time_BT: Tensor, span_BT: Tensor | None = None) -> Tensor:
        """Nothing, once per time."""
        return time_BT.new_zeros(len(time_BT), 0)

    @property
    def differentiates(self) -> bool:
        """It does."""
        return True

    def energy(self, action_BTA: Tensor, condition: EnergyCondition) -> Tensor:
        """E of each chunk, (B,)."""
        x_BTD = self.action_in(action_BTA) + self.positions_TD
        for block, key_BNSH, value_BNSH in zip(self.blocks, *condition, strict=True):
            x_BTD = block(x_BTD, key_BNSH, value_BNSH)
        expected_BTA = self.head(self.head_norm(x_BTD))
        return 0.5 * (action_BTA - expected_BTA).square().sum((1, 2))

    def denoise(
        self,
        noisy_BTA: Tensor,
        modulation: Tensor,
        condition: EnergyCondition,
        features: list[Tensor] | None = None,
        run: Run = run_all,
    ) -> Tensor:
        """The force -dE/dx at a chunk (B, T, A).

        Where gradients are recorded the force can be differentiated again. Elsewhere, ``torch.inference_mode`` included, it is
        a plain tensor: the slope is taken in a window in which gradients exist.
        """
        learning = torch.is_grad_enabled()
        with torch.inference_mode(False), torch.enable_grad():
            if not learning:  # tensors made in inference mode cannot be differentiated; their copies can
                noisy_BTA, condition = noisy_BTA.clone(), EnergyCondition(*(part.clone() for part in condition))
            x_BTA = noisy_BTA if noisy_BTA.requires_grad else noisy_BTA.detach().requires_grad_()
            energy = self.energy(x_BTA, condition).sum()
            (slope_BTA,) = torch.autograd.grad(energy, x_BTA, create_graph=learning)
        return -slope_BTA


def plain_attention(query_BNTH: Tensor, key_BNSH: Tensor, value_BNSH: Tensor) -> Tensor:
    """Scaled dot-product attention in elementary operations."""
    scores_BNTS = query_BNTH @ key_BNSH.transpose(-2, -1) * query_BNTH.shape[-1] ** -0.5
    return scores_BNTS.softmax(dim=-1) @ value_BNSH
