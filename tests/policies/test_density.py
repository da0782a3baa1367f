"""Coin flips against counts that are known, features of policies, and densities that belong to one bundle alone."""

import json

import numpy as np
import pytest
import torch

from praxon.errors import BundleError, ConfigError
from praxon.policies.build import build_policy
from praxon.policies.bundle import load_bundle, save_bundle
from praxon.policies.denoising.backends.registry import Serving, make_runtime, open_runtime
from praxon.policies.density import (
    ChunkFeatures,
    CoinFlips,
    Density,
    default_path,
    features_of,
    load_density,
    make_density,
    train_flips,
)

COUNTS = (1, 2, 4, 8, 16, 32)
ENCODER = {"_target_": "praxon.policies.networks.encoders.ObservationEncoder", "width": 16}
POLICIES = {
    "flow": ("flow_matching.FlowMatchingPolicy", "transformer.TransformerDenoiser", {"steps": 2}),
    "diffusion": ("diffusion.DiffusionPolicy", "unet1d.UNet1D", {"steps": 4, "lead": 0}),
    "lead": ("flow_matching.FlowMatchingPolicy", "causal_transformer.CausalTransformer", {"steps": 1, "lead": 1}),
    "shortcut": ("shortcut.ShortcutPolicy", "transformer.TransformerDenoiser", {"steps": 1}),
    "beso": ("beso.BesoPolicy", "transformer.TransformerDenoiser", {"goals": ["observation.state"]}),
    "energy": ("energy.EnergyPolicy", "energy_transformer.EnergyTransformer", {"max_steps": 2}),
}


@pytest.fixture
def make(contract, statistics_of, tmp_path):
    def bundle(kind="flow", name="bundle", seed=0):
        target, network, options = POLICIES[kind]
        size = {"width": 16, "depth": 1, "num_heads": 2} if kind == "energy" else {"size": "tiny"}
        config = {
            "_target_": f"praxon.policies.{target}",
            "encoder": ENCODER,
            "network": {"_target_": f"praxon.policies.networks.{network}", **size},
            **options,
        }
        torch.manual_seed(seed)
        policy = build_policy(config, contract)
        policy.normalizer.fit(statistics_of(policy.contract))
        with torch.no_grad():
            for parameter in policy.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        save_bundle(tmp_path / name, policy, {"policy": config})
        return load_bundle(tmp_path / name)

    return bundle


def data_of(contract, batch_of, size):
    """Samples by index, as windows give them."""
    batch = {name: value.numpy() for name, value in batch_of(contract, size).items()}
    return lambda indices: {name: value[indices] for name, value in batch.items()}


# -- coin flips ---------------------------------------------------------------------------------------------------------


def test_the_norm_falls_as_one_over_the_number_of_repeats():
    """Points far apart, each there 1 to 32 times.

    The best answer to N repeats is the mean of their flips. Its square has the mean 1/N and, over d flips, a relative standard
    deviation of sqrt(2 (1 - 1/N) / d): 0.088 for d = 256, so that four of them, and a little for the training, are 40 %.
    """
    torch.manual_seed(0)
    points = 4.0 * torch.randn(len(COUNTS), 8)
    features = points.repeat_interleave(torch.tensor(COUNTS), dim=0)
    network = CoinFlips(8, flips=256, width=64)
    train_flips(network, features, steps=600)
    with torch.no_grad():
        rarity = network.rarity(points)
    counted = rarity * torch.tensor(COUNTS)
    assert (counted - 1.0).abs().max() < 0.4, counted
    # A flip of its own is known by heart; so is the mean of any number of them, by whoever drew them.
    assert rarity[0] == pytest.approx(1.0, abs=0.05)
    generator = torch.Generator().manual_seed(0)
    flips = 2.0 * torch.randint(2, (len(features), 256), generator=generator) - 1.0
    means = torch.stack([part.mean(dim=0) for part in flips.split(COUNTS)])
    torch.testing.assert_close(rarity, means.square().mean(dim=1), atol=0.03, rtol=0.1)


def test_what_was_never_seen_is_rare():
    """Forty samples of either of two clusters; between and beyond them there are none."""
    torch.manual_seed(0)
    near = torch.cat([0.05 * torch.randn(40, 4) + 1.0, 0.05 * torch.randn(40, 4) - 1.0])
    network = CoinFlips(4, flips=128, width=64)
    train_flips(network, near, steps=300)
    with torch.no_grad():
        seen = network.rarity(torch.tensor([[1.0] * 4, [-1.0] * 4]))
        unseen = network.rarity(torch.tensor([[1.0, -1.0, 1.0, -1.0], [-1.0, 1.0, 1.0, 1.0], [4.0] * 4]))
    assert seen.max() < 0.2
    assert unseen.min() > 2 * seen.max()


def test_features_of_any_scale_and_constant_ones_are_standardised():
    torch.manual_seed(0)
    features = torch.randn(200, 3) * torch.tensor([1e3, 1.0, 0.0]) + 7.0
    network = CoinFlips(3, flips=8, width=16)
    network.fit_scales(features)
    standard = network._standard(features)
    assert standard[:, 0].std() == pytest.approx(1.0, abs=0.01)
    assert standard[:, 2].abs().max() < 1e-3
    prior = (network(features) - network.network(standard)).detach()
    torch.testing.assert_close(prior.std(dim=0, unbiased=False), torch.ones(8), atol=1e-4, rtol=0)


# -- features -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", POLICIES)
def test_features_are_a_function_of_observation_and_chunk_alone(kind, make, batch_of):
    policy = make(kind).policy
    batch = batch_of(policy.contract, 5)
    window = {feature.name: batch[feature.name] for feature in policy.contract.observations}
    features = features_of(policy)
    assert features.internal == (kind != "energy")  # which follows no path from noise
    found = features(window, batch["action"])
    assert found.shape[0] == 5
    one = {name: value[2:3] for name, value in window.items()}
    torch.testing.assert_close(features(one, batch["action"][2:3])[0], found[2], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(features(one, batch["action"])[2], found[2], atol=1e-5, rtol=1e-4)  # one for all chunks
    assert not torch.allclose(features(one, batch["action"][1:2])[0], found[2], atol=1e-3)
    other = {name: value[1:2] for name, value in window.items()}
    assert not torch.allclose(features(other, batch["action"][2:3])[0], found[2], atol=1e-3)


def test_features_do_not_change_with_how_chunks_are_drawn(make, batch_of):
    policy = make().policy
    batch = batch_of(policy.contract, 3)
    found = features_of(policy)(batch, batch["action"])
    settings = features_of(policy).sampler
    policy.configure_engine({"solver": "heun", "steps": 5})
    assert torch.equal(ChunkFeatures(policy, True, settings)(batch, batch["action"]), found)


def test_the_level_is_kept_whose_clean_chunk_is_nearest(make, batch_of, monkeypatch):
    """A network that is right at one level, and shows what level it was asked for."""
    policy = make().policy
    features = features_of(policy)
    batch = batch_of(policy.contract, 2)
    clean = policy.encode_actions(batch)
    levels = list(features._levels)
    for right in levels:
        asked = iter(levels)

        def denoise(noisy, modulation, condition, shown, asked=asked, right=right):
            level = next(asked)
            shown.append(torch.full((2, 1, 1), float(level)))
            return features._sampler.prediction(noisy, clean + (0.0 if level == right else 1.0), level)

        monkeypatch.setattr(policy.network, "denoise", denoise)
        assert features(batch, batch["action"]).tolist() == [[right], [right]]


# -- densities ----------------------------------------------------------------------------------------------------------


def test_a_demonstrated_chunk_is_more_familiar_than_that_of_another_moment(make, batch_of):
    """Every one of 64 moments is there twenty times: 1/20, to within sqrt(2 / 64) / sqrt(64) over all of them, and four of those.

    A chunk of another moment is somewhere among the data; the network, which was never trained, tells moments apart by little.
    Half would be chance, with a standard deviation of 1/16. Two spreads away from its own there are no data at all.
    """
    bundle = make()
    samples = data_of(bundle.contract, batch_of, 64)
    density = make_density(bundle, lambda indices: samples(indices % 64), 64 * 20, steps=600, flips=64, width=64)
    batch = {name: torch.from_numpy(value) for name, value in samples(np.arange(64)).items()}
    own = density.rarity(batch, batch["action"])
    assert own.mean() == pytest.approx(1 / 20, rel=0.15)
    another = density.rarity(batch, batch["action"].roll(1, dims=0))
    assert (own < another).float().mean() > 0.5 + 4 / 16
    assert (own < density.rarity(batch, batch["action"] + 1.0)).all()


def test_it_is_written_read_and_chooses_in_serving(make, batch_of):
    bundle = make()
    samples = data_of(bundle.contract, batch_of, 32)
    density = make_density(bundle, samples, 32, steps=20, flips=8, width=16)
    density.save(default_path(bundle.path))
    assert sorted(path.name for path in default_path(bundle.path).iterdir()) == [
        "density.json",
        "density.safetensors",
        "manifest.json",
    ]
    loaded = load_density(default_path(bundle.path), load_bundle(bundle.path))
    batch = {name: torch.from_numpy(value) for name, value in samples(np.arange(5)).items()}
    assert torch.equal(loaded.rarity(batch, batch["action"]), density.rarity(batch, batch["action"]))

    window = {feature.name: samples(np.arange(1))[feature.name] for feature in bundle.contract.observations}
    runtime = open_runtime(bundle.path, serving={"candidates": 6, "selection": {"density": 1}})
    noise = runtime.draw_noise(1, np.random.default_rng(0))
    candidates = make_runtime(bundle, Serving()).chunks(window, noise[0])
    scores = Density(density).scores(candidates, window, None)
    tensors = {name: torch.from_numpy(value) for name, value in window.items()}
    rarity = density.rarity(tensors, torch.from_numpy(candidates)).numpy()
    np.testing.assert_allclose(scores, -1 / (1 + 1 / rarity), rtol=1e-5)
    assert scores.argmax() == rarity.argmin()
    assert np.ptp(scores) > 1e-4
    np.testing.assert_allclose(runtime.chunks(window, noise)[0], candidates[scores.argmax()], atol=1e-5)
    candidates[2, 3] = np.nan
    scores = Density(density).scores(candidates, window, None)
    assert np.flatnonzero(~np.isfinite(scores)).tolist() == [2]


def test_the_same_seed_gives_the_same_density(make, batch_of, tmp_path):
    bundle = make()
    samples = data_of(bundle.contract, batch_of, 32)
    written = [
        make_density(bundle, samples, 32, steps=5, flips=8, width=16, seed=seed).save(tmp_path / f"{index}")
        for index, seed in enumerate((3, 3, 4))
    ]
    assert written[0] == written[1] != written[2]


def test_a_density_that_is_not_there_damaged_or_of_other_weights_is_refused(make, batch_of, tmp_path):
    bundle, other = make(), make(name="other", seed=1)
    density = make_density(bundle, data_of(bundle.contract, batch_of, 8), 8, steps=2, flips=4, width=8)
    path = tmp_path / "density"
    with pytest.raises(BundleError, match=f"There is no density at '{path}'; 'praxon density bundle="):
        load_density(path, bundle)
    density.save(path)
    with pytest.raises(
        BundleError, match=f"made for a bundle with the weights {bundle.weights[:12]}.*{other.weights[:12]}"
    ):
        load_density(path, other)
    with pytest.raises(BundleError, match="There is no density at"):
        open_runtime(bundle.path, serving={"candidates": 2, "selection": {"density": 1}})
    description = json.loads((path / "density.json").read_text())
    (path / "density.json").write_text(json.dumps(description | {"flips": 5}))
    with pytest.raises(BundleError, match="SHA-256 has changed"):
        load_density(path, bundle)
    with pytest.raises(ConfigError, match="needs samples of at least 2; got 1"):
        make_density(bundle, data_of(bundle.contract, batch_of, 8), 1, steps=2)
