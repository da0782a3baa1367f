"""Generative policies: an encoder, a denoiser, an objective to train it, and a sampler that carries noise to a chunk.

    observation window --encoder--> tokens --+
                                             +--denoiser--> prediction --sampler--> chunk
    noise, flow time ------------------------+

What differs between diffusion, flow matching and their one-step relatives is the objective and the sampler: a subclass
gives ``error`` and ``make_sampler``, everything else is here.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from praxon.contract import PolicyContract
from praxon.errors import ConfigError, nearest
from praxon.policies.base import Needs, Policy
from praxon.policies.build import build_part
from praxon.policies.denoising.block_cache import CacheSchedule
from praxon.policies.denoising.continuation import Plan
from praxon.policies.denoising.engine import Blocks, DenoisingEngine
from praxon.policies.denoising.samplers import Sampler
from praxon.policies.networks.denoiser import Denoiser
from praxon.policies.networks.encoders import Encoder
from praxon.policies.prefix import PrefixTraining, delay_weights

LEARNED_METHODS = {"prefix": "policy.prefix_delays=[1,1,1,1,1]", "streaming": "policy.streaming=0.8"}
"""Ways of continuing chunks that have to be trained, and the setting that does."""


class GenerativePolicy(Policy):
    """Parent of every policy that draws chunks from noise.

    Args:
        contract: features, chunk and control period.
        encoder: config of the observation encoder: ``_target_`` and its keyword arguments.
        network: config of the denoiser, likewise.
        spans: whether the objective tells the network the length of its step.
        engine: what the sampler is made from: ``make_sampler(**engine)``.
        noise_scale: what the noise is multiplied with at inference; below 1 samples stay nearer to what is most likely, as
            flow models do at low temperature (Kingma and Dhariwal, Glow, arXiv 1807.03039, section 6). Training uses 1.
        mask_padding: leave rows past an episode's end out of the loss. Off by default: they repeat the last action,
            and teach the policy to hold it.
        lead: rows of the chunk before the newest observation, which are generated and thrown away: Diffusion Policy's
            chunks begin at the oldest observation (arXiv 2303.04137, section II-C).
        normalization, spread_floor, actions: see ``Policy``.
    """

    encoder: Encoder
    network: Denoiser
    learned_methods: tuple[str, ...] = ()
    """Ways of continuing chunks that the weights were trained for."""

    def __init__(
        self,
        contract: PolicyContract,
        *,
        encoder: Mapping[str, Any],
        network: Mapping[str, Any],
        spans: bool = False,
        engine: Mapping[str, Any],
        noise_scale: float = 1.0,
        mask_padding: bool = False,
        normalization: str | Mapping[str, str] = "mean_std",
        spread_floor: float = 1e-2,
        actions: str = "absolute",
        lead: int = 0,
    ) -> None:
        super().__init__(contract, normalization, spread_floor, actions)
        if lead < 0 or (lead and self.actions.kind != "absolute"):
            raise ConfigError(
                f"lead is {lead} with {self.actions.kind} actions; it is at least 0, and rows before the newest observation "
                "need absolute ones."
            )
        self.lead = lead
        self.mask_padding, self.noise_scale = mask_padding, _noise_scale(noise_scale)
        self.engine = self._make_engine(engine, {})
        self.encoder = self.make_encoder(encoder)
        self.network = self.make_network(network, **({"spans": True} if spans else {}))

    def make_encoder(self, config: Mapping[str, Any]) -> Encoder:
        """The encoder of this config; called once, while the policy is built. A subclass may build it from others."""
        encoder: Encoder = build_part(config, Encoder, self.contract)
        return encoder

    def make_network(self, config: Mapping[str, Any], **options: Any) -> Denoiser:
        """The network of this config, for ``self.encoder``'s tokens; likewise."""
        sizes = (
            self.actions.size,
            self.lead + self.contract.chunk.horizon,
            self.encoder.num_tokens,
            self.encoder.width,
        )
        network: Denoiser = build_part(config, Denoiser, *sizes, **options)
        return network

    def make_prefix(self, delays: Sequence[float] | None) -> PrefixTraining | None:
        """Training with given actions, where ``delays`` says how many; what was trained so continues chunks so."""
        if delays is None:
            return None
        self.network.require_own_times()
        self.learned_methods += ("prefix",)
        self.configure_engine({"method": "prefix"})
        return PrefixTraining(delays, self.contract.chunk.horizon, self.lead)

    def make_streaming(self, share: float) -> float:
        """Training with a flow time for each action, in this share of the samples; what was trained so draws chunks so."""
        if not 0.0 <= share <= 1.0:
            raise ConfigError(f"The share of samples for streaming lies within 0 and 1; got {share}.")
        if not share:
            return 0.0
        if self.engine.method is not None:
            raise ConfigError("A policy is trained for streaming or with prefix_delays, not for both.")
        self.network.require_own_times()
        self.learned_methods += ("streaming",)
        self.configure_engine({"method": "streaming"})
        return float(share)

    def _make_engine(self, sampler: Mapping[str, Any], options: Mapping[str, Any]) -> DenoisingEngine:
        return DenoisingEngine(self.make_sampler(**sampler), num_execute=self.contract.chunk.num_execute, **options)

    @classmethod
    def settled(
        cls, config: Mapping[str, Any], columns: Mapping[str, int], period_s: float
    ) -> tuple[dict[str, Any], str]:
        """See ``Policy.settled``: a log of delays becomes how often each occurred."""
        named = config.get("prefix_delays")
        if not isinstance(named, str):
            return super().settled(config, columns, period_s)
        weights = delay_weights(Path(named), period_s)
        shares = ", ".join(f"{delay}: {100 * weight:.0f} %" for delay, weight in enumerate(weights))
        return {**config, "prefix_delays": weights}, f"Delays in '{named}', in control steps: {shares}."

    @abstractmethod
    def make_sampler(self, **settings: Any) -> Sampler:
        """The sampler of these settings; called while the policy is built and when ``configure_engine`` changes them."""

    @abstractmethod
    def error(self, action_BTA: Tensor, tokens_BSD: Tensor, generator: torch.Generator) -> Tensor:
        """What training minimises, per component of the chunk: (B, T, A), float32.

        Args:
            action_BTA: the chunk in network units.
            tokens_BSD: encoded observations.
            generator: the only source of randomness.
        """

    def loss(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        """See ``Policy.loss``; in network units."""
        action_BTA = self.encode_actions(batch)
        error_BT = (
            self.error(action_BTA, self.encoder(batch, self.normalizer, generator), generator).float().mean(dim=-1)
        )
        if not self.mask_padding:
            return error_BT.mean(dim=-1)
        valid_BT = (~batch["action_is_pad"]).to(error_BT.dtype)
        return (error_BT * valid_BT).sum(dim=-1) / valid_BT.sum(dim=-1)

    def sample(
        self,
        window: Mapping[str, Tensor],
        noise: Tensor,
        plan: Plan | None = None,
        blocks: Blocks | None = None,
    ) -> Tensor:
        """See ``Policy.sample``; ``blocks`` as ``DenoisingEngine.sample`` takes them."""
        tokens_BSD = self.encoder(window, self.normalizer).expand(len(noise), -1, -1)
        inside = None if plan is None else self._inside(plan, window)
        chunk_BTA = self.engine.sample(self.network, tokens_BSD, self.noise_scale * noise, inside, blocks)
        return self.decode_actions(chunk_BTA[:, self.lead :], window)

    @property
    def fixed(self) -> bool:
        """As the sampler is."""
        return self.engine.sampler.fixed

    @property
    def continues(self) -> bool:
        """Whether the engine's settings name a method for it."""
        return self.engine.method is not None

    def freeze(self) -> None:
        """See ``Policy.freeze``: what the flow times alone decide."""
        super().freeze()
        self.engine.freeze(self.network, self.lead + self.contract.chunk.horizon)

    def train(self, mode: bool = True) -> Self:
        """See ``nn.Module.train``; weights may change from now on."""
        if mode:
            self.engine.thaw()
        return super().train(mode)

    def _inside(self, plan: Plan, window: Mapping[str, Tensor]) -> Plan:
        """A plan in network units, for all rows that are generated."""
        actions_BTA = self.encode_actions({**window, self.contract.action.name: plan.actions_BTA})
        before = self.lead
        return Plan(
            torch.cat([actions_BTA[:, :1].expand(-1, before, -1), actions_BTA], dim=1),
            torch.cat([plan.weights_BT.new_zeros(len(plan.weights_BT), before), plan.weights_BT], dim=1),
        )

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """(lead + horizon, N); (draws, lead + horizon, N) for samplers whose steps add noise of their own."""
        shape = (self.lead + self.contract.chunk.horizon, self.actions.size)
        draws = self.engine.sampler.num_noises
        return shape if draws == 1 else (draws, *shape)

    def needs(self) -> Needs:
        """The actions before the newest observation, where chunks begin with them."""
        return Needs(lead=self.lead)

    def engine_settings(self) -> dict[str, Any]:
        """The sampler's settings, the noise scale, the cache schedule, and how plans are continued."""
        engine = self.engine
        return {
            **engine.sampler.settings(),
            "noise_scale": self.noise_scale,
            "cache": None if engine.cache is None else engine.cache.to_dict(),
            "method": engine.method,
            "guidance_limit": engine.guidance_limit,
            "start": engine.start,
        }

    def configure_engine(self, settings: Mapping[str, Any]) -> None:
        """Take the sampler's settings, as from a bundle's ``engine.yaml``; those that are not named stay.

        Raises:
            ConfigError: a setting does not exist or cannot be; all then stay as they were.
        """
        known = self.engine_settings()
        for name in settings:
            if name not in known:
                raise ConfigError(
                    f"Engine setting '{name}' does not exist. Settings: {', '.join(known)}.{nearest(name, known)}"
                )
        chosen = {**known, **settings}
        noise_scale = _noise_scale(chosen.pop("noise_scale"))
        cache = None if chosen["cache"] is None else CacheSchedule.from_dict(chosen["cache"])
        options = {name: chosen.pop(name) for name in ("method", "guidance_limit", "start")}
        del chosen["cache"]
        try:
            engine = self._make_engine(chosen, {**options, "cache": cache})
        except (TypeError, ValueError) as error:
            given = ", ".join(f"{name}={value!r}" for name, value in settings.items())
            raise ConfigError(
                f"The engine settings {given} cannot be used: steps are whole numbers, solver, spacing and method names, "
                "the others numbers."
            ) from error
        if engine.method in LEARNED_METHODS and engine.method not in self.learned_methods:
            raise ConfigError(
                f"This policy was not trained to continue chunks by {engine.method}; {LEARNED_METHODS[engine.method]} trains one "
                "that is. guided, identity and warm_start need no training."
            )
        if engine.method == "streaming" and self.lead:
            raise ConfigError(
                f"Streaming begins at the newest observation; this policy's chunks begin {self.lead} rows before it."
            )
        engine.require(self.network, self.lead + self.contract.chunk.horizon)
        if cache is not None:
            cache.require(self.network.block_names, engine.sampler.settings())
        engine.steer = self.engine.steer
        self.engine, self.noise_scale = engine, noise_scale


def _noise_scale(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ConfigError(f"The noise scale is a number from 0 on; got {value!r}.")
    return float(value)
