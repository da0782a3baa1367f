"""Composition: one policy of several that were trained apart, by the weighted sum of what they predict at every step.

General Policy Composition (GPC; Cao et al., arXiv 2510.01068): with parents i and weights w_i >= 0 that sum to 1,

    prediction(x, t, o) = sum_i w_i prediction_i(x, t, o_i)

For noise, velocity, clean chunk and force alike this is the weighted sum of the parents' scores, since all parents predict the
same thing at the same point. Each sees its own observations o_i, through its own encoder and normaliser, with its own network.
What is summed must mean the same: the same action in the same units, the same sampler, the same times.

It helps where parents are good and differ; it rescues no parents that fail.

Shapes: B batch, T action tokens, A action size, S observation tokens, D width of a token.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from praxon.contract import PolicyContract
from praxon.errors import ConfigError
from praxon.policies.build import build_policy_for
from praxon.policies.bundle import Bundle
from praxon.policies.denoising.samplers import Sampler
from praxon.policies.generative import GenerativePolicy
from praxon.policies.networks.blocks import BlockName, Run, run_all, under
from praxon.policies.networks.denoiser import Denoiser
from praxon.policies.networks.encoders import Encoder
from praxon.policies.normalizer import Normalizer

TOLERANCE = 1e-6
"""By how much weights may miss the sum of 1, and normalisations of the action each other, relatively."""
LEVEL_DIGITS = 6
"""To which noise levels are compared."""


class ComposedEncoder(Encoder):
    """Every parent's encoder with its own normaliser; all tokens side by side in a single one (B, 1, sum of S_i D_i).

    Args:
        encoders, normalizers: of the parents.
    """

    def __init__(self, encoders: Sequence[Encoder], normalizers: Sequence[Normalizer]) -> None:
        super().__init__()
        self.parts, self.normalizers = nn.ModuleList(encoders), nn.ModuleList(normalizers)
        self.num_tokens, self.width = 1, sum(part.num_tokens * part.width for part in encoders)

    def forward(
        self, window: Mapping[str, Tensor], normalizer: Normalizer, generator: torch.Generator | None = None
    ) -> Tensor:
        """See ``Encoder.forward``; the normaliser that is handed over is not used."""
        pairs: Any = zip(self.parts, self.normalizers, strict=True)
        return torch.cat([encoder(window, own, generator).flatten(1) for encoder, own in pairs], dim=1)[:, None]


class ComposedDenoiser(Denoiser):
    """The weighted sum of networks of any shapes. A parent of weight 0 is not asked.

    Args:
        networks: of the parents.
        weights: one each.
        tokens: (S_i, D_i) of each parent, in the order of ``ComposedEncoder``.
        horizon: T.
    """

    def __init__(
        self, networks: Sequence[Denoiser], weights: Sequence[float], tokens: Sequence[tuple[int, int]], horizon: int
    ) -> None:
        super().__init__()
        self.parts, self.weights, self.tokens = nn.ModuleList(networks), tuple(weights), tuple(tokens)
        self._shapes = [self._modulation_shapes(1)]
        if self.own_times:
            self._shapes.append(self._modulation_shapes(horizon))

    def condition(self, tokens_BSD: Tensor) -> tuple[Any, ...]:
        """What each network reads of its own tokens."""
        parts = tokens_BSD[:, 0].split([count * width for count, width in self.tokens], dim=1)
        each = zip(self._networks, parts, self.tokens, strict=True)
        return tuple(network.condition(part.unflatten(1, shape)) for network, part, shape in each)

    def modulation(self, time_BT: Tensor, span_BT: Tensor | None = None) -> Tensor:
        """Those of the networks side by side, (B, sum of their sizes)."""
        return torch.cat([network.modulation(time_BT, span_BT).flatten(1) for network in self._networks], dim=1)

    def denoise(
        self,
        noisy_BTA: Tensor,
        modulation: Tensor,
        condition: tuple[Any, ...],
        features: list[Tensor] | None = None,
        run: Run = run_all,
    ) -> Tensor:
        """See ``Denoiser.denoise``; ``features`` are those of the networks that are asked, one after another."""
        total_BTA: Tensor | None = None
        each = zip(self._networks, self.weights, self._split(modulation), condition, strict=True)
        for index, (network, weight, own, seen) in enumerate(each):
            if weight > 0:
                predicted = weight * network.denoise(noisy_BTA, own, seen, features, under(f"{index}.", run))
                total_BTA = predicted if total_BTA is None else total_BTA + predicted
        assert total_BTA is not None  # weights sum to 1
        return total_BTA

    @property
    def block_names(self) -> tuple[BlockName, ...]:
        """Those of every network that is asked, in order, behind its number."""
        return tuple(
            replace(block, name=f"{index}.{block.name}")
            for index, (network, weight) in enumerate(zip(self._networks, self.weights, strict=True))
            for block in network.block_names
            if weight > 0
        )

    @property
    def differentiates(self) -> bool:
        """Whether one of the networks does."""
        return any(network.differentiates for network in self._networks)

    @property
    def own_times(self) -> bool:
        """Whether those of every network may."""
        return all(network.own_times for network in self._networks)

    def mixed_modulation(self, mask_BT: Tensor, there: Tensor, elsewhere: Tensor) -> Tensor:
        """See ``Denoiser.mixed_modulation``; each network mixes its own."""
        parts = zip(self._networks, self._split(there), self._split(elsewhere), strict=True)
        mixed = [network.mixed_modulation(mask_BT, one, other) for network, one, other in parts]
        return torch.cat([part.flatten(1) for part in mixed], dim=1)

    @property
    def _networks(self) -> list[Denoiser]:
        return [network for network in self.parts if isinstance(network, Denoiser)]

    def _split(self, modulation: Tensor) -> list[Tensor]:
        """The inverse of ``modulation``, of one time for a chunk or of one for each action."""
        shapes = next(each for each in self._shapes if sum(map(math.prod, each)) == modulation.shape[1])
        parts = modulation.split([math.prod(shape) for shape in shapes], dim=1)
        return [part.reshape(len(part), *shape) for part, shape in zip(parts, shapes, strict=True)]

    @torch.no_grad()
    def _modulation_shapes(self, times: int) -> list[tuple[int, ...]]:
        """Of each network's modulation without its first axis, where a chunk has this many times."""
        time_BT = torch.zeros(1, times)
        return [tuple(network.modulation(time_BT, time_BT).shape[1:]) for network in self._networks]


class ComposedPolicy(GenerativePolicy):
    """A policy of several; see the module.

    Args:
        contract: what all parents see together, and the action and chunk that they share.
        parents: configs of generative policies. ``observations`` names what each of them sees, of the contract's.
        weights: one for each parent, at least 0, of sum 1.
        engine: settings by which all parents are drawn from; each as its config says where ``None``.

    Raises:
        ConfigError: the weights are none, or the parents differ in what must be equal; both sides are listed.
    """

    encoder: ComposedEncoder
    network: ComposedDenoiser

    def __init__(
        self,
        contract: PolicyContract,
        *,
        parents: Sequence[Mapping[str, Any]],
        weights: Sequence[float],
        engine: Mapping[str, Any] | None = None,
    ) -> None:
        # Before the parent's constructor, which asks for the sampler. A tuple, so that weights have one name: what is trained of
        # the parents lives in the encoder and the network.
        self.parents = tuple(_parent(config, contract) for config in parents)
        self.weights = _weights(weights, len(self.parents))
        for parent in self.parents:
            parent.configure_engine(engine or {})
        first = self.parents[0]
        for index, other in enumerate(self.parents[1:], 1):
            _require_alike(first, other, "parent 0", f"parent {index}")
        super().__init__(
            contract,
            encoder={},
            network={},
            engine=first.engine.sampler.settings(),
            noise_scale=first.noise_scale,
            actions=first.actions.kind,
            lead=first.lead,
        )
        shared = set.intersection(*(set(parent.learned_methods) for parent in self.parents))
        self.learned_methods = tuple(sorted(shared))
        self.configure_engine({**first.engine_settings(), "cache": None})

    def make_encoder(self, config: Mapping[str, Any]) -> Encoder:
        """The parents' side by side."""
        return ComposedEncoder(
            [parent.encoder for parent in self.parents], [parent.normalizer for parent in self.parents]
        )

    def make_network(self, config: Mapping[str, Any], **options: Any) -> Denoiser:
        """The parents', summed."""
        return ComposedDenoiser(
            [parent.network for parent in self.parents],
            self.weights,
            [(parent.encoder.num_tokens, parent.encoder.width) for parent in self.parents],
            self.lead + self.contract.chunk.horizon,
        )

    def make_sampler(self, **settings: Any) -> Sampler:
        """The parents' common one; settings that one of them cannot have are refused."""
        samplers = [parent.make_sampler(**settings) for parent in self.parents]
        return samplers[0]

    def configure_engine(self, settings: Mapping[str, Any]) -> None:
        """See ``GenerativePolicy.configure_engine``; what a parent keeps elsewhere (guidance by a goal) follows."""
        super().configure_engine(settings)
        for parent in self.parents:
            parent.configure_engine(self.engine.sampler.settings())

    def error(self, action_BTA: Tensor, tokens_BSD: Tensor, generator: torch.Generator) -> Tensor:
        """Nothing is trained here.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("A composed policy is not trained; train its parents and compose them again.")


def compose(bundles: Sequence[Bundle], weights: Sequence[float]) -> tuple[ComposedPolicy, dict[str, Any]]:
    """The composition of bundles, in evaluation mode, and the config that builds it.

    Args:
        bundles: of generative policies; each is drawn from as its engine is set, without its cache.
        weights: one each, at least 0, of sum 1.

    Raises:
        ConfigError: fewer than two bundles, impossible weights, a policy that does not denoise, or bundles that differ in what
            must be equal; both sides are listed.
    """
    if len(bundles) < 2:
        raise ConfigError(f"A composition has at least two parents; got {len(bundles)} bundles.")
    weights = _weights(weights, len(bundles))
    policies: list[GenerativePolicy] = []
    for bundle in bundles:
        if not isinstance(bundle.policy, GenerativePolicy):
            raise ConfigError(
                f"The bundle '{bundle.path}' is of a {type(bundle.policy).__name__}, which does not denoise; only what is "
                "predicted at the steps of denoising can be summed."
            )
        policies.append(bundle.policy)
    names = [f"'{bundle.path}'" for bundle in bundles]
    for name, other in zip(names[1:], policies[1:], strict=True):
        _require_same_task(policies[0], other, names[0], name)
        _require_alike(policies[0], other, names[0], name)
        _require_same_normalization(policies[0], other, names[0], name)
    engine = {**policies[0].engine_settings(), "cache": None}
    config = {
        "_target_": f"{ComposedPolicy.__module__}.{ComposedPolicy.__name__}",
        "weights": list(weights),
        "engine": engine,
        "parents": [
            {**bundle.config["policy"], "observations": [feature.name for feature in bundle.contract.observations]}
            for bundle in bundles
        ],
    }
    built = build_policy_for(config, _union([bundle.contract for bundle in bundles]))
    assert isinstance(built, ComposedPolicy)
    for mine, theirs in zip(built.parents, policies, strict=True):
        mine.load_state_dict(theirs.state_dict())
    for name, feature in built.normalizer.features.items():
        owner = next(policy for policy in policies if name in policy.normalizer.features)
        feature.load_state_dict(owner.normalizer.features[name].state_dict())
    built.eval()
    return built, config


def _parent(config: Mapping[str, Any], contract: PolicyContract) -> GenerativePolicy:
    """A parent under its part of the contract, in its own order."""
    if not isinstance(config, Mapping):
        raise ConfigError(f"A parent of a composition is the config of a policy; got {config!r}.")
    names = config.get("observations") or [feature.name for feature in contract.observations]
    seen = tuple(contract.observation(name) for name in names)
    policy = build_policy_for(config, replace(contract, observations=seen))
    if not isinstance(policy, GenerativePolicy):
        raise ConfigError(f"'{config['_target_']}' does not denoise, so that it cannot be composed.")
    return policy


def _weights(weights: Sequence[float], count: int) -> tuple[float, ...]:
    """As a tuple of numbers, one for each of ``count`` parents."""
    numbers = [weight for weight in weights if isinstance(weight, int | float) and not isinstance(weight, bool)]
    if len(numbers) != len(weights) or len(weights) != count:
        raise ConfigError(f"A composition of {count} parents needs as many weights; got {list(weights)}.")
    if not count or min(weights) < 0 or not abs(sum(weights) - 1.0) <= TOLERANCE:
        raise ConfigError(f"The weights of a composition are at least 0 and their sum is 1; got {list(weights)}.")
    return tuple(map(float, weights))


def _union(contracts: Sequence[PolicyContract]) -> PolicyContract:
    """What all parents see, the first's observations first; the strictest of the limits on time."""
    seen = {feature.name: feature for contract in contracts for feature in contract.observations}
    return replace(
        contracts[0],
        observations=tuple(seen.values()),
        latency_budget_s=min(contract.latency_budget_s for contract in contracts),
        max_observation_age_s=min(contract.max_observation_age_s for contract in contracts),
    )


# -- what must be equal -----------------------------------------------------------------------------------------------


def _require_same_task(one: GenerativePolicy, other: GenerativePolicy, name: str, other_name: str) -> None:
    """Robot, action, chunk, and what is observed by both."""
    mine, theirs = one.contract, other.contract
    sides = [("robot", mine.robot, theirs.robot), ("action", mine.action, theirs.action)]
    sides += [(f"chunk.{key}", value, getattr(theirs.chunk, key)) for key, value in vars(mine.chunk).items()]
    there = {feature.name: feature for feature in theirs.observations}
    sides += [
        (f"observation '{feature.name}'", feature, there[feature.name])
        for feature in mine.observations
        if feature.name in there
    ]
    _refuse(sides, name, other_name)


def _require_alike(one: GenerativePolicy, other: GenerativePolicy, name: str, other_name: str) -> None:
    """What a prediction is, and at which levels of noise it is asked for."""
    mine, theirs = _described(one), _described(other)
    sides = [(key, mine.get(key), theirs.get(key)) for key in {**mine, **theirs}]
    # Where settings differ levels do, too; levels alone differ by the schedule or the preconditioning of the training.
    levels = zip(_levels(one), _levels(other), strict=False) if mine == theirs else ()
    sides += [(f"noise level {index}", a, b) for index, (a, b) in enumerate(levels) if a != b][:1]
    _refuse(sides, name, other_name)


def _require_same_normalization(one: GenerativePolicy, other: GenerativePolicy, name: str, other_name: str) -> None:
    """To within rounding."""
    mine, theirs = (
        policy.normalizer.features[policy.contract.action.name.replace(".", "/")].state_dict()
        for policy in (one, other)
    )
    sides = [
        (f"{part} of the action's normalisation", _shown(mine[part]), _shown(theirs[part]))
        for part in mine
        if mine[part].shape != theirs[part].shape
        or not torch.allclose(mine[part], theirs[part], rtol=TOLERANCE, atol=TOLERANCE)
    ]
    _refuse(sides, name, other_name)


def _described(policy: GenerativePolicy) -> dict[str, Any]:
    """What decides how samples are drawn, by name."""
    sampler = policy.engine.sampler
    engine = {key: value for key, value in policy.engine_settings().items() if key != "cache"}
    return {
        "sampler": type(sampler).__name__,
        **{f"engine.{key}": value for key, value in engine.items()},
        "prediction": getattr(sampler, "predicts", "the sampler's"),
        "clip": getattr(sampler, "clip", None),
        "actions": policy.actions.kind,
        "lead": policy.lead,
    }


def _levels(policy: GenerativePolicy) -> list[tuple[float, ...]]:
    """Flow time, alpha and sigma of every evaluation; of a sampler that follows no path, the time alone."""
    sampler = policy.engine.sampler
    times: list[tuple[float, ...]] = [(round(time, LEVEL_DIGITS),) for time in sampler.times]
    try:
        paths = [sampler.path(index) for index in range(len(times))]
    except ConfigError:
        return times
    return [(*time, *(round(part, LEVEL_DIGITS) for part in path)) for time, path in zip(times, paths, strict=True)]


def _refuse(sides: Sequence[tuple[str, Any, Any]], name: str, other_name: str) -> None:
    """One sentence with both sides of whatever differs."""
    found = [f"{what} ({mine} and {theirs})" for what, mine, theirs in sides if mine != theirs]
    if found:
        raise ConfigError(f"{name} and {other_name} cannot be composed, since they differ in {'; '.join(found)}.")


def _shown(values: Tensor) -> str:
    """The first row, in few digits."""
    row = values.reshape(-1, values.shape[-1])[0]
    return "(" + ", ".join(f"{value:.4g}" for value in row.tolist()) + ")"
