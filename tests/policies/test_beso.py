"""Karras preconditioning and samplers against closed forms, and guidance at its limits."""

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml

from praxon.contract import Feature, PolicyContract
from praxon.errors import ConfigError
from praxon.policies.beso import BesoPolicy
from praxon.policies.denoising.guidance import GuidedDenoiser
from praxon.policies.denoising.karras import KARRAS_SOLVERS, LEVELS, KarrasSampler, Preconditioning
from praxon.policies.networks.transformer import TransformerDenoiser

ENCODER = {"_target_": "praxon.policies.networks.encoders.ObservationEncoder", "width": 16}
NETWORK = {
    "_target_": "praxon.policies.networks.transformer.TransformerDenoiser",
    "width": 16,
    "depth": 1,
    "num_heads": 2,
    "mlp_ratio": 1,
}
MEAN, STD = 0.4, 0.7
DETERMINISTIC = sorted(name for name, solver in KARRAS_SOLVERS.items() if not solver.adds_noise)


def ideal_network(sampler, mean=MEAN, std=STD):
    """What F would be had it learned N(mean, std^2): from D, the posterior mean, back through the preconditioning."""
    precondition = sampler.preconditioning

    def evaluate(scaled, index):
        sigma = torch.tensor(sampler.levels[index], dtype=torch.float64)
        x = scaled / precondition.scale_in(sigma)
        clean = (std**2 * x + sigma**2 * mean) / (std**2 + sigma**2)
        return (clean - precondition.skip(sigma) * x) / precondition.out(sigma)

    return evaluate


def affine_map(solver, steps, schedule="karras", **levels):
    """The sampler for Gaussian data is affine in its noises: offset, and the factor of each."""
    sampler = KarrasSampler(Preconditioning(**levels), solver=solver, steps=steps, schedule=schedule)
    count = sampler.num_noises
    rows = torch.cat([torch.zeros(1, count), torch.eye(count)]).double()
    noise = rows[:, :, None, None] if count > 1 else rows[:, :, None]
    offset, *shifted = sampler.run(ideal_network(sampler), noise).flatten().tolist()
    return offset, [value - offset for value in shifted]


def test_preconditioning_by_hand():
    precondition = Preconditioning(sigma_data=0.5, sigma_min=0.005, sigma_max=1.0)
    sigma = torch.tensor(1.2)
    assert precondition.skip(sigma).item() == pytest.approx(0.25 / 1.69)
    assert precondition.out(sigma).item() == pytest.approx(0.6 / 1.3)
    assert precondition.scale_in(sigma).item() == pytest.approx(1 / 1.3)
    times = precondition.time(torch.tensor([1.0, 0.005, math.sqrt(0.005)]))
    torch.testing.assert_close(times, torch.tensor([0.0, 1.0, 0.5]))


def test_without_noise_the_denoiser_returns_what_it_gets():
    precondition, sigma = Preconditioning(), torch.tensor(1e-6)
    x = torch.randn(10)
    any_answer = 100 * torch.randn(10)
    denoised = precondition.skip(sigma) * x + precondition.out(sigma) * any_answer
    torch.testing.assert_close(denoised, x, atol=1e-3, rtol=0)


@pytest.mark.parametrize("sigma", [0.02, 0.3, 1.0, 5.0, 40.0])
@pytest.mark.parametrize("sigma_data", [0.5, 1.0])
def test_network_sees_and_answers_unit_variance_at_every_level(contract, sigma, sigma_data):
    policy = BesoPolicy(contract, encoder=ENCODER, network=NETWORK, sigma_data=sigma_data, actions="absolute")
    generator = torch.Generator().manual_seed(0)
    action, noise = torch.randn(2, 20_000, 1, 1, generator=generator, dtype=torch.float64)
    seen, asked = policy.pair(sigma_data * action, noise, torch.full((20_000,), sigma, dtype=torch.float64))
    assert seen.std().item() == pytest.approx(1.0, abs=0.02)
    assert asked.std().item() == pytest.approx(1.0, abs=0.02)


def test_training_levels_follow_the_truncated_log_logistic():
    precondition, scale = Preconditioning(sigma_data=0.5, sigma_min=0.01, sigma_max=1.0), 0.5
    uniform = torch.linspace(0, 1, 101, dtype=torch.float64)
    sigma = precondition.draw(uniform, scale)

    def below(level):
        return 1 / (1 + (0.5 / level) ** (1 / scale))

    low, high = below(0.01), below(1.0)
    torch.testing.assert_close((below(sigma) - low) / (high - low), uniform, atol=1e-9, rtol=0)
    assert sigma[[0, -1]].tolist() == pytest.approx([0.01, 1.0])


def test_noise_levels_fall_as_their_names_say():
    for name, spacing in {"linear": lambda s: s, "exponential": math.log, "karras": lambda s: s ** (1 / 7)}.items():
        levels = LEVELS[name](6, 0.05, 3.0)
        assert [levels[0], levels[-1]] == pytest.approx([3.0, 0.05])
        gaps = [spacing(b) - spacing(a) for a, b in pairwise(levels)]
        assert gaps == pytest.approx([gaps[0]] * 5)


@pytest.mark.parametrize("solver", KARRAS_SOLVERS)
@pytest.mark.parametrize("schedule", LEVELS)
def test_gaussian_data_get_their_mean_and_variance(solver, schedule):
    # Levels of equal difference are coarse where most happens; they need more of them.
    steps, high = (3000, 30.0) if schedule == "linear" else (400, 80.0)
    offset, factors = affine_map(solver, steps, schedule, sigma_min=0.002, sigma_max=high)
    assert offset == pytest.approx(MEAN, abs=0.02)
    assert sum(factor**2 for factor in factors) == pytest.approx(STD**2, rel=0.05)


@pytest.mark.parametrize("solver", DETERMINISTIC)
def test_deterministic_solvers_converge_to_the_exact_flow_at_their_order(solver):
    # x - MEAN shrinks with sqrt(sigma^2 + STD^2) along the exact flow; the last step returns D, here of the smallest level.
    low, high = 0.05, 10.0
    factor = high * math.sqrt((low**2 + STD**2) / (high**2 + STD**2)) * STD**2 / (STD**2 + low**2)
    errors = [abs(affine_map(solver, n, sigma_min=low, sigma_max=high)[1][0] - factor) for n in (65, 129, 257)]
    slope = math.log2(errors[1] / errors[2])
    assert slope == pytest.approx(KARRAS_SOLVERS[solver].order, abs=0.15)
    assert errors[0] > errors[1] > errors[2]


def test_ancestral_moments_converge_at_first_order():
    # The exact posterior chain ends with the marginal at sigma_min, denoised; sigma_max is far above the data.
    low, high = 0.05, 200.0
    exact = STD**4 / (STD**2 + low**2)
    errors = []
    for steps in (128, 256, 512):
        _, factors = affine_map("euler_ancestral", steps, sigma_min=low, sigma_max=high)
        errors.append(abs(sum(factor**2 for factor in factors) - exact))
    assert math.log2(errors[1] / errors[2]) == pytest.approx(1.0, abs=0.2)


def test_ddim_is_eulers_step_and_one_step_is_the_denoiser():
    assert affine_map("ddim", 7) == affine_map("euler", 7)
    sampler = KarrasSampler(Preconditioning(), solver="ddim", steps=1)
    x = torch.randn(4, 3, 2, dtype=torch.float64)
    sigma = sampler.levels[0]
    clean = (STD**2 * sigma * x + sigma**2 * MEAN) / (STD**2 + sigma**2)
    torch.testing.assert_close(sampler.run(ideal_network(sampler), x), clean)


@pytest.mark.parametrize("solver", [("dpmpp_2m", "EDMDPMSolverMultistepScheduler"), ("ddim", "EDMEulerScheduler")])
def test_agrees_with_diffusers(solver):
    diffusers = pytest.importorskip("diffusers")
    name, scheduler_name = solver
    steps = 9
    sampler = KarrasSampler(Preconditioning(1.0, 0.02, 20.0), solver=name, steps=steps, schedule="karras")
    scheduler = getattr(diffusers, scheduler_name)(sigma_min=0.02, sigma_max=20.0, sigma_data=1.0)
    scheduler.set_timesteps(steps)
    noise = torch.randn(5, 4, 2, generator=torch.Generator().manual_seed(0))

    def network(x, index):
        return torch.sin(3 * x) + 0.1 * index

    x = noise * sampler.levels[0]
    for index, time in enumerate(scheduler.timesteps):
        x = scheduler.step(network(scheduler.scale_model_input(x, time), index), time, x).prev_sample
    torch.testing.assert_close(sampler.run(network, noise), x, atol=2e-5, rtol=2e-5)


def test_impossible_settings_are_refused_by_name():
    with pytest.raises(ConfigError, match=r"Solver 'heum' does not exist\. Solvers: ddim.*heun"):
        KarrasSampler(Preconditioning(), solver="heum")
    with pytest.raises(ConfigError, match=r"Schedule 'lin' does not exist"):
        KarrasSampler(Preconditioning(), schedule="lin")
    with pytest.raises(ConfigError, match="at least one step"):
        KarrasSampler(Preconditioning(), steps=0)
    with pytest.raises(ConfigError, match="guidance weight is -1"):
        KarrasSampler(Preconditioning(), guidance=-1.0)
    with pytest.raises(ConfigError, match=r"sigma_min=2\.0 to sigma_max=1\.0"):
        Preconditioning(sigma_min=2.0, sigma_max=1.0)


# -- Goals -------------------------------------------------------------------------------------------------------------


def lively(network):
    """Weights that matter: fresh networks answer zero."""
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return network


@pytest.fixture
def guided():
    torch.manual_seed(0)
    return lively(GuidedDenoiser(TransformerDenoiser(3, 8, 5, 16, width=16, depth=2, num_heads=2), slice(2, 4), 16))


@torch.no_grad()
def test_guidance_weighs_the_two_answers(guided):
    x, tokens, time = torch.randn(6, 8, 3), torch.randn(6, 5, 16), torch.rand(6, 1)
    without = guided.inner(x, time, guided.drop_goals(tokens, torch.ones(6, dtype=torch.bool)))
    with_goal = guided.inner(x, time, tokens)
    assert (with_goal - without).abs().max() > 0.1
    guided.set_weight(0.0)
    assert torch.equal(guided(x, time, tokens), without)
    guided.set_weight(1.0)
    assert torch.equal(guided(x, time, tokens), with_goal)
    for weight in (0.4, 2.0):
        guided.set_weight(weight)
        expected = (1 - weight) * without + weight * with_goal
        torch.testing.assert_close(guided(x, time, tokens), expected, atol=1e-4, rtol=1e-5)


def test_dropping_replaces_goal_tokens_alone(guided):
    tokens = torch.randn(3, 5, 16)
    changed = guided.drop_goals(tokens, torch.tensor([True, False, True]))
    assert torch.equal(changed[1], tokens[1])
    assert torch.equal(changed[:, [0, 1, 4]], tokens[:, [0, 1, 4]])
    assert torch.equal(changed[0, 2:4], guided.null_GD)
    with pytest.raises(ConfigError, match="guidance weight is -1"):
        guided.set_weight(-1)


@pytest.fixture
def goal_contract(contract) -> PolicyContract:
    goal = Feature("goal.observation.state", "joint_position", (3,), ("a", "b", "c"), unit="rad")
    return replace(contract, observations=(*contract.observations, goal))


def beso(contract, statistics_of, **settings):
    torch.manual_seed(0)
    policy = BesoPolicy(contract, encoder=ENCODER, network=NETWORK, actions="absolute", **settings)
    policy.normalizer.fit(statistics_of(contract))
    lively(policy.network)
    return policy.eval()


def window_with_goal(contract, batch_of, seed=0):
    batch = batch_of(contract, 4, seed)
    return {feature.name: batch[feature.name] for feature in contract.observations}


@torch.no_grad()
def test_goal_features_steer_unless_the_weight_is_zero(goal_contract, batch_of, statistics_of):
    policy = beso(goal_contract, statistics_of)
    window = window_with_goal(goal_contract, batch_of)
    other = {**window, "goal.observation.state": window["goal.observation.state"] + 1.0}
    noise = policy.noise(4, torch.Generator().manual_seed(0))
    assert not torch.allclose(policy.sample(window, noise), policy.sample(other, noise), atol=1e-3)
    policy.configure_engine({"guidance": 0.0})
    assert policy.engine_settings()["guidance"] == 0.0
    assert torch.equal(policy.sample(window, noise), policy.sample(other, noise))


def test_goals_are_dropped_as_often_as_asked(goal_contract, batch_of, statistics_of):
    batch = batch_of(goal_contract, 4)
    for dropout, share in ((0.0, 0), (1.0, 1)):
        policy = beso(goal_contract, statistics_of, goal_dropout=dropout, guidance=1 - dropout)
        policy.loss(batch, torch.Generator().manual_seed(0)).mean().backward()
        assert bool(policy.network.null_GD.grad.abs().sum() > 0) == share
        assert bool(policy.encoder.goal.out.weight.grad.abs().sum() > 0) == 1 - share


def test_guidance_by_an_answer_that_was_never_learned_is_refused(contract, goal_contract, statistics_of):
    with pytest.raises(ConfigError, match=r"With goal_dropout=0\.0 only guidance=1\.0 has been learned; got 1\.5"):
        beso(goal_contract, statistics_of, goal_dropout=0.0)
    policy = beso(goal_contract, statistics_of, goal_dropout=1.0, guidance=0.0)
    with pytest.raises(ConfigError, match=r"only guidance=0\.0 has been learned; got 2\.0"):
        policy.configure_engine({"guidance": 2.0})
    assert policy.engine_settings()["guidance"] == 0.0
    beso(contract, statistics_of, goal_dropout=0.0)  # no goal, nothing to weigh


def test_that_guidance_is_off_is_said(contract, goal_contract, statistics_of):
    (sentence,) = beso(contract, statistics_of).remarks()
    assert "guidance is off; policy.goals=" in sentence
    assert beso(goal_contract, statistics_of).remarks() == ()


@torch.no_grad()
def test_without_goals_guidance_changes_nothing(contract, batch_of, statistics_of):
    policy = beso(contract, statistics_of)
    window = window_with_goal(contract, batch_of)
    noise = policy.noise(4, torch.Generator().manual_seed(0))
    before = policy.sample(window, noise)
    policy.configure_engine({"guidance": 3.0})
    assert torch.equal(before, policy.sample(window, noise))


def test_ancestral_steps_take_their_noise_from_the_noise(contract, batch_of, statistics_of):
    policy = beso(contract, statistics_of, solver="euler_ancestral", steps=4)
    noise = policy.noise(4, torch.Generator().manual_seed(0))
    assert noise.shape == (4, 4, 8, 3)
    window = window_with_goal(contract, batch_of)
    with torch.no_grad():
        first = policy.sample(window, noise)
        assert torch.equal(first, policy.sample(window, noise))
        noise[:, 2] += 1.0
        assert not torch.allclose(first, policy.sample(window, noise), atol=1e-3)


def test_config_names_every_setting(contract):
    config = yaml.safe_load((Path(__file__).parents[2] / "configs" / "policy" / "beso.yaml").read_text())
    assert {"sigma_data", "sigma_min", "sigma_max", "sigma_spread", "goal_dropout", "guidance"} <= set(config)
    assert {"solver", "steps", "schedule"} <= set(config)
