"""Refined policies and their learner: identities at the start, bounds, critics that are believed, a round trip."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from praxon.contract import Chunk, Feature, PolicyContract
from praxon.errors import ConfigError
from praxon.learning.rl.decisions import Decision
from praxon.learning.rl.refining import BASE, LATENT, NEXT_BASE, refinement_learner
from praxon.learning.rl.rlpd import RlpdSettings
from praxon.learning.rl.rounds import save_refined
from praxon.learning.rl.transitions import transitions_of, window_at
from praxon.policies.build import CONTRACT_KEYS, build_policy_for
from praxon.policies.bundle import load_bundle, save_bundle
from praxon.policies.refined import RefinedPolicy
from praxon.policies.refinement import Edit, Sizes, best_of, ramps
from praxon.targets import load_option

torch.set_num_threads(1)
KINDS = {
    "BestOfN": {"candidates": 3},
    "Residual": {"hidden": (16,)},
    "Edit": {"candidates": 3, "hidden": (16,)},
    "LatentNoise": {"candidates": 3, "hidden": (16,)},
}
SETTINGS = RlpdSettings(hidden=(16,), critics=3, updates=2, batch_size=8, temperature=0.1)


@pytest.fixture
def contract():
    pose = ("x", "y", "z", "qw", "qx", "qy", "qz")
    return PolicyContract(
        robot="toy",
        task="toy",
        observations=(
            Feature("observation.state", "joint_position", (2,), ("a", "b"), unit="rad"),
            Feature("observation.cube_pose", "pose", (7,), pose, unit="m,m,m,1,1,1,1", frame="base"),
            Feature("observation.goal_pose", "pose", (7,), pose, unit="m,m,m,1,1,1,1", frame="base"),
        ),
        action=Feature("action", "joint_position", (2,), ("a", "b"), unit="rad"),
        chunk=Chunk(horizon=6, num_execute=4, control_period_s=0.05, num_obs_steps=2),
    )


def described(kind):
    return {
        "_target_": "praxon.policies.refined.RefinedPolicy",
        "base": {
            "_target_": "praxon.policies.flow_matching.FlowMatchingPolicy",
            "encoder": {"_target_": "praxon.policies.networks.encoders.ObservationEncoder", "width": 16},
            "network": {"_target_": "praxon.policies.networks.transformer.TransformerDenoiser", "size": "tiny"},
            "steps": 2,
            "actions": "relative",
        },
        "refinement": {"_target_": f"praxon.policies.refinement.{kind}", **KINDS[kind]},
        "critics": 3,
        "hidden": (16,),
    }


def make(contract, kind, seed=0, informed=True) -> RefinedPolicy:
    torch.manual_seed(seed)
    policy = build_policy_for(described(kind), contract)
    for normalizer in (policy.normalizer, policy.base.normalizer):
        for part in normalizer.features.values():
            part.center.zero_()
            part.spread.fill_(1.0)
            if hasattr(part, "hemisphere"):
                part.hemisphere.copy_(torch.tensor([1.0, 0, 0, 0]))
    policy.refinement.informed.fill_(float(informed))
    return policy.eval()


def window(contract, count=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for feature in contract.observations:
        found[feature.name] = torch.randn(count, 2, *feature.shape, generator=generator)
        if feature.kind == "pose":
            found[feature.name][..., 3:] = torch.tensor([1.0, 0, 0, 0])
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_until_something_is_learned_the_policy_below_does_what_it_did(contract, kind):
    policy, seen = make(contract, kind, informed=False), window(contract, 2)
    noise = policy.noise(2, torch.Generator().manual_seed(1))
    with torch.inference_mode():
        state, latent, base, chosen = policy.propose(seen, noise)
        drawn = policy.sample(seen, noise)
    count = policy.refinement.candidates
    assert base.shape == (2, count, 6, 2)
    assert latent.shape == (2, count, 12)
    # Nobody chooses before something was learned; and candidate n is what the policy below draws from noise n.
    assert torch.equal(chosen, base[:, 0])
    single = {name: value[:1] for name, value in seen.items()}
    with torch.inference_mode():
        alone = policy.base.sample(single, noise[0, :1])
    torch.testing.assert_close(policy.decode_actions(base[0, :1], single), alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(drawn, policy.decode_actions(chosen, seen))
    # One observation may serve several noises.
    one = {name: value[:1] for name, value in seen.items()}
    with torch.inference_mode():
        torch.testing.assert_close(policy.sample(one, noise)[0], drawn[0], atol=1e-5, rtol=1e-5)
    way = (seen["observation.goal_pose"][:, -1, :3] - seen["observation.cube_pose"][:, -1, :3]) / 0.1
    torch.testing.assert_close(state[:, -3:], way.clamp(-10, 10))


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_draws_the_same(contract, kind, tmp_path):
    policy, seen = make(contract, kind), window(contract)
    save_bundle(tmp_path / "b", policy, {"policy": described(kind)})
    again = load_bundle(tmp_path / "b").policy
    noise = policy.noise(1, torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(policy.sample(seen, noise), again.sample(seen, noise))
    with pytest.raises(ConfigError, match="refined already"):
        build_policy_for({**described(kind), "base": described(kind)}, contract)


def test_the_best_is_at_least_as_good_with_more_to_choose_from():
    chunks = torch.randn(50, 16, 6, 2, generator=torch.Generator().manual_seed(0))

    def value(states, many):
        return torch.stack([many.sum(dim=(1, 2)), many.sum(dim=(1, 2)) + 1])

    states = torch.zeros(50, 1)
    worth = [value(None, best_of(value, states, chunks[:, :n])).mean(dim=0) for n in (1, 2, 4, 16)]
    for fewer, more in pairwise(worth):
        assert (more >= fewer).all()
    assert worth[-1].mean() > worth[0].mean() + 1
    assert torch.equal(best_of(value, states, chunks)[0], chunks[0, chunks[0].sum(dim=(1, 2)).argmax()])


def test_a_move_begins_at_nothing_and_stays_what_it_became():
    one = ramps(6, 4, 1)[:, 0]
    torch.testing.assert_close(one, torch.tensor([0.25, 0.5, 0.75, 1.0, 1.0, 1.0]))
    two = ramps(6, 4, 2)
    torch.testing.assert_close(two[:, 0], torch.tensor([0.5, 1.0, 0.5, 0.0, 0.0, 0.0]))
    torch.testing.assert_close(two[:, 1], torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0, 1.0]))


@pytest.mark.parametrize("kind", ["Residual", "Edit"])
def test_no_row_moves_by_more_than_was_allowed(contract, kind):
    policy = make(contract, kind)
    chunks = torch.randn(100, 6, 2)
    moved = policy.refinement.moved(chunks, torch.empty(100, 4).uniform_(-1, 1))
    assert (moved - chunks).abs().max() <= policy.refinement.scale + 1e-6
    assert (moved - chunks).abs().max() > 0.5 * policy.refinement.scale


def batches(policy, reward, seed=0, mask=0.0):
    """Batches whose reward is a function of the chunk; candidates anywhere."""
    rng = torch.Generator().manual_seed(seed)
    sizes, count = policy.sizes, policy.refinement.candidates

    def draw():
        base = torch.randn(64, count, sizes.rows, sizes.components, generator=rng)
        action = base[:, 0] + 0.3 * torch.randn(base[:, 0].shape, generator=rng)
        return {
            "state": torch.zeros(64, sizes.state),
            "next_state": torch.zeros(64, sizes.state),
            "action": action[:, : sizes.execute].flatten(1),
            "reward": reward(action[:, : sizes.execute]),
            "discount": torch.full((64,), 0.9),
            "mask": torch.full((64,), mask),
            BASE: base,
            NEXT_BASE: base,
            LATENT: torch.randn(64, count, sizes.noise, generator=rng),
        }

    return draw


@pytest.mark.parametrize("kind", ["BestOfN", "Residual", "Edit"])
def test_what_critics_learned_is_what_is_chosen(contract, kind):
    """The reward is the mean of the first component: chunks that have more of it are chosen, and made to have more."""
    policy = make(contract, kind)
    settings = RlpdSettings(hidden=(16,), critics=3, updates=2, batch_size=64, temperature=0.01, learning_rate=3e-3)
    learner = refinement_learner(policy, settings)
    draw = batches(policy, lambda action: action[..., 0].mean(dim=1))
    for _ in range(250):
        learner.update(draw)
    base = torch.randn(200, policy.refinement.candidates, 6, 2, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        chosen = policy.refinement.choose(
            policy.value, torch.zeros(200, policy.sizes.state), base, torch.zeros(200, 4), False
        )
    gained = chosen[:, :4, 0].mean() - base[:, 0, :4, 0].mean()
    # Best of three Gaussian means of four: 0.85 * 0.5; a move of 0.2 that grows along the chunk: at most 0.2 * 0.625 to 0.2 * 0.875.
    least = {"BestOfN": 0.3, "Residual": 0.08, "Edit": 0.38}[kind]
    assert gained > least


def test_noise_is_chosen_by_what_comes_of_it(contract):
    """Candidates are their noise: the actor's noise goes where the reward is, up to the bound."""
    policy = make(contract, "LatentNoise")
    settings = RlpdSettings(hidden=(16,), critics=3, updates=2, batch_size=64, temperature=0.01, learning_rate=3e-3)
    learner = refinement_learner(policy, settings)
    inner = batches(policy, lambda action: action[..., 0].mean(dim=1))

    def draw():
        batch = inner()
        return {**batch, LATENT: batch[BASE].flatten(2)}

    for _ in range(250):
        learner.update(draw)
    with torch.inference_mode():
        chosen = policy.refinement.latents(
            torch.zeros(1, policy.sizes.state), torch.zeros(1, 3, 12), torch.zeros(1, 12), False
        )[0, 0].view(6, 2)
    assert chosen[:4, 0].mean() > 0.8
    assert chosen.abs().max() <= policy.refinement.bound


def test_values_of_takeovers_stay_within_what_takeovers_can_cost(contract):
    policy = make(contract, "BestOfN")
    lowest = -3.0  # -10 without the bound
    settings = RlpdSettings(
        hidden=(16,), critics=3, updates=2, batch_size=64, learning_rate=1e-2, tau=0.1, lowest=lowest, highest=0.0
    )
    learner = refinement_learner(policy, settings)
    draw = batches(policy, lambda action: torch.full((64,), -1.0), mask=1.0)
    for _ in range(300):
        learner.update(draw)
    with torch.inference_mode():
        value = policy.value(torch.zeros(1, policy.sizes.state), torch.zeros(1, 6, 2))
    assert value.mean().item() == pytest.approx(lowest, abs=0.3)
    assert learner.target(draw()).min() >= lowest


@pytest.mark.parametrize("kind", KINDS)
def test_who_goes_on_from_its_state_learns_the_same(contract, kind):
    """And only where there is an actor is one trained, with a temperature."""
    one, other = make(contract, kind), make(contract, kind, seed=1)
    first = refinement_learner(one, SETTINGS, seed=2)
    draw = batches(one, lambda action: action[..., 0].mean(dim=1))
    figures = [first.update(draw) for _ in range(3)][-1]
    assert ("actor_loss" in figures) == ("log_alpha" in first.state()) == (kind != "BestOfN")
    assert ("noise_critic_loss" in figures) == (kind == "LatentNoise")
    other.load_state_dict(one.state_dict())
    second = refinement_learner(other, SETTINGS)
    second.restore({name: tensor.clone() for name, tensor in first.state().items()})
    second.generator.set_state(first.generator.get_state())
    batch = draw()
    assert first.update(lambda: batch) == second.update(lambda: batch)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_transitions_hold_what_was_seen_and_done(contract):
    policy = make(contract, "BestOfN")
    rng = np.random.default_rng(0)
    columns = {
        feature.name: np.concatenate([rng.standard_normal((9, 3)), np.tile([1.0, 0, 0, 0], (9, 1))], axis=1).astype(
            np.float32
        )
        if feature.kind == "pose"
        else rng.standard_normal((9, *feature.shape)).astype(np.float32)
        for feature in contract.observations
    }
    chunk = rng.standard_normal((4, 2))
    decisions = [Decision(0, 4, chunk, -1.0, 0.9, 1.0, False), Decision(4, 8, chunk + 1, 0.0, 0.5, 0.0, True)]
    first, second = transitions_of(policy, columns, decisions, 7, torch.Generator().manual_seed(0))
    assert (first["episode"], first["start"], first["expert"], second["expert"]) == (7, 0, 0, 1)
    # The policy is told actions relative to where the joints are.
    now = columns["observation.state"]
    np.testing.assert_allclose(first["action"].reshape(4, 2), chunk - now[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(second["action"].reshape(4, 2), chunk + 1 - now[4], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(first["next_state"], second["state"])
    np.testing.assert_array_equal(first[NEXT_BASE], second[BASE])
    names = [feature.name for feature in contract.observations]
    seen = window_at(columns, names, 0, 2)
    np.testing.assert_array_equal(seen["observation.state"][0], seen["observation.state"][1])
    with torch.inference_mode():
        state = policy.state({name: torch.from_numpy(window_at(columns, names, 8, 2)[name])[None] for name in names})
    np.testing.assert_allclose(second["next_state"], state[0], rtol=1e-6)


@pytest.mark.parametrize("kind", ["BestOfN", "Edit", "LatentNoise"])
def test_there_is_nothing_to_choose_where_every_chunk_is_the_same(contract, kind):
    act = {name: value for name, value in load_option("policy", "act").items() if name not in CONTRACT_KEYS}
    with pytest.raises(ConfigError, match="refinement=residual moves it"):
        build_policy_for({**described(kind), "base": act}, contract)


@pytest.mark.parametrize("setting", [{"candidates": 0}, {"scale": 0.0}, {"knots": 9}])
def test_impossible_refinements_are_refused(setting):
    with pytest.raises(ConfigError):
        Edit(Sizes(3, 6, 4, 2, 12), **setting)


def test_a_bundle_becomes_a_refined_one_that_draws_as_it_was_told_to(contract, tmp_path):
    refined = make(contract, "BestOfN")
    described_base = described("BestOfN")["base"]
    refined.base.configure_engine({"steps": 7})
    save_bundle(tmp_path / "a", refined.base, {"policy": described_base})
    below = load_bundle(tmp_path / "a")
    refinement = {"_target_": "praxon.policies.refinement.BestOfN", "candidates": 1}
    save_refined(tmp_path / "b", below, refinement, {"critics": 2, "hidden": [8]}, 3, {"noise_scale": 0.5})
    found = load_bundle(tmp_path / "b").policy
    assert found.engine_settings() == {**below.policy.engine_settings(), "noise_scale": 0.5}
    assert found.engine_settings()["steps"] == 7
    # With one candidate it is the policy below; a refined bundle stays what it is.
    seen, noise = window(contract), found.noise(1, torch.Generator().manual_seed(0))
    below.policy.configure_engine({"noise_scale": 0.5})
    with torch.inference_mode():
        alone, drawn = below.policy.sample(seen, noise[:, 0]), found.sample(seen, noise)
    torch.testing.assert_close(drawn, alone, atol=1e-5, rtol=1e-5)
    save_refined(tmp_path / "c", load_bundle(tmp_path / "b"), {"_target_": "nothing"}, {}, 4, {})
    again = load_bundle(tmp_path / "c").policy.state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in found.state_dict().items())
