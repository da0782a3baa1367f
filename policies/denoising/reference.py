"""The reference that every backend is compared with: what one would write over ``diffusers``, step by step, in eager torch.

Nothing is hoisted: at every step the whole network is called with the observation tokens and the flow time, and a scheduler of
``diffusers``, where it has one for the sampler, makes the step.

Shapes: B batch, T action tokens, A action size.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from praxon.policies.base import Policy
from praxon.policies.denoising.diffusion_sampler import DiffusionSampler
from praxon.policies.denoising.samplers import Evaluate, FlowSampler
from praxon.policies.generative import GenerativePolicy


@torch.no_grad()
def reference_chunk(policy: Policy, window: Mapping[str, Tensor], noise: Tensor) -> Tensor:
    """Chunks in physical units (B, T, A), of a window of one observation or of B; see ``Policy.sample``."""
    if not isinstance(policy, GenerativePolicy):
        return policy.sample(window, noise)
    tokens_BSD = policy.encoder(window, policy.normalizer).expand(len(noise), -1, -1)
    sampler = policy.engine.sampler

    def evaluate(x_BTA: Tensor, index: int) -> Tensor:
        time_B1 = x_BTA.new_full((len(x_BTA), 1), sampler.times[index])
        span_B1 = None if sampler.spans is None else x_BTA.new_full((len(x_BTA), 1), sampler.spans[index])
        prediction: Tensor = policy.network(x_BTA, time_B1, tokens_BSD, span_B1)
        return prediction

    noise = policy.noise_scale * noise
    scheduler = sampler.scheduler() if isinstance(sampler, DiffusionSampler) else None
    if scheduler is not None:
        chunk_BTA = _by_scheduler(evaluate, noise, scheduler)
    elif isinstance(sampler, FlowSampler) and sampler.solver_name == "euler":
        chunk_BTA = _flow_by_scheduler(evaluate, noise, sampler.steps)
    else:
        chunk_BTA = sampler.run(evaluate, noise)
    return policy.decode_actions(chunk_BTA[:, policy.lead :], window)


def _by_scheduler(evaluate: Evaluate, noise_BTA: Tensor, scheduler: Any) -> Tensor:
    x_BTA = scheduler.init_noise_sigma * noise_BTA
    for index, level in enumerate(scheduler.timesteps):
        predicted_BTA = evaluate(scheduler.scale_model_input(x_BTA, level), index)
        x_BTA = scheduler.step(predicted_BTA, level, x_BTA).prev_sample
    return x_BTA


def _flow_by_scheduler(evaluate: Evaluate, noise_BTA: Tensor, steps: int) -> Tensor:
    """Euler's method by ``FlowMatchEulerDiscreteScheduler``, whose time runs from noise at sigma = 1 to data at 0."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=[1.0 - index / steps for index in range(steps)])
    x_BTA = noise_BTA
    for index, level in enumerate(scheduler.timesteps):
        x_BTA = scheduler.step(-evaluate(x_BTA, index), level, x_BTA).prev_sample
    return x_BTA
