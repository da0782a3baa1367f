"""Energies and descent against closed forms: forces are slopes, descent is what a bowl makes of it, samples stop alone."""

import math
from itertools import pairwise

import pytest
import torch

from praxon.errors import ConfigError
from praxon.learning.training_run import Objective
from praxon.policies.denoising.descent import DescentSampler
from praxon.policies.energy import EnergyPolicy
from praxon.policies.networks.energy_transformer import EnergyTransformer

ENCODER = {"_target_": "praxon.policies.networks.encoders.ObservationEncoder", "width": 16}
NETWORK = {
    "_target_": "praxon.policies.networks.energy_transformer.EnergyTransformer",
    "width": 16,
    "depth": 1,
    "num_heads": 2,
    "mlp_ratio": 1,
}


def lively(network):
    """Weights that matter: a fresh energy is a bowl."""
    torch.manual_seed(0)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return network


@pytest.fixture
def network():
    torch.manual_seed(0)
    return lively(EnergyTransformer(2, 4, 3, 16, width=16, depth=2, num_heads=2)).double()


@pytest.fixture
def condition(network):
    return network.condition(torch.randn(3, 3, 16, dtype=torch.float64))


@pytest.fixture
def policy(contract, statistics_of) -> EnergyPolicy:
    torch.manual_seed(0)
    policy = EnergyPolicy(contract, encoder=ENCODER, network=NETWORK, actions="absolute")
    policy.normalizer.fit(statistics_of(contract))
    return policy


def window_of(contract, batch):
    return {feature.name: batch[feature.name] for feature in contract.observations}


def test_force_is_the_slope_of_the_energy(network, condition):
    x = torch.randn(3, 4, 2, dtype=torch.float64)
    force, step = network.denoise(x, torch.zeros(1, 0), condition), 1e-6
    for token in range(4):
        for component in range(2):
            nudge = torch.zeros_like(x)
            nudge[:, token, component] = step
            slope = (network.energy(x + nudge, condition) - network.energy(x - nudge, condition)) / (2 * step)
            torch.testing.assert_close(force[:, token, component], -slope, atol=1e-7, rtol=1e-6)


def test_force_has_derivatives_of_its_own(network, condition):
    x = torch.randn(3, 4, 2, dtype=torch.float64, requires_grad=True)
    keys, values = (part.detach().requires_grad_() for part in condition)

    def force(x, keys, values):
        return network.denoise(x, torch.zeros(1, 0), type(condition)(keys, values))

    assert torch.autograd.gradcheck(force, (x, keys, values))


def test_an_untrained_energy_is_a_bowl_that_descent_solves_exactly():
    network = EnergyTransformer(2, 4, 3, 16, width=16, depth=2, num_heads=2)
    condition = network.condition(torch.randn(5, 3, 16))
    x = torch.randn(5, 4, 2)
    torch.testing.assert_close(network.energy(x, condition), 0.5 * x.square().sum((1, 2)))
    sampler = DescentSampler(step_size=0.25, max_steps=6, tolerance=0.0)
    rest = sampler.run(lambda x, _: network.denoise(x, torch.zeros(1, 0), condition), x)
    torch.testing.assert_close(rest, 0.75**6 * x)


@torch.no_grad()
def test_small_steps_without_noise_lower_the_energy(network, condition):
    x = 2 * torch.randn(3, 4, 2, dtype=torch.float64)
    energies = [network.energy(x, condition)]
    for _ in range(20):
        x = x + 0.01 * network.denoise(x, torch.zeros(1, 0), condition)
        energies.append(network.energy(x, condition))
    assert all((after < before).all() for before, after in pairwise(energies))


def test_steps_follow_the_difficulty_of_each_sample():
    # Bowls of different curvature c: the force c x shrinks by 1 - c eta, and is below the tolerance after a known number.
    curvature = torch.tensor([1.0, 0.5, 0.2, 0.01]).double()
    eta, tolerance = 0.5, 0.05
    start = torch.ones(4, 3, 2).double()
    sampler = DescentSampler(step_size=eta, max_steps=30, tolerance=tolerance)
    sample, steps = sampler.descend(lambda x, _: -curvature[:, None, None] * x, start)
    expected = [max(0, math.ceil(math.log(tolerance / c) / math.log(1 - c * eta))) for c in curvature.tolist()]
    assert steps.tolist() == expected  # the last is so flat that it rests where it starts
    assert expected[3] == 0 < expected[0] < expected[1] < expected[2]
    for index, count in enumerate(expected):
        value = (1 - curvature[index] * eta) ** count
        torch.testing.assert_close(sample[index], value * start[index])


def test_a_sample_at_rest_stays_while_others_move():
    curvature = torch.tensor([1.0, 0.1])[:, None, None]
    start = torch.ones(2, 3, 2)
    sampler = DescentSampler(step_size=0.5, max_steps=9, tolerance=0.2)
    together = sampler.run(lambda x, _: -curvature * x, start)
    alone = sampler.run(lambda x, _: -curvature[:1] * x, start[:1])
    assert torch.equal(together[:1], alone)


def test_noise_of_steps_comes_from_the_noise_and_ends_with_the_force():
    sampler = DescentSampler(step_size=0.5, max_steps=3, tolerance=0.0, temperature=0.4)
    assert sampler.num_noises == 4
    noise = torch.zeros(1, 4, 1, 1)
    noise[0, :, 0, 0] = torch.tensor([1.0, 2.0, 0.0, -1.0])
    # 1 -> 1 - 0.5 + 0.4 * 1 * 2 = 1.3 -> 0.65 -> 0.65 - 0.325 - 0.4 * 0.65
    assert sampler.run(lambda x, _: -x, noise).item() == pytest.approx(0.65 - 0.325 - 0.26)
    assert torch.equal(sampler.run(lambda x, _: 0 * x, noise), noise[:, 0])


def test_samples_the_same_in_inference_mode(policy, contract, batch_of):
    lively(policy.network)
    window = window_of(contract, batch_of(contract, 3))
    noise = policy.noise(3, torch.Generator().manual_seed(0))
    with torch.no_grad():
        reference = policy.sample(window, noise)
    with torch.inference_mode():
        chunk = policy.sample({name: value.clone() for name, value in window.items()}, noise.clone())
        steps, energy = policy.steps_taken(window, noise), policy.energy(window, chunk)
    assert torch.equal(chunk, reference)
    assert not chunk.requires_grad
    assert steps.shape == energy.shape == (3,)
    assert all(weight.grad is None for weight in policy.parameters())


def test_loss_by_hand_for_an_untrained_energy(policy):
    # The untrained force is -x, so every step heads for 0 whatever the start, and the error is |a|^2 at every step.
    policy.unroll_noise, policy.anchor = 0.0, 0.0
    action = torch.randn(5, 8, 3)
    error = policy.error(action, torch.randn(5, policy.encoder.num_tokens, 16), torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    torch.randn(5, 8, 3, generator=generator)
    time = torch.rand(5, 1, 1, generator=generator)
    torch.testing.assert_close(error, action.square() / ((1 - time).square() + 0.2**2), atol=1e-4, rtol=1e-4)


def test_training_makes_demonstrations_the_low_ground(policy, contract, batch_of):
    batch = batch_of(contract, 2)
    repeated = {name: value.repeat(16, *[1] * (value.ndim - 1)) for name, value in batch.items()}
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(policy.parameters(), 5e-3)
    for _ in range(150):
        optimizer.zero_grad()
        policy.loss(repeated, generator).mean().backward()
        optimizer.step()
    policy.eval()
    window = window_of(contract, batch)
    shown = policy.energy(window, batch["action"])
    assert (shown < policy.energy(window, batch["action"].flip(0)) - 0.1).all()
    assert (shown < policy.energy(window, batch["action"] + 0.5) - 0.1).all()
    assert shown.abs().max() < 0.5


def test_its_loss_is_not_compiled(policy, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function: pytest.fail("compiled code has no second derivatives"))
    Objective(policy, compiled=True)
    monkeypatch.setattr(EnergyPolicy, "compilable", True)
    with pytest.raises(pytest.fail.Exception):
        Objective(policy, compiled=True)


def test_impossible_settings_are_refused(contract):
    with pytest.raises(ConfigError, match=r"in \(0, 1\]; got 1\.5"):
        DescentSampler(step_size=1.5)
    with pytest.raises(ConfigError, match="at least one step; got 0"):
        DescentSampler(max_steps=0)
    with pytest.raises(ConfigError, match="unroll=0"):
        EnergyPolicy(contract, encoder=ENCODER, network=NETWORK, unroll=0)
    other = {"_target_": "praxon.policies.networks.transformer.TransformerDenoiser", "size": "tiny"}
    with pytest.raises(ConfigError, match="needs an EnergyTransformer; got 'praxon.policies.networks.transformer"):
        EnergyPolicy(contract, encoder=ENCODER, network=other)
