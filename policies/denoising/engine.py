"""The denoising engine: draws samples with whatever is constant over the steps computed once, before the loop.

    once per bundle    modulation by the flow times, which are the sampler's (``freeze``)
    once per chunk     what the network reads of the observations
    at every step      the rest, but for blocks that a cache schedule reuses

Everything that decides what is computed (times, solver, schedule, method) is Python, fixed before the first step: a trace of
``sample`` is a straight line of tensor operations, which is what the backends compile, capture and export.

Shapes: B batch, T action tokens, A action size, S observation tokens, D width of a token.
"""

from typing import Protocol

import torch
from torch import Tensor

from praxon.errors import ConfigError
from praxon.policies.denoising.block_cache import CachedRun, CacheSchedule
from praxon.policies.denoising.continuation import METHODS, Plan, fixed_rows, guided, overwritten
from praxon.policies.denoising.samplers import Evaluate, Sampler
from praxon.policies.denoising.steering import Steering
from praxon.policies.networks.blocks import Run, run_all
from praxon.policies.networks.denoiser import Denoiser


class Blocks(Protocol):
    """Who runs the blocks of the network at each evaluation."""

    def at(self, evaluation: int) -> Run:
        """For ``Denoiser.denoise`` at this evaluation of the network, counted from 0."""


class DenoisingEngine:
    """Network + sampler: noise -> sample.

    Args:
        sampler: which times, and what is done with the network's predictions.
        cache: which blocks are run at which evaluation; all of them where ``None``.
        method: how a plan is continued, one of ``continuation.METHODS``.
        guidance_limit: largest strength of the pull towards a plan.

    Attributes:
        steer: what moves samples towards larger values (Q-guided flow); nothing where ``None``. Set from Python, kept in no
            bundle. A plan is pulled towards first, so that the value is differentiated at the chunk that continues it.

    Raises:
        ConfigError: unknown method, or a limit that is not positive.
    """

    def __init__(
        self,
        sampler: Sampler,
        cache: CacheSchedule | None = None,
        method: str = "guided",
        guidance_limit: float = 5.0,
    ) -> None:
        if method not in METHODS:
            raise ConfigError(f"Plans are continued by {', '.join(METHODS)}; got '{method}'.")
        if not guidance_limit > 0:
            raise ConfigError(f"The pull towards a plan needs a limit above 0; got {guidance_limit}.")
        self.sampler, self.cache, self.method, self.guidance_limit = sampler, cache, method, float(guidance_limit)
        self.steer: Steering | None = None
        self._frozen: Tensor | None = None

    def freeze(self, network: Denoiser) -> None:
        """Compute once what the flow times alone decide; right until a weight changes."""
        with torch.no_grad():
            self._frozen = self._modulation(network, next(network.parameters()).device)

    def thaw(self) -> None:
        """Compute it for every sample again."""
        self._frozen = None

    def sample(
        self,
        network: Denoiser,
        tokens_BSD: Tensor,
        noise: Tensor,
        plan: Plan | None = None,
        blocks: Blocks | None = None,
    ) -> Tensor:
        """Observation tokens and noise -> the chunk (B, T, A) in network units.

        Args:
            network: in evaluation mode.
            tokens_BSD: encoded observations.
            noise: as ``Sampler.run`` takes it.
            plan: to be continued, in network units.
            blocks: who runs the blocks; by default the cache schedule, or everything.

        Raises:
            ConfigError: the network or the sampler cannot continue a plan by this method.
        """
        condition = network.condition(tokens_BSD)
        modulation = self._modulation(network, tokens_BSD.device) if self._frozen is None else self._frozen
        if blocks is None and self.cache is not None:
            blocks = CachedRun(self.cache)
        by_prefix = plan is not None and self.method == "prefix"
        if by_prefix:
            network.require_own_times()
        evaluations = 0

        def evaluate(x_BTA: Tensor, index: int) -> Tensor:
            nonlocal evaluations
            at_time = modulation[index : index + 1]
            if by_prefix:
                assert plan is not None
                at_time = network.mixed_modulation(fixed_rows(plan), modulation[-1:], at_time)
                x_BTA = overwritten(x_BTA, plan)
            run = run_all if blocks is None else blocks.at(evaluations)
            evaluations += 1
            return network.denoise(x_BTA, at_time, condition, run=run)

        step: Evaluate = evaluate
        if plan is not None and not by_prefix:
            step = guided(evaluate, self.sampler, plan, self.guidance_limit, self.method == "guided")
        if self.steer is not None:
            step = self.steer(step, self.sampler)
        chunk_BTA = self.sampler.run(step, noise)
        return overwritten(chunk_BTA, plan) if by_prefix and plan is not None else chunk_BTA

    def _modulation(self, network: Denoiser, device: torch.device) -> Tensor:
        """Of the sampler's times, then of clean data."""
        spans = self.sampler.spans
        return network.modulation(
            _column([*self.sampler.times, 1.0], device), None if spans is None else _column([*spans, spans[-1]], device)
        )


def _column(values: list[float], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device)[:, None]
