"""Steering samples by the slope of a value: QGF, "Q-Guided Flow", arXiv 2606.11087.

At every evaluation the value is differentiated at the clean chunk that the network expects, and the chunk is moved uphill:

    a' = a'(x),    g = grad_a' value(a'),    a' <- a' + (1 - t) g / beta

The network is not differentiated: it has high variance there, and the value was never trained on noisy chunks. On straight paths
this is v <- v + g / beta.

Shapes: B batch, T action tokens, A action size.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from praxon.errors import ConfigError
from praxon.policies.denoising.samplers import Evaluate, Sampler


@dataclass(frozen=True)
class Steering:
    """How the samples of an engine are steered: ``policy.engine.steer = Steering(value, beta=2.0)``.

    Args:
        value, beta, largest_slope, first: see ``steered``.

    Raises:
        ConfigError: see ``steered``.
    """

    value: Callable[[Tensor], Tensor]
    beta: float
    largest_slope: float = 1.0
    first: float = 0.2

    def __post_init__(self) -> None:
        _require(self.beta, self.largest_slope)

    def __call__(self, evaluate: Evaluate, sampler: Sampler) -> Evaluate:
        """``evaluate``, steered."""
        return steered(evaluate, sampler, self.value, self.beta, self.largest_slope, self.first)


def steered(
    evaluate: Evaluate,
    sampler: Sampler,
    value: Callable[[Tensor], Tensor],
    beta: float,
    largest_slope: float = 1.0,
    first: float = 0.2,
) -> Evaluate:
    """The network's answer, moved towards larger values.

    Args:
        evaluate: as handed to ``Sampler.run``.
        sampler: whose network answers.
        value: chunk in network units (B, T, A) -> value (B,).
        beta: how strongly samples stay with the policy; infinite leaves them as they are.
        largest_slope: norm to which a sample's slope is cut.
        first: share of the path, from noise on, on which there is no steering: nothing is known there.

    Raises:
        ConfigError: beta or the largest slope is not above 0.
    """
    _require(beta, largest_slope)

    def uphill(x_BTA: Tensor, index: int) -> Tensor:
        prediction_BTA = evaluate(x_BTA, index)
        alpha, sigma = sampler.path(index)
        time = alpha / (alpha + sigma)
        if time < first or beta == float("inf"):
            return prediction_BTA
        clean_BTA = sampler.clean(x_BTA, prediction_BTA, index)
        slope_BTA = torch.func.grad(lambda chunk: value(chunk).sum())(clean_BTA)
        size_B11 = slope_BTA.flatten(1).norm(dim=1)[:, None, None]
        slope_BTA = slope_BTA * (largest_slope / size_B11.clamp_min(largest_slope))
        return sampler.prediction(x_BTA, clean_BTA + (1.0 - time) / beta * slope_BTA, index)

    return uphill


def _require(beta: float, largest_slope: float) -> None:
    if not (beta > 0 and largest_slope > 0):
        raise ConfigError(f"Steering needs beta and a largest slope above 0; got {beta} and {largest_slope}.")
