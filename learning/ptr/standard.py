"""Running standardisation of targets, component by component."""

import torch
from torch import Tensor, nn


class Standard(nn.Module):
    """(x - mean) / standard deviation, both moving averages over batches.

    Args:
        size: components.
        decay: of the averages.
    """

    mean: Tensor
    square: Tensor
    updates: Tensor

    def __init__(self, size: int, decay: float = 0.99) -> None:
        super().__init__()
        self._decay = decay
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("square", torch.ones(size))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, values_BD: Tensor) -> None:
        """Take in a batch; the first ones count as much as there are of them."""
        self.updates += 1
        rate = max(1.0 - self._decay, 1.0 / int(self.updates))
        self.mean.lerp_(values_BD.mean(dim=0), rate)
        self.square.lerp_(values_BD.square().mean(dim=0), rate)

    def forward(self, values_BD: Tensor) -> Tensor:
        """Standardised values."""
        variance_D = (self.square - self.mean.square()).clamp_min(1e-8)
        standard: Tensor = (values_BD - self.mean) / variance_D.sqrt()
        return standard
