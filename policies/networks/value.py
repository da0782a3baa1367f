"""Critics and actors of reinforcement learning from numbers: an ensemble in one product, and a squashed Gaussian.

Shapes: E critics, B batch, S size of a state, A size of an action (of a chunk: horizon times components), H hidden width.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LOG_STD = (-11.5, 1.6)
"""Of an actor's Gaussian before it is squashed: standard deviations from 1e-5 to 5 (SERL, arXiv 2401.16013)."""


class EnsembleLinear(nn.Module):
    """E linear maps side by side, (E, B, in) -> (E, B, out)."""

    def __init__(self, count: int, size_in: int, size_out: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(size_in)
        self.weight = nn.Parameter(torch.empty(count, size_in, size_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(count, 1, size_out))

    def forward(self, x_EBI: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x_EBI, self.weight)


class EnsembleNorm(nn.Module):
    """Layer normalisation with a scale and shift for each of E networks; bounds what a critic makes of unseen actions."""

    def __init__(self, count: int, size: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(count, 1, size))
        self.shift = nn.Parameter(torch.zeros(count, 1, size))

    def forward(self, x_EBH: Tensor) -> Tensor:
        return F.layer_norm(x_EBH, x_EBH.shape[-1:]) * self.scale + self.shift


class CriticEnsemble(nn.Module):
    """Q of E independent networks with layer normalisation (RLPD, arXiv 2302.02948).

    Args:
        state_size: S.
        action_size: A.
        hidden: widths of the hidden layers.
        count: E.
    """

    def __init__(self, state_size: int, action_size: int, hidden: Sequence[int] = (256, 256), count: int = 10) -> None:
        super().__init__()
        self.count = count
        sizes = [state_size + action_size, *hidden]
        self.layers = nn.ModuleList(EnsembleLinear(count, *pair) for pair in pairwise(sizes))
        self.norms = nn.ModuleList(EnsembleNorm(count, size) for size in hidden)
        self.out = EnsembleLinear(count, sizes[-1], 1)

    def forward(self, state_BS: Tensor, action_BA: Tensor) -> Tensor:
        """(E, B)."""
        x = torch.cat([state_BS, action_BA], dim=-1).expand(self.count, -1, -1)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = F.relu(norm(layer(x)))
        value_EB: Tensor = self.out(x)[..., 0]
        return value_EB


class GaussianActor(nn.Module):
    """A Gaussian squashed into [-1, 1] by tanh.

    Args:
        state_size: S.
        action_size: A.
        hidden: widths of the hidden layers.
    """

    def __init__(self, state_size: int, action_size: int, hidden: Sequence[int] = (256, 256)) -> None:
        super().__init__()
        sizes = [state_size, *hidden]
        layers: list[nn.Module] = []
        for size_in, size_out in pairwise(sizes):
            layers += [nn.Linear(size_in, size_out), nn.LayerNorm(size_out), nn.ReLU()]
        self.trunk = nn.Sequential(*layers)
        self.out = nn.Linear(sizes[-1], 2 * action_size)

    def forward(self, state_BS: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (B, A) before squashing."""
        mean_BA, raw_BA = self.out(self.trunk(state_BS)).chunk(2, dim=-1)
        return mean_BA, raw_BA.clamp(*LOG_STD).exp()

    def sample(self, state_BS: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Actions (B, A) through which gradients flow, and the logarithm of their density (B,).

        log pi(a) = log N(u) - sum log(1 - tanh(u)^2), with 1 - tanh(u)^2 written so that it does not underflow.
        """
        mean_BA, std_BA = self(state_BS)
        noise_BA = torch.randn(mean_BA.shape, generator=generator, device=mean_BA.device)
        raw_BA = mean_BA + std_BA * noise_BA
        log_normal_BA = -0.5 * noise_BA.square() - std_BA.log() - 0.5 * math.log(2 * math.pi)
        log_slope_BA = 2 * (math.log(2) - raw_BA - F.softplus(-2 * raw_BA))
        return raw_BA.tanh(), (log_normal_BA - log_slope_BA).sum(dim=-1)

    def drawn(self, state_BS: Tensor, noise_BA: Tensor) -> Tensor:
        """The action (B, A) of unit normal noise; of the mean where it is zero."""
        mean_BA, std_BA = self(state_BS)
        action_BA: Tensor = (mean_BA + std_BA * noise_BA).tanh()
        return action_BA

    def mean(self, state_BS: Tensor) -> Tensor:
        """The action of the mean (B, A)."""
        mean_BA, _ = self(state_BS)
        return mean_BA.tanh()
