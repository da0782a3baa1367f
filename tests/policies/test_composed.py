"""Composition: what must be exact is exact, what must be equal is refused where it is not, and the result is an ordinary bundle."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from praxon.errors import ConfigError
from praxon.policies.build import build_policy
from praxon.policies.bundle import load_bundle, save_bundle
from praxon.policies.composed import compose
from praxon.policies.denoising.backends.registry import Serving, make_runtime
from praxon.policies.denoising.continuation import Plan

ENCODER = {"_target_": "praxon.policies.networks.encoders.ObservationEncoder", "width": 16}
NETWORKS = {
    "transformer": {"_target_": "praxon.policies.networks.transformer.TransformerDenoiser", "size": "tiny"},
    "causal": {"_target_": "praxon.policies.networks.causal_transformer.CausalTransformer", "size": "tiny"},
    "unet": {"_target_": "praxon.policies.networks.unet1d.UNet1D", "size": "tiny"},
}
KINDS = {
    "flow": ("praxon.policies.flow_matching.FlowMatchingPolicy", {"steps": 3}),
    "diffusion": ("praxon.policies.diffusion.DiffusionPolicy", {"steps": 3}),
    "shortcut": ("praxon.policies.shortcut.ShortcutPolicy", {"steps": 2}),
    "beso": ("praxon.policies.beso.BesoPolicy", {"goals": ["observation.state"]}),
    "factorized": ("praxon.policies.factorized.FactorizedPolicy", {"steps": 3}),
    "energy": ("praxon.policies.energy.EnergyPolicy", {"max_steps": 3}),
}


@pytest.fixture
def make(contract, statistics_of, tmp_path):
    """A bundle of random weights that matter."""

    def bundle(name, kind="flow", network="transformer", seed=0, of=contract, spread=None, **options):
        target, settings = KINDS[kind]
        described = NETWORKS[network]
        if kind == "energy":
            described = {"_target_": "praxon.policies.networks.energy_transformer.EnergyTransformer", "width": 16}
            described |= {"depth": 1, "num_heads": 2}
        torch.manual_seed(seed)
        config = {"_target_": target, "encoder": ENCODER, "network": described, **settings, **options}
        policy = build_policy(config, of)
        statistics = statistics_of(policy.contract)
        if spread is not None:
            statistics["action"]["std"] = np.full_like(statistics["action"]["std"], spread)
        policy.normalizer.fit(statistics)
        with torch.no_grad():
            for parameter in policy.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        save_bundle(tmp_path / name, policy, {"policy": config})
        return load_bundle(tmp_path / name)

    return bundle


def inputs_of(policy, batch, count=3):
    window = {feature.name: batch[feature.name][:1] for feature in policy.contract.observations}
    return window, policy.noise(count, torch.Generator().manual_seed(1))


@torch.no_grad()
def drawn(policy, batch, plan=None):
    return policy.eval().sample(*inputs_of(policy, batch), plan)


@pytest.mark.parametrize("kind", KINDS)
def test_a_policy_composed_with_itself_is_itself(kind, make, batch_of):
    one = make("one", kind)
    batch = batch_of(one.contract, 1)
    both, _ = compose([one, one], [0.3, 0.7])
    wanted = drawn(one.policy, batch)
    assert wanted.std() > 0.05
    torch.testing.assert_close(drawn(both, batch), wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["flow", "diffusion", "shortcut", "beso"])
@pytest.mark.parametrize("network", NETWORKS)
def test_all_weight_on_one_parent_is_that_parent_to_the_bit(kind, network, make, batch_of):
    one, other = make("one", kind), make("other", kind, network, seed=1)
    batch = batch_of(one.contract, 1)
    for weights, wanted in (([1, 0], one), ([0, 1], other)):
        policy, _ = compose([one, other], weights)
        assert torch.equal(drawn(policy, batch), drawn(wanted.policy, batch))


def test_one_step_is_the_weighted_mean_of_the_parents(make, batch_of):
    """Where the network is asked once, at one x, the sample is affine in the prediction."""
    one, other = make("one", steps=1), make("other", network="unet", seed=1, steps=1)
    batch = batch_of(one.contract, 1)
    policy, _ = compose([one, other], [0.25, 0.75])
    mean = 0.25 * drawn(one.policy, batch) + 0.75 * drawn(other.policy, batch)
    torch.testing.assert_close(drawn(policy, batch), mean, atol=1e-6, rtol=1e-5)


def test_parents_may_see_different_things(make, contract, batch_of, tmp_path):
    state, scene = contract.observations
    camera = replace(scene, name="observation.other", source="other")
    wide = replace(contract, observations=(scene, camera), latency_budget_s=0.05)
    one = make("one", of=contract)
    other = make("other", network="unet", seed=1, of=wide, encoder={**ENCODER, "width": 24})
    policy, config = compose([one, other], [0.5, 0.5])
    assert [feature.name for feature in policy.contract.observations] == [state.name, scene.name, camera.name]
    assert policy.contract.latency_budget_s == 0.05
    assert [parent["observations"] for parent in config["parents"]] == [
        [state.name, scene.name],
        [scene.name, camera.name],
    ]
    save_bundle(tmp_path / "both", policy, {"policy": config})
    batch = batch_of(policy.contract, 1)
    loaded = load_bundle(tmp_path / "both").policy
    assert torch.equal(drawn(loaded, batch), drawn(policy, batch))
    elsewhere = drawn(policy, batch | {camera.name: batch[camera.name] + 1.0})
    assert not torch.allclose(elsewhere, drawn(policy, batch), atol=1e-3)


def test_compositions_are_composed_and_drawn_another_way(make, batch_of, tmp_path):
    one, other = make("one"), make("other", seed=1)
    policy, config = compose([one, other], [0.5, 0.5])
    save_bundle(tmp_path / "both", policy, {"policy": config})
    three, _ = compose([load_bundle(tmp_path / "both"), one], [0.8, 0.2])
    wanted, _ = compose([one, other], [0.6, 0.4])
    batch = batch_of(one.contract, 1)
    torch.testing.assert_close(drawn(three, batch), drawn(wanted, batch), atol=1e-6, rtol=1e-5)
    for each in (policy, one.policy, other.policy):
        each.configure_engine({"solver": "heun", "steps": 2})
    first, _ = compose([one, other], [1, 0])
    assert torch.equal(drawn(first, batch), drawn(one.policy, batch))
    with pytest.raises(ConfigError, match="Did you mean 'steps'"):
        policy.configure_engine({"stepz": 4})


def test_parents_are_composed_as_they_are_drawn_from_not_as_they_were_trained(make, batch_of, tmp_path):
    one, other = make("one"), make("other", seed=1, steps=5, solver="heun")
    one.policy.configure_engine({"solver": "midpoint", "steps": 2})
    other.policy.configure_engine({"solver": "midpoint", "steps": 2})
    policy, config = compose([one, other], [0.0, 1.0])
    save_bundle(tmp_path / "both", policy, {"policy": config})
    batch = batch_of(one.contract, 1)
    loaded = load_bundle(tmp_path / "both")
    assert loaded.engine["solver"] == "midpoint"
    assert torch.equal(drawn(loaded.policy, batch), drawn(other.policy, batch))


@pytest.mark.parametrize("method", ["guided", "prefix", "streaming"])
def test_a_composition_continues_chunks_as_its_parents_do(method, make, batch_of):
    delays = {"prefix": {"prefix_delays": [1, 1, 1]}, "streaming": {"streaming": 0.5}}.get(method, {})
    one, other = make("one", **delays), make("other", network="causal", seed=1, **delays)
    batch = batch_of(one.contract, 1)
    plan = Plan(batch["action"], torch.tensor([[1.0, 1.0, 0.5, 0.2, 0, 0, 0, 0]]))
    for bundle in (one, other):
        bundle.policy.configure_engine({"method": method})
    policy, _ = compose([one, other], [0, 1])
    assert policy.continues
    torch.testing.assert_close(drawn(policy, batch, plan), drawn(other.policy, batch, plan), atol=1e-6, rtol=1e-5)
    assert not torch.allclose(drawn(policy, batch, plan), drawn(policy, batch), atol=1e-3)


def test_frozen_and_served_it_draws_the_same(make, batch_of, tmp_path):
    policy, config = compose([make("one"), make("other", network="unet", seed=1)], [0.5, 0.5])
    save_bundle(tmp_path / "both", policy, {"policy": config})
    batch = batch_of(policy.contract, 1)
    window, noise = inputs_of(policy, batch)
    runtime = make_runtime(load_bundle(tmp_path / "both"), Serving())
    served = runtime.chunks({name: value.numpy() for name, value in window.items()}, noise.numpy())
    np.testing.assert_allclose(served, drawn(policy, batch).numpy(), atol=1e-6)
    names = [block.name for block in policy.network.block_names]
    assert len(set(names)) == len(names)
    assert {name[0] for name in names} == {"0", "1"}


def test_it_is_exported_like_any_other(make, batch_of, tmp_path):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    policy, config = compose([make("one", steps=1), make("other", seed=1, steps=1)], [0.5, 0.5])
    save_bundle(tmp_path / "both", policy, {"policy": config})
    batch = batch_of(policy.contract, 1)
    window, noise = inputs_of(policy, batch)
    runtime = make_runtime(load_bundle(tmp_path / "both"), Serving("onnx", batch=3))
    served = runtime.chunks({name: value.numpy() for name, value in window.items()}, noise.numpy())
    np.testing.assert_allclose(served, drawn(policy, batch).numpy(), atol=1e-4)


def test_what_must_be_equal_is_refused_with_both_sides(make, contract):
    one = make("one")
    assert contract.chunk.horizon == 8
    for other, found in (
        (make("kind", "diffusion"), r"sampler \(FlowSampler and DiffusionSampler\)"),
        (make("steps", steps=5), r"engine\.steps \(3 and 5\)"),
        (make("noise", noise_scale=0.5), r"engine\.noise_scale \(1\.0 and 0\.5\)"),
        (make("chunk", chunk={"horizon": 16}), r"chunk\.horizon \(8 and 16\)"),
        (make("period", of=contract.with_chunk(control_period_s=0.1)), r"chunk\.control_period_s \(0\.05 and 0\.1\)"),
        (make("robot", of=replace(contract, robot="other")), r"robot \(toy and other\)"),
        (make("spread", spread=0.7), r"spread of the action's normalisation \(\(0\.5, 0\.5, 0\.5\) and \(0\.7"),
        (make("lead", lead=1), r"lead \(0 and 1\)"),
    ):
        with pytest.raises(ConfigError, match=found) as refused:
            compose([one, other], [0.5, 0.5])
        assert str(one.path) in str(refused.value)
        assert str(other.path) in str(refused.value)


def test_diffusion_by_another_schedule_or_prediction_is_refused(make):
    one = make("one", "diffusion", steps=2)
    with pytest.raises(ConfigError, match=r"prediction \(sample and epsilon\)"):
        compose([one, make("a", "diffusion", steps=2, prediction="epsilon")], [0.5, 0.5])
    with pytest.raises(ConfigError, match=r"noise level 0 \("):
        compose([one, make("b", "diffusion", steps=2, betas="linear")], [0.5, 0.5])


def test_weights_and_parents_that_cannot_be(make, contract, statistics_of, tmp_path):
    one = make("one")
    for weights in ([0.5, 0.6], [1.5, -0.5], [float("nan"), 0.5]):
        with pytest.raises(ConfigError, match="at least 0 and their sum is 1"):
            compose([one, one], weights)
    with pytest.raises(ConfigError, match="2 parents needs as many weights"):
        compose([one, one], [1.0])
    with pytest.raises(ConfigError, match="at least two parents; got 1"):
        compose([one], [1.0])
    act = {
        "_target_": "praxon.policies.act.ActPolicy",
        "encoder": ENCODER,
        "network": {"size": "small"},
    }
    policy = build_policy(act, contract)
    policy.normalizer.fit(statistics_of(contract))
    save_bundle(tmp_path / "act", policy, {"policy": act})
    with pytest.raises(ConfigError, match="ActPolicy, which does not denoise"):
        compose([one, load_bundle(tmp_path / "act")], [0.5, 0.5])
    composed, _ = compose([one, one], [0.5, 0.5])
    with pytest.raises(ConfigError, match="is not trained; train its parents"):
        composed.error(torch.zeros(1, 8, 3), torch.zeros(1, 1, 1), torch.Generator())
