"""Starting from the chunk before: where the plan is nearly right, the first half of the way from noise need not be gone again.

- ``warm_start``: the plan is noised to a flow time in the middle, and only the steps from there are taken. A fixed start, so
  that every chunk costs the same; Falcon (Chen et al., arXiv 2503.00339) chooses it by how well the plan still fits.
- ``streaming``: the actions of the next ``num_execute`` ticks are nearly clean, those after them noisier, the last ones noise
  (Streaming Diffusion Policy, Høeg et al., arXiv 2406.04806). Every chunk carries each of them one stage on. For networks
  whose actions have times of their own, trained with ``streaming``. The paper keeps the noisy actions; here each call draws
  the noise anew, so that a chunk depends on plan, noise and observation alone.

What the plan does not reach begins at the clean chunk that the network expects at pure noise, which costs one evaluation. The first
chunk of an episode has no plan: as many steps are taken, from noise.

Steps are those of DDIM, on straight paths Euler's: x' = alpha' a + sigma' e, with the clean chunk a that the network expects and
the noise e that follows from it.

Shapes: B batch, T action tokens, A action size.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from praxon.errors import ConfigError
from praxon.policies.denoising.continuation import Plan
from praxon.policies.denoising.samplers import Sampler


@dataclass(frozen=True)
class Way:
    """Flow times of each action at each evaluation, then where it ends.

    Args:
        times: (steps + 1) rows of T flow times, 0 noise to 1 data.
    """

    times: tuple[tuple[float, ...], ...]

    @property
    def steps(self) -> int:
        """Evaluations of the network."""
        return len(self.times) - 1


def warm_way(steps: int, start: float, horizon: int) -> Way:
    """The rest of ``steps`` equal steps from ``start`` on, of all actions alike.

    Raises:
        ConfigError: a start that leaves nothing to do, or everything.
    """
    if not 0.0 < start < 1.0:
        raise ConfigError(f"A warm start lies between flow time 0 (noise) and 1 (data); got {start}.")
    left = max(1, math.ceil(round(steps * (1.0 - start), 9)))
    return Way(tuple((start + (1.0 - start) * index / left,) * horizon for index in range(left + 1)))


def streaming_way(steps: int, horizon: int, num_execute: int) -> Way:
    """One stage of ``steps`` for each action: the first ``num_execute`` to the end, those after them a stage behind.

    Raises:
        ConfigError: the whole chunk is executed, so that there is nothing to begin with.
    """
    stages = math.ceil(horizon / num_execute)
    if stages < 2:
        raise ConfigError(
            f"Streaming needs chunks that are executed in parts; of {horizon} actions {num_execute} are executed."
        )
    taken = max(1, math.ceil(steps / stages))
    behind = [row // num_execute for row in range(horizon)]
    return Way(
        tuple(tuple((stages - 1 - each + index / taken) / stages for each in behind) for index in range(taken + 1))
    )


def cold_way(steps: int, horizon: int) -> Way:
    """From noise to data in ``steps`` equal steps."""
    return Way(tuple((index / steps,) * horizon for index in range(steps + 1)))


def staircase(time_B: Tensor, horizon: int, num_execute: int) -> Tensor:
    """Flow times (B, T) that training with ``streaming`` asks for: as in ``streaming_way``, ``time_B`` of a stage further."""
    stages = math.ceil(horizon / num_execute)
    behind_T = torch.arange(horizon, device=time_B.device) // num_execute
    return (stages - 1 - behind_T + time_B[:, None]) / stages


def planned(plan: Plan) -> Tensor:
    """Which samples have a plan (B, 1)."""
    return (plan.weights_BT > 0).any(dim=1, keepdim=True)


def restarted(
    evaluate: Callable[[Tensor, int], Tensor],
    guess: Callable[[Tensor], Tensor],
    sampler: Sampler,
    plan: Plan,
    noise_BTA: Tensor,
    way: Way,
) -> Tensor:
    """The chunk (B, T, A) from the plan on, where there is one.

    Args:
        evaluate: (x, index of the step) -> the network's prediction; told ``way`` where there is a plan.
        guess: noise -> the clean chunk that the network expects there, for actions that the plan does not reach.
        sampler: whose paths and predictions.
        plan: in network units.
        noise_BTA: of the start.
        way: with a plan; without one it is ``cold_way`` of as many steps.
    """
    T = noise_BTA.shape[1]
    has_B1 = planned(plan)
    ways = (way, cold_way(way.steps, T))
    alphas, sigmas = [], []
    for warm_times, cold_times in zip(*(each.times for each in ways), strict=True):
        warm_T3, cold_T3 = (
            torch.tensor([sampler.level_at(time) for time in times]).to(noise_BTA) for times in (warm_times, cold_times)
        )
        mixed_BT3 = torch.where(has_B1[..., None], warm_T3, cold_T3)
        alphas.append(mixed_BT3[..., 1, None])
        sigmas.append(mixed_BT3[..., 2, None])
    begun_BTA = torch.where((plan.weights_BT > 0)[..., None], plan.actions_BTA.to(noise_BTA), guess(noise_BTA))
    x_BTA = alphas[0] * torch.where(has_B1[..., None], begun_BTA, 0.0) + sigmas[0] * noise_BTA
    clean_BTA = x_BTA
    for index in range(way.steps):
        prediction_BTA = evaluate(x_BTA, index)
        free_BTA = sampler.clean_at(x_BTA, prediction_BTA, alphas[index], sigmas[index])
        clean_BTA = sampler.bounded(free_BTA)
        if index + 1 < way.steps:
            noise_now_BTA = (x_BTA - alphas[index] * free_BTA) / sigmas[index]
            x_BTA = alphas[index + 1] * clean_BTA + sigmas[index + 1] * noise_now_BTA
    return clean_BTA
