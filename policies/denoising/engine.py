"""The denoising engine: draws samples with whatever is constant over the steps computed once, before the loop.

This is the eager reference. Every faster backend must give its numbers for the same noise.
"""

import torch
from torch import Tensor

from praxon.policies.denoising.samplers import Sampler
from praxon.policies.networks.denoiser import Denoiser


class DenoisingEngine:
    """Network + sampler: noise -> sample.

    Args:
        sampler: which times, and what is done with the network's predictions.
    """

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler

    def sample(self, network: Denoiser, tokens_BSD: Tensor, noise: Tensor) -> Tensor:
        """Observation tokens and noise -> the chunk (B, T, A) in network units."""
        condition = network.condition(tokens_BSD)
        modulation = network.modulation(self._grid(self.sampler.times, noise), self._spans(noise))

        def evaluate(x_BTA: Tensor, index: int) -> Tensor:
            return network.denoise(x_BTA, modulation[index : index + 1], condition)

        return self.sampler.run(evaluate, noise)

    def _spans(self, noise: Tensor) -> Tensor | None:
        return None if self.sampler.spans is None else self._grid(self.sampler.spans, noise)

    @staticmethod
    def _grid(values: list[float], noise: Tensor) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=noise.device)[:, None]
