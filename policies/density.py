"""How familiar a chunk looks: pseudo-counts by coin flips, so that of many candidates the one nearest to the data is kept.

A coin-flip network (CFN; Lobel, Bagaria, Konidaris, "Flipping Coins to Estimate Pseudocounts", arXiv 2306.03186) f regresses
random coin flips c in {-1, +1}^d, drawn once for each training sample, from features h of (observation, chunk):

    min sum_i |f(h_i) - c_i|^2,    so that  |f(h)|^2 / d  is about  1 / N(h)

where N samples share h: the answer is the mean of N flips, of variance 1/N. Samples that look alike to the network count as
one another. A fixed random network of unit size on the data is added to f (their prior): training cancels it where there are
data, so that what was never seen has a pseudo-count near or below 1. TACO (December 2025) chooses among the chunks of a
policy by it, "anti-exploration at test time", and takes h from the policy itself.

Features of a policy that denoises: the last activations that its network appends to ``features``, at the chunk under noise of a
few levels, where the level is kept whose predicted clean chunk is nearest to the chunk. The noise is fixed, so that h is a function
of observation and chunk alone, and equal for candidates and data. Features of any other policy, or of a network that has
none: its normalised numeric observations and actions, side by side. Both are standardised over the data.

Shapes: B batch, N samples, T rows of a chunk, A components of the action, F size of a feature, d flips.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from praxon.errors import BundleError, ConfigError
from praxon.policies.base import Policy
from praxon.policies.bundle import Bundle
from praxon.policies.denoising.samplers import Sampler
from praxon.policies.generative import GenerativePolicy
from praxon.policies.manifest import read_manifested, write_manifested
from praxon.policies.normalizer import is_numeric
from praxon.policies.runtime import PlannedRows, example_chunk, example_window
from praxon.policies.selection import Selector, Window

FORMAT_VERSION = 1
TENSORS, DESCRIPTION = "density.safetensors", "density.json"
FILES = (TENSORS, DESCRIPTION)
STEPS = 8
"""Of the sampler among whose noise levels those of the features are chosen, where it can have as many."""
CLEAN_SHARES = (0.5, 0.7, 0.9)
"""alpha / (alpha + sigma) of the wanted noise levels: less shows little of the chunk, more leaves the network nothing to do."""
BLOCK = 256
"""Samples whose features are computed at once."""


# -- coin flips -------------------------------------------------------------------------------------------------------


class CoinFlips(nn.Module):
    """The coin-flip network: standardised features -> the mean of the flips of all samples that look like them.

    Args:
        size: F.
        flips: d. The pseudo-count's relative standard deviation is sqrt(2 / d) at least.
        width: of both hidden layers.
    """

    center: Tensor
    spread: Tensor
    prior_center: Tensor
    prior_spread: Tensor

    def __init__(self, size: int, flips: int = 64, width: int = 256) -> None:
        super().__init__()
        self.flips = flips
        self.network, self.prior = (_layers(size, width, flips) for _ in range(2))
        self.prior.requires_grad_(False)
        for weight in self.network[-1].parameters():
            nn.init.zeros_(weight)
        for name, length in (("center", size), ("spread", size), ("prior_center", flips), ("prior_spread", flips)):
            self.register_buffer(name, torch.zeros(length) if "center" in name else torch.ones(length))

    @torch.no_grad()
    def fit_scales(self, features_NF: Tensor) -> None:
        """Standardise the features, and give the prior unit size on them.

        A component that hardly varies is divided by a hundredth of the typical spread instead of its own.
        """
        spread_F = features_NF.std(dim=0, unbiased=False)
        floor = 0.01 * spread_F.square().mean().sqrt().clamp_min(1e-6)
        self.center.copy_(features_NF.mean(dim=0))
        self.spread.copy_(spread_F.clamp_min(floor))
        prior_Nd = self.prior(self._standard(features_NF))
        self.prior_center.copy_(prior_Nd.mean(dim=0))
        self.prior_spread.copy_(prior_Nd.std(dim=0, unbiased=False).clamp_min(1e-6))

    def forward(self, features_BF: Tensor) -> Tensor:
        """Features -> f (B, d)."""
        standard_BF = self._standard(features_BF)
        answer: Tensor = self.network(standard_BF) + (self.prior(standard_BF) - self.prior_center) / self.prior_spread
        return answer

    def rarity(self, features_BF: Tensor) -> Tensor:
        """|f|^2 / d, about one over the number of samples that look like this (B,)."""
        return self(features_BF).square().mean(dim=1)

    def _standard(self, features_BF: Tensor) -> Tensor:
        return (features_BF - self.center) / self.spread


def _layers(size: int, width: int, out: int) -> nn.Sequential:
    hidden = [nn.Linear(size, width), nn.GELU(), nn.Linear(width, width), nn.GELU()]
    return nn.Sequential(*hidden, nn.Linear(width, out))


def train_flips(
    network: CoinFlips,
    features_NF: Tensor,
    steps: int,
    seed: int = 0,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    on_step: Callable[[int, float], None] | None = None,
) -> None:
    """Draw the flips of every sample and regress them: Adam, its rate falling to 0 along a cosine.

    Args:
        network: whose scales are fitted here, too.
        features_NF: on the network's device.
        steps: optimiser steps.
        seed: of the flips and of the order of samples.
        batch_size: samples per step; all of them where there are fewer.
        learning_rate: at the beginning.
        on_step: called with the number of the step and its loss, the mean squared error of a flip: about 2 at first, 1 where every
            sample looks like many others.
    """
    network.fit_scales(features_NF)
    generator = torch.Generator().manual_seed(seed)
    count = len(features_NF)
    flips_Nd = 2.0 * torch.randint(2, (count, network.flips), generator=generator) - 1.0
    flips_Nd = flips_Nd.to(features_NF.device)
    optimizer = torch.optim.Adam(network.network.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(1, steps + 1):
        everyone = count <= batch_size
        chosen_B = torch.arange(count) if everyone else torch.randint(count, (batch_size,), generator=generator)
        loss = (network(features_NF[chosen_B]) - flips_Nd[chosen_B]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if on_step is not None:
            on_step(step, loss.item())


# -- features ---------------------------------------------------------------------------------------------------------


class ChunkFeatures:
    """Features of (observation window, chunk) for one policy.

    Args:
        policy: frozen.
        internal: activations of the policy's own network; else normalised observations and actions.
        sampler: settings of the sampler whose noise levels are used; chosen here where ``None``.
        seed: of the noise.

    Raises:
        ConfigError: activations of a policy that denoises along no path.
    """

    def __init__(self, policy: Policy, internal: bool, sampler: Mapping[str, Any] | None = None, seed: int = 0) -> None:
        self.policy, self.internal, self.seed = policy, internal, seed
        self.sampler: dict[str, Any] = {}
        if not internal:
            return
        if not isinstance(policy, GenerativePolicy):
            raise ConfigError(f"{type(policy).__name__} does not denoise, so that it has no features at a noise level.")
        own = policy.engine.sampler.settings()
        self._sampler = _fine_sampler(policy, own) if sampler is None else policy.make_sampler(**sampler)
        self.sampler = self._sampler.settings()
        self._levels = _levels(self._sampler)
        generator = torch.Generator().manual_seed(seed)
        rows = policy.lead + policy.contract.chunk.horizon
        noise = torch.randn(len(self._levels), rows, policy.actions.size, generator=generator)
        self._noise = noise.to(policy.device)

    @torch.no_grad()
    def __call__(self, window: Mapping[str, Tensor], chunks_BTA: Tensor) -> Tensor:
        """Features (B, F), float32.

        Args:
            window: of the contract's observations (B, num_obs_steps, *shape); one observation (1, ...) may serve all chunks.
            chunks_BTA: physical units.
        """
        policy, count = self.policy, len(chunks_BTA)
        spread = {feature.name: _expanded(window[feature.name], count) for feature in policy.contract.observations}
        actions_BTN = policy.encode_actions({**spread, policy.contract.action.name: chunks_BTA})
        if not self.internal:
            seen = [
                policy.normalizer.normalize(feature.name, spread[feature.name]).flatten(1)
                for feature in policy.contract.observations
                if is_numeric(feature)
            ]
            return torch.cat([*seen, actions_BTN.flatten(1)], dim=1).float()
        assert isinstance(policy, GenerativePolicy)
        tokens_BSD = policy.encoder(window, policy.normalizer).expand(count, -1, -1)
        return self._activations(policy, tokens_BSD, actions_BTN)

    def _activations(self, policy: GenerativePolicy, tokens_BSD: Tensor, actions_BTN: Tensor) -> Tensor:
        """The network's last features at the level where it predicts the chunk best (B, F)."""
        network, sampler = policy.network, self._sampler
        clean_BTN = torch.cat([actions_BTN[:, :1].expand(-1, policy.lead, -1), actions_BTN], dim=1)
        count, condition = len(clean_BTN), network.condition(tokens_BSD)
        found, errors = [], []
        for level, noise_TN in zip(self._levels, self._noise, strict=True):
            alpha, sigma = sampler.path(level)
            noisy_BTN = alpha * clean_BTN + sigma * noise_TN
            times = [[sampler.times[level]]]
            spans = None if sampler.spans is None else torch.tensor([[sampler.spans[level]]], device=policy.device)
            modulation = network.modulation(torch.tensor(times, device=policy.device), spans)
            features: list[Tensor] = []
            prediction_BTN = network.denoise(noisy_BTN, modulation, condition, features)
            if not features:
                raise ConfigError(f"{type(network).__name__} shows no features.")
            # Of a batch that was doubled for guidance the second half saw the goal.
            found.append(features[-1][-count:].flatten(1).float())
            errors.append((sampler.clean(noisy_BTN, prediction_BTN, level) - clean_BTN).square().mean(dim=(1, 2)))
        best_B = torch.stack(errors).argmin(dim=0)
        return torch.stack(found)[best_B, torch.arange(count, device=best_B.device)]


def features_of(policy: Policy, seed: int = 0) -> ChunkFeatures:
    """The features that fit the policy best: its own where it has some."""
    try:
        found = ChunkFeatures(policy, True, seed=seed)
        found(*_example(policy))
    except ConfigError:
        return ChunkFeatures(policy, False, seed=seed)
    return found


def _example(policy: Policy) -> tuple[dict[str, Tensor], Tensor]:
    """One observation and one chunk of zeros, poses upright."""
    window = {name: torch.from_numpy(value) for name, value in example_window(policy.contract).items()}
    actions = torch.from_numpy(example_chunk(policy.contract))
    return {name: value.to(policy.device) for name, value in window.items()}, actions.to(policy.device)


def _expanded(value: Tensor, count: int) -> Tensor:
    return value if len(value) == count else value.expand(count, *value.shape[1:])


def _fine_sampler(policy: GenerativePolicy, settings: Mapping[str, Any]) -> Sampler:
    """With as many steps as there should be, where the policy can have them: one step sees no chunk, only noise."""
    if "steps" in settings:
        try:
            return policy.make_sampler(**{**settings, "steps": STEPS})
        except (ConfigError, ValueError):
            pass
    return policy.make_sampler(**settings)


def _levels(sampler: Sampler) -> list[int]:
    """Indices of the levels that come nearest to the wanted ones, without those that are all noise or none."""
    shares = {index: a / (a + s) for index, (a, s) in enumerate(map(sampler.path, range(len(sampler.times))))}
    usable = {index: share for index, share in shares.items() if 0.05 < share < 0.99}
    if not usable:
        raise ConfigError(f"{type(sampler).__name__} has no level at which a chunk is seen through noise.")
    return sorted({min(usable, key=lambda index: abs(usable[index] - wanted)) for wanted in CLEAN_SHARES})


# -- the density of a policy ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DensityInfo:
    """What is known of a density, as in its ``density.json``.

    Args:
        weights: SHA-256 of the weights of the bundle that it was made for.
        internal: whether the features are the policy's own.
        sampler: settings of the sampler of the features.
        seed: of the noise, the flips and the order of samples.
        size: F.
        flips: d.
        width: of the hidden layers.
        samples: that it was trained on.
        steps: of the training.
    """

    weights: str
    internal: bool
    sampler: dict[str, Any]
    seed: int
    size: int
    flips: int
    width: int
    samples: int
    steps: int


class PseudoCount:
    """How rare a chunk is under an observation, for one policy.

    Args:
        features: of the policy.
        network: trained on them.
        info: of both.
    """

    def __init__(self, features: ChunkFeatures, network: CoinFlips, info: DensityInfo) -> None:
        self.features, self.network, self.info = features, network.eval(), info

    @torch.no_grad()
    def rarity(self, window: Mapping[str, Tensor], chunks_BTA: Tensor) -> Tensor:
        """About one over the number of training samples that look like this, (B,); arguments as of ``ChunkFeatures``."""
        return self.network.rarity(self.features(window, chunks_BTA))

    def save(self, path: Path) -> str:
        """Write as a directory of tensors, description and manifest; returns its identity.

        Raises:
            BundleError: the path holds something else, or the file system refused.
        """
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.network.state_dict().items()}
        contents = {
            TENSORS: safetensors.torch.save(tensors),
            DESCRIPTION: json.dumps(asdict(self.info), indent=1).encode(),
        }
        return write_manifested(Path(path), contents, FORMAT_VERSION, "density")


def default_path(bundle: Path) -> Path:
    """Where the density of a bundle is looked for: ``<bundle>.density``."""
    path = bundle.resolve()
    return path.with_name(path.name + ".density")


def make_density(
    bundle: Bundle,
    samples: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    count: int,
    steps: int,
    *,
    flips: int = 64,
    width: int = 256,
    seed: int = 0,
    on_sample: Callable[[int], None] | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> PseudoCount:
    """Train the density of a bundle's policy, whose weights stay as they are.

    Args:
        bundle: of the policy.
        samples: indices (B,) below ``count`` -> batch of observation features and actions, without rows before the newest
            observation, as ``Windows`` gives them.
        count: N.
        steps: of the coin-flip network.
        flips, width: see ``CoinFlips``.
        seed: see ``DensityInfo``.
        on_sample, on_step: called with the number of samples whose features are known, and as by ``train_flips``.

    Raises:
        ConfigError: fewer than two samples, or a number below 1.
    """
    for name, value, least in (("samples", count, 2), ("steps", steps, 1), ("flips", flips, 1), ("width", width, 1)):
        if value < least:
            raise ConfigError(f"A density needs {name} of at least {least}; got {value}.")
    policy = bundle.policy
    policy.eval()
    features = features_of(policy, seed)
    blocks = np.split(np.arange(count), range(BLOCK, count, BLOCK))
    found = []
    for block in blocks:
        found.append(features(*tensors_of(policy, samples(block))))
        if on_sample is not None:
            on_sample(int(block[-1]) + 1)
    features_NF = torch.cat(found)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = CoinFlips(features_NF.shape[1], flips, width).to(features_NF.device)
    train_flips(network, features_NF, steps, seed, on_step=on_step)
    described = (features_NF.shape[1], flips, width, count, steps)
    info = DensityInfo(bundle.weights, features.internal, features.sampler, seed, *described)
    return PseudoCount(features, network, info)


def tensors_of(policy: Policy, batch: Mapping[str, np.ndarray]) -> tuple[dict[str, Tensor], Tensor]:
    """A batch's window and chunks on the policy's device."""
    tensors = {
        feature.name: torch.from_numpy(np.ascontiguousarray(batch[feature.name])).to(policy.device)
        for feature in policy.contract
    }
    return tensors, tensors.pop(policy.contract.action.name)


def load_density(path: Path, bundle: Bundle) -> PseudoCount:
    """Read a density and verify that it belongs to the bundle.

    Raises:
        BundleError: there is none, it is damaged, or it was made for other weights.
    """
    path = Path(path)
    if not path.is_dir():
        raise BundleError(f"There is no density at '{path}'; 'praxon density bundle={bundle.path}' makes one.")
    _, contents = read_manifested(path, FILES, FORMAT_VERSION, "density")
    try:
        info = DensityInfo(**json.loads(contents[DESCRIPTION]))
    except (TypeError, ValueError) as error:
        raise BundleError(f"The density '{path}' cannot be used: {error}.") from error
    if info.weights != bundle.weights:
        raise BundleError(
            f"The density '{path}' was made for a bundle with the weights {info.weights[:12]}, and those of '{bundle.path}' are "
            f"{bundle.weights[:12]}; 'praxon density bundle={bundle.path}' makes one for it."
        )
    try:
        features = ChunkFeatures(bundle.policy, info.internal, info.sampler, info.seed)
        network = CoinFlips(info.size, info.flips, info.width)
        network.load_state_dict(safetensors.torch.load(contents[TENSORS]))
    except (ConfigError, TypeError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        raise BundleError(f"The density '{path}' cannot be used: {error}") from error
    return PseudoCount(features, network.to(bundle.policy.device), info)


class Density(Selector):
    """The most familiar candidate: with r = |f|^2 / d = 1/N, the score is -r / (1 + r) = -1 / (1 + N).

    So it lies between -1 for what looks like nothing that was seen and 0 for what was seen often, however strange a candidate is:
    next to other selectors one may weigh it.

    Args:
        pseudo_count: of the policy that draws the candidates.
    """

    def __init__(self, pseudo_count: PseudoCount) -> None:
        self.pseudo_count = pseudo_count

    def scores(self, chunks_NTA: np.ndarray, window: Window, plan: PlannedRows | None) -> np.ndarray:
        """See ``Selector.scores``; what is not finite in a candidate stays its own affair."""
        policy = self.pseudo_count.features.policy
        batch = {**window, policy.contract.action.name: chunks_NTA.astype(np.float32)}
        rarity_N: np.ndarray = self.pseudo_count.rarity(*tensors_of(policy, batch)).cpu().numpy()
        return -rarity_N / (1.0 + rarity_N)
