"""The exponential moving average of the weights: what is evaluated and served."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Ema:
    """Average of a module's parameters with a decay that grows with the number of updates n:

        decay(n) = min(1 - (1 + n)^-power, max_decay),    average <- decay average + (1 - decay) weights

    so that the first update copies and early weights are soon forgotten (Diffusion Policy, arXiv 2303.04137, whose
    power is 0.75). Buffers are constants of the module and are not averaged.

    Args:
        module: whose parameters are averaged.
        power: how fast the decay grows.
        max_decay: where it stops.
    """

    def __init__(self, module: nn.Module, power: float = 0.75, max_decay: float = 0.999) -> None:
        self.power, self.max_decay, self.updates = power, max_decay, 0
        self._averaged = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}

    @property
    def decay(self) -> float:
        """The decay of the next update."""
        return min(1.0 - (1.0 + self.updates) ** -self.power, self.max_decay)

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards the module's parameters."""
        current = [parameter.detach() for parameter in module.parameters()]
        torch._foreach_lerp_(list(self._averaged.values()), current, 1.0 - self.decay)
        self.updates += 1

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Give the module the averaged parameters."""
        for name, parameter in module.named_parameters():
            parameter.copy_(self._averaged[name])

    def tensors(self) -> dict[str, Tensor]:
        """The averaged parameters by name."""
        return dict(self._averaged)

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor], updates: int) -> None:
        """Continue from saved ``tensors()`` and ``updates``."""
        for name, averaged in self._averaged.items():
            averaged.copy_(tensors[name])
        self.updates = updates
