"""Block-wise caching: schedules against brute force and by hand, and loops that run exactly the blocks that are scheduled."""

from itertools import combinations

import numpy as np
import pytest
import torch

from praxon.errors import BundleError, ConfigError
from praxon.policies.build import build_policy
from praxon.policies.bundle import load_bundle, save_bundle
from praxon.policies.denoising.block_cache import CacheSchedule
from praxon.policies.denoising.calibration import BlockRecorder, Changes, best_updates, bubble, make_updates
from praxon.policies.networks.blocks import BlockName
from praxon.policies.networks.causal_transformer import CausalTransformer
from praxon.policies.networks.transformer import TransformerDenoiser
from praxon.policies.networks.unet1d import UNet1D

NETWORKS = {
    "transformer": (TransformerDenoiser, {"size": "tiny"}),
    "causal": (CausalTransformer, {"size": "tiny"}),
    "unet": (UNet1D, {"size": "tiny"}),
}


def lively(module):
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module


@pytest.fixture
def policy(contract, statistics_of):
    torch.manual_seed(0)
    built = build_policy(
        {
            "_target_": "praxon.policies.flow_matching.FlowMatchingPolicy",
            "encoder": {"_target_": "praxon.policies.networks.encoders.ObservationEncoder", "width": 16},
            "network": {"_target_": "praxon.policies.networks.transformer.TransformerDenoiser", "size": "tiny"},
            "steps": 6,
        },
        contract,
    )
    built.normalizer.fit(statistics_of(contract))
    return lively(built).eval()


def window_of(contract, batch):
    return {feature.name: batch[feature.name] for feature in contract.observations}


def served(similarity, updates):
    """What a schedule is worth: the similarity of every reused output to the one that would have been computed."""
    last, total = 0, 0.0
    for step in range(len(similarity)):
        if step in updates:
            last = step
        else:
            total += similarity[last, step]
    return total


@pytest.mark.parametrize("count", range(1, 8))
def test_updates_are_the_best_of_all(count):
    random = np.random.default_rng(count)
    similarity = random.uniform(-1, 1, (7, 7))
    found = best_updates(similarity, count)
    every = [(0, *rest) for rest in combinations(range(1, 7), count - 1)]
    assert len(found) == count
    assert found[0] == 0
    assert served(similarity, found) == pytest.approx(max(served(similarity, each) for each in every))


def test_outputs_that_change_in_jumps_are_updated_at_the_jumps():
    level = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    assert best_updates((level[:, None] == level).astype(float), 3) == (0, 3, 5)


def test_bubbling_joins_what_is_run_behind():
    blocks = [
        BlockName("0.self", False),
        BlockName("0.mlp", True),
        BlockName("1.self", False),
        BlockName("1.mlp", True),
    ]
    updates = {"0.self": (0, 5), "0.mlp": (0, 2), "1.self": (0, 4), "1.mlp": (0, 3)}
    volatility = {"0.self": 1.0, "0.mlp": 0.1, "1.self": 3.0, "1.mlp": 0.2}
    assert bubble(updates, blocks, volatility, 0) == updates
    assert bubble(updates, blocks, volatility, 1) == updates | {"1.self": (0, 3, 4)}
    assert bubble(updates, blocks, volatility, 2) == updates | {"1.self": (0, 3, 4), "0.self": (0, 2, 3, 5)}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_runs_the_blocks_it_names_in_their_order(name):
    kind, settings = NETWORKS[name]
    torch.manual_seed(0)
    network = lively(kind(3, 8, 2, 16, **settings)).eval()
    x, tokens = torch.randn(2, 8, 3), torch.randn(2, 2, 16)
    modulation, condition, seen = network.modulation(torch.tensor([[0.3]])), network.condition(tokens), []

    def run(name, compute):
        seen.append(name)
        return compute()

    plain = network.denoise(x, modulation, condition)
    assert torch.equal(network.denoise(x, modulation, condition, run=run), plain)
    assert seen == [block.name for block in network.block_names]
    for skipped in seen:  # and each matters
        without = network.denoise(
            x, modulation, condition, run=lambda name, compute, s=skipped: compute() * (name != s)
        )
        assert not torch.allclose(without, plain, atol=1e-6)


def schedule_for(policy, updates, evaluations=6, weights="w"):
    return CacheSchedule(updates, evaluations, policy.engine.sampler.settings(), weights)


def test_all_blocks_at_all_steps_is_the_plain_loop_and_fewer_is_not(policy, contract, batch_of):
    window, names = window_of(contract, batch_of(contract, 3)), [b.name for b in policy.network.block_names]
    noise = policy.noise(3, torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = policy.sample(window, noise)
        every = schedule_for(policy, {name: tuple(range(6)) for name in names})
        policy.configure_engine({"cache": every.to_dict()})
        assert torch.equal(policy.sample(window, noise), plain)
        some = schedule_for(policy, dict.fromkeys(names, (0, 3)))
        policy.configure_engine({"cache": some.to_dict()})
        assert some.share_run == pytest.approx(1 / 3)
        first, second = policy.sample(window, noise), policy.sample(window, noise)
    assert torch.equal(first, second)  # nothing is kept from one chunk to the next
    assert 1e-6 < (first - plain).abs().max() < 1.0


def test_reused_blocks_give_what_they_gave_last(policy, contract, batch_of):
    # A network whose only changing block is reused behaves as one whose block answers as at the update.
    window = window_of(contract, batch_of(contract, 1))
    noise = policy.noise(1, torch.Generator().manual_seed(0))
    names = [block.name for block in policy.network.block_names]
    kept, calls = {}, []

    class ByHand:
        def at(self, evaluation):
            def run(name, compute):
                if name != "0.mlp" or evaluation in (0, 4):
                    kept[name] = compute()
                    calls.append((evaluation, name))
                return kept[name]

            return run

    with torch.no_grad():
        by_hand = policy.sample(window, noise, blocks=ByHand())
        updates = {name: (0, 4) if name == "0.mlp" else tuple(range(6)) for name in names}
        policy.configure_engine({"cache": schedule_for(policy, updates).to_dict()})
        assert torch.equal(policy.sample(window, noise), by_hand)
    assert [evaluation for evaluation, name in calls if name == "0.mlp"] == [0, 4]


def calibrated(policy, contract, batch_of):
    changes = Changes()
    for seed in range(2):
        recorder = BlockRecorder()
        with torch.no_grad():
            policy.sample(
                window_of(contract, batch_of(contract, 2, seed)),
                policy.noise(2, torch.Generator().manual_seed(seed)),
                blocks=recorder,
            )
        assert {len(outputs) for outputs in recorder.outputs.values()} == {6}
        changes.add(recorder.outputs)
    return changes, make_updates(changes, policy.network.block_names, 3, bubbling=1)


def test_calibration_is_the_same_to_the_bit(policy, contract, batch_of):
    (changes, first), (again, second) = (calibrated(policy, contract, batch_of) for _ in range(2))
    assert first == second
    for block in policy.network.block_names:
        np.testing.assert_array_equal(changes.similarity(block.name), again.similarity(block.name))
        np.testing.assert_allclose(np.diag(changes.similarity(block.name)), 1.0)
        assert {0, 5} <= set(first[block.name])  # the first and the last are always run
    assert changes.observations == 4


def test_a_schedule_for_something_else_is_refused(policy, contract, tmp_path, batch_of):
    names = [block.name for block in policy.network.block_names]
    schedule = schedule_for(policy, dict.fromkeys(names, (0, 3)))
    assert CacheSchedule.from_dict(schedule.to_dict()) == schedule
    policy.configure_engine({"cache": schedule.to_dict()})
    with pytest.raises(ConfigError, match="another sampler: steps 6 there and 4 here; praxon calibrate"):
        policy.configure_engine({"steps": 4})
    with pytest.raises(ConfigError, match="another sampler: solver euler there and heun here"):
        policy.configure_engine({"solver": "heun"})
    policy.configure_engine({"cache": None, "steps": 4})
    other = CacheSchedule({"9.self": (0,)}, 4, policy.engine.sampler.settings(), "w")
    with pytest.raises(ConfigError, match=r"of the blocks 9\.self; this network has 0\.self"):
        policy.configure_engine({"cache": other.to_dict()})
    for steps in ([1, 2], [0, 0], [0, 9], []):
        with pytest.raises(ConfigError, match="they begin with 0, increase, and lie below 6"):
            CacheSchedule.from_dict(schedule.to_dict() | {"updates": {"0.self": steps}})
    policy.configure_engine({"steps": 6})
    policy.configure_engine({"cache": schedule.to_dict()})
    save_bundle(tmp_path / "bundle", policy, {"policy": config_of(policy)})
    with pytest.raises(BundleError, match="calibrated with other weights"):
        load_bundle(tmp_path / "bundle")


def config_of(policy):
    return {
        "_target_": "praxon.policies.flow_matching.FlowMatchingPolicy",
        "encoder": {"_target_": "praxon.policies.networks.encoders.ObservationEncoder", "width": 16},
        "network": {"_target_": "praxon.policies.networks.transformer.TransformerDenoiser", "size": "tiny"},
        "steps": 6,
    }
