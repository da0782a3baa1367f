"""The denoising engine: draws samples with whatever is constant over the steps computed once, before the loop.

    once per bundle    modulation by the flow times, which are the sampler's (``freeze``)
    once per chunk     what the network reads of the observations
    at every step      the rest, but for blocks that a cache schedule reuses

Everything that decides what is computed (times, solver, schedule, method) is Python, fixed before the first step: a trace of
``sample`` is a straight line of tensor operations, which is what the backends compile, capture and export.

Shapes: B batch, T action tokens, A action size, S observation tokens, D width of a token.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from praxon.errors import ConfigError, nearest
from praxon.policies.denoising.block_cache import CachedRun, CacheSchedule
from praxon.policies.denoising.continuation import Plan, fixed_rows, guided, overwritten
from praxon.policies.denoising.restart import Way, cold_way, planned, restarted, streaming_way, warm_way
from praxon.policies.denoising.samplers import Evaluate, Sampler
from praxon.policies.denoising.steering import Steering
from praxon.policies.networks.blocks import Run, run_all
from praxon.policies.networks.denoiser import Denoiser

RESTARTS = ("warm_start", "streaming")
METHODS = ("guided", "identity", "prefix", *RESTARTS)

Denoised = Callable[[Tensor, Tensor], Tensor]
"""(x, modulation) -> the network's prediction."""


class Modulations(NamedTuple):
    """What flow times do to the network, a row for each evaluation.

    Args:
        plain: at the sampler's times, and at last that of clean data.
        warm, cold: of a restart with a plan and without one.
    """

    plain: Tensor
    warm: Tensor
    cold: Tensor


class Blocks(Protocol):
    """Who runs the blocks of the network at each evaluation."""

    def at(self, evaluation: int) -> Run:
        """For ``Denoiser.denoise`` at this evaluation of the network, counted from 0."""


class DenoisingEngine:
    """Network + sampler: noise -> sample.

    Args:
        sampler: which times, and what is done with the network's predictions.
        cache: which blocks are run at which evaluation; all of them where ``None``.
        method: how a plan is continued, one of ``METHODS``; plans are not continued where ``None``.
        guidance_limit: largest strength of the pull towards a plan.
        start: flow time at which a warm start begins.
        num_execute: actions executed before the next chunk takes over, which streaming goes by.

    Attributes:
        steer: what moves samples towards larger values (Q-guided flow); nothing where ``None``. Set from Python, kept in no
            bundle. A plan is pulled towards first, so that the value is differentiated at the chunk that continues it.

    Raises:
        ConfigError: unknown method, or a limit or start that cannot be.
    """

    def __init__(
        self,
        sampler: Sampler,
        cache: CacheSchedule | None = None,
        method: str | None = None,
        guidance_limit: float = 5.0,
        start: float = 0.3,
        num_execute: int = 1,
    ) -> None:
        if method is not None and method not in METHODS:
            raise ConfigError(
                f"Plans are continued by {', '.join(METHODS)}; null by none; got '{method}'.{nearest(method, METHODS)}"
            )
        if not guidance_limit > 0:
            raise ConfigError(f"The pull towards a plan needs a limit above 0; got {guidance_limit}.")
        if not 0.0 < start < 1.0:
            raise ConfigError(f"A warm start lies between flow time 0 (noise) and 1 (data); got {start}.")
        if method in RESTARTS and cache is not None:
            raise ConfigError(
                f"A cache schedule is for every step from noise on; {method} takes others. cache=null or method=null."
            )
        self.sampler, self.cache, self.method = sampler, cache, method
        self.guidance_limit, self.start = float(guidance_limit), float(start)
        self._num_execute = num_execute
        self.steer: Steering | None = None
        self._frozen: Modulations | None = None

    def require(self, network: Denoiser, horizon: int) -> None:
        """Refuse a network or a sampler with which plans cannot be continued by the method.

        Raises:
            ConfigError: which, and what can.
        """
        if self.method in ("prefix", "streaming"):
            network.require_own_times()
        if self.method in ("guided", "identity"):
            self.sampler.path(0)
        if self.method in RESTARTS:
            self.sampler.level_at(0.5)
        self._way(horizon)

    def freeze(self, network: Denoiser, horizon: int) -> None:
        """Compute once what the flow times alone decide; right until a weight changes."""
        with torch.no_grad():
            self._frozen = self._modulations(network, horizon, next(network.parameters()).device)

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
            ConfigError: a plan, without a method; or the network or the sampler cannot continue one by this method.
        """
        if plan is not None and self.method is None:
            raise ConfigError(f"A plan is continued by a method, and none is set: {', '.join(METHODS)}.")
        horizon, device = noise.shape[-2], tokens_BSD.device
        modulations = self._modulations(network, horizon, device) if self._frozen is None else self._frozen
        condition = network.condition(tokens_BSD)
        if blocks is None and self.cache is not None:
            blocks = CachedRun(self.cache)
        evaluations = 0

        def denoised(x_BTA: Tensor, modulation: Tensor) -> Tensor:
            nonlocal evaluations
            run = run_all if blocks is None else blocks.at(evaluations)
            evaluations += 1
            return network.denoise(x_BTA, modulation, condition, run=run)

        def plainly(x_BTA: Tensor, index: int) -> Tensor:
            return denoised(x_BTA, modulations.plain[index : index + 1])

        if plan is None:
            return self._run(plainly, noise)
        if self.method == "prefix":
            return self._with_prefix(network, denoised, modulations.plain, noise, plan)
        if self.method in RESTARTS:
            return self._restarted(denoised, modulations, noise, plan)
        return self._run(guided(plainly, self.sampler, plan, self.guidance_limit, self.method == "guided"), noise)

    def _run(self, evaluate: Evaluate, noise: Tensor) -> Tensor:
        return self.sampler.run(evaluate if self.steer is None else self.steer(evaluate, self.sampler), noise)

    def _with_prefix(self, network: Denoiser, denoised: Denoised, plain: Tensor, noise: Tensor, plan: Plan) -> Tensor:
        network.require_own_times()
        fixed_BT = fixed_rows(plan)

        def evaluate(x_BTA: Tensor, index: int) -> Tensor:
            modulation = network.mixed_modulation(fixed_BT, plain[-1:], plain[index : index + 1])
            return denoised(overwritten(x_BTA, plan), modulation)

        return overwritten(self._run(evaluate, noise), plan)

    def _restarted(self, denoised: Denoised, modulations: "Modulations", noise: Tensor, plan: Plan) -> Tensor:
        if self.steer is not None:
            raise ConfigError(
                f"Samples are steered from noise on; {self.method} begins elsewhere. method=null or no steering."
            )
        noise_BTA = noise if noise.ndim == 3 else noise[:, 0]
        way = self._way(noise_BTA.shape[1])
        assert way is not None
        has_B1 = planned(plan)

        def evaluate(x_BTA: Tensor, index: int) -> Tensor:
            warm, cold = modulations.warm[index : index + 1], modulations.cold[index : index + 1]
            return denoised(x_BTA, torch.where(has_B1.view(-1, *[1] * (warm.ndim - 1)), warm, cold))

        def guess(x_BTA: Tensor) -> Tensor:
            level = self.sampler.level_at(0.0)
            told = denoised(level.sigma * x_BTA, modulations.cold[:1])
            return self.sampler.bounded(self.sampler.clean_at(level.sigma * x_BTA, told, level.alpha, level.sigma))

        return restarted(evaluate, guess, self.sampler, plan, noise_BTA, way)

    def _way(self, horizon: int) -> Way | None:
        steps = int(self.sampler.settings().get("steps", len(self.sampler.times)))
        if self.method == "warm_start":
            return warm_way(steps, self.start, horizon)
        if self.method == "streaming":
            return streaming_way(steps, horizon, self._num_execute)
        return None

    def _modulations(self, network: Denoiser, horizon: int, device: torch.device) -> "Modulations":
        """Of the sampler's times and then of clean data, and of those of a restart."""
        spans = self.sampler.spans
        plain = network.modulation(
            _column([*self.sampler.times, 1.0], device), None if spans is None else _column([*spans, spans[-1]], device)
        )
        way = self._way(horizon)
        if way is None:
            return Modulations(plain, plain, plain)
        rows = []
        shared = all(len(set(times)) == 1 for times in way.times)
        for each in (way, cold_way(way.steps, horizon)):
            told = [[self.sampler.level_at(t).time for t in (times[:1] if shared else times)] for times in each.times]
            rows.append(network.modulation(torch.tensor(told[:-1], dtype=torch.float32, device=device)))
        return Modulations(plain, *rows)


def _column(values: list[float], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device)[:, None]
