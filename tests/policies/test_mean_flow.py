"""MeanFlow: its identity on a flow that is known, the network's derivative, one step against many."""

import pytest
import torch
from torch.nn import functional as F

from praxon.errors import ConfigError
from praxon.policies.denoising.span_samplers import SpanSampler
from praxon.policies.mean_flow import MeanFlowPolicy, mean_flow_target

SMALL = {
    "encoder": {"_target_": "praxon.policies.networks.encoders.ObservationEncoder", "width": 16},
    "network": {
        "_target_": "praxon.policies.networks.transformer.TransformerDenoiser",
        "width": 16,
        "depth": 2,
        "num_heads": 2,
        "shortest_period": 1.0,
    },
}


def make_policy(contract, statistics_of, **options) -> MeanFlowPolicy:
    torch.manual_seed(0)
    policy = MeanFlowPolicy(contract, **SMALL, **options)
    policy.normalizer.fit(statistics_of(contract))
    with torch.no_grad():
        for parameter in policy.network.parameters():  # adaLN-Zero's zeros would hide what depends on what
            parameter.add_(0.2 * torch.randn_like(parameter))
    return policy


def test_target_at_the_exact_mean_velocity_is_the_mean_velocity(gaussian_flow):
    x, time, span = gaussian_flow.points()
    velocity = gaussian_flow.velocity(x, time)
    target = mean_flow_target(gaussian_flow.mean_velocity, x, time, span, velocity)
    torch.testing.assert_close(target, gaussian_flow.mean_velocity(x, time, span), atol=1e-9, rtol=1e-9)


def test_target_moves_a_wrong_mean_velocity(gaussian_flow):
    x, time, span = gaussian_flow.points()

    def wrong(x, t, s):
        return gaussian_flow.mean_velocity(x, t, s) + 0.1 * torch.sin(x + s[:, None, None])

    target = mean_flow_target(wrong, x, time, span, gaussian_flow.velocity(x, time))
    assert (target - wrong(x, time, span)).abs().mean() > 0.03


def test_target_is_affine_in_the_velocity(gaussian_flow):
    # So the target of single paths has the target of the marginal velocity as its mean.
    x, time, span = gaussian_flow.points()
    one, other = gaussian_flow.velocity(x, time), torch.cos(x)
    targets = [
        mean_flow_target(gaussian_flow.mean_velocity, x, time, span, velocity)
        for velocity in (one, other, 0.3 * one + 0.7 * other)
    ]
    torch.testing.assert_close(targets[2], 0.3 * targets[0] + 0.7 * targets[1])


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_any_number_of_exact_steps_ends_in_the_exact_sample(gaussian_flow, steps):
    noise = torch.randn(16, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    sampler = SpanSampler(steps)

    def evaluate(x, index):
        time, span = (x.new_full((len(x),), values[index]) for values in (sampler.times, sampler.spans))
        return gaussian_flow.mean_velocity(x, time, span)

    exact = gaussian_flow.mean + gaussian_flow.spread * noise
    torch.testing.assert_close(sampler.run(evaluate, noise), exact, atol=1e-9, rtol=1e-9)


def test_forward_derivative_of_the_network_agrees_with_finite_differences(contract, statistics_of):
    network = make_policy(contract, statistics_of).network.double()
    generator = torch.Generator().manual_seed(0)
    x, velocity = torch.randn(2, 4, 8, 3, generator=generator, dtype=torch.float64)
    tokens = torch.randn(4, 2, 16, generator=generator, dtype=torch.float64)
    time, span = (torch.full((4,), value, dtype=torch.float64) for value in (0.2, 0.6))

    def mean_velocity(x, t, s):
        # In float64: the network's own time features are float32.
        features = network.time_features
        embedded = [
            torch.cat([(phase := 1.0 * v[:, None, None] * features.angular_frequencies).sin(), phase.cos()], -1)
            for v in (t, s)
        ]
        hidden = network.time_in(embedded[0]) + network.span_in(embedded[1])
        modulation = network.modulation_out(F.silu(hidden)).unflatten(-1, (-1, 16))
        return network.denoise(x, modulation, network.condition(tokens))

    with torch.no_grad(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        target = mean_flow_target(mean_velocity, x, time, span, velocity)
        step = 1e-5
        later = mean_velocity(x + step * velocity, time + step, span - step)
        earlier = mean_velocity(x - step * velocity, time - step, span + step)
    slope = (later - earlier) / (2 * step)
    torch.testing.assert_close(target, velocity + 0.6 * slope, atol=1e-6, rtol=1e-6)


def test_target_of_the_policy_is_that_of_its_network(contract, statistics_of):
    policy = make_policy(contract, statistics_of)
    generator = torch.Generator().manual_seed(0)
    noisy, velocity = torch.randn(2, 4, 8, 3, generator=generator)
    tokens = torch.randn(4, policy.encoder.num_tokens, 16, generator=generator)
    time, span = torch.full((4,), 0.2), torch.full((4,), 0.6)
    target = policy._target(noisy, time, span, velocity, tokens)
    with torch.no_grad():
        step = 2e-3
        ends = [
            policy.network(noisy + h * velocity, (time + h)[:, None], tokens, (span - h)[:, None])
            for h in (step, -step)
        ]
    slope = (ends[0] - ends[1]) / (2 * step)
    assert slope.abs().mean() > 0.05
    torch.testing.assert_close(target, velocity + 0.6 * slope, atol=5e-3, rtol=5e-3)
    assert not target.requires_grad


def test_large_corrections_count_less_and_stay_the_same(contract, statistics_of, batch_of, monkeypatch):
    # Cutting them instead would change what a trained network answers.
    batch, losses, corrections = batch_of(contract, 6), [], []

    def noted(mean_velocity, x, time, span, velocity):
        target = mean_flow_target(mean_velocity, x, time, span, velocity)
        corrections.append((target - velocity).square().mean((1, 2)).sqrt())
        return target

    monkeypatch.setattr("praxon.policies.mean_flow.mean_flow_target", noted)
    for limit in (1e6, 0.1):
        policy = make_policy(contract, statistics_of, anchors=0.0, adaptive_power=0.0, correction_limit=limit)
        losses.append(policy.loss(batch, torch.Generator().manual_seed(3)))
    assert torch.equal(*corrections)
    weights = (losses[1] / losses[0]).detach().sort().values
    torch.testing.assert_close(weights, (0.1 / corrections[0].clamp_min(0.1)).sort().values)
    assert weights.min() < 0.5


def test_moves_start_from_noise_as_often_as_asked_and_stay_on_the_path(contract, statistics_of):
    policy = make_policy(contract, statistics_of, from_noise=0.25)
    start, end = torch.rand(2, 4000, generator=torch.Generator().manual_seed(0)).sort(dim=0).values
    moved, span = policy._moves(start, end, torch.Generator().manual_seed(1))
    first = moved == 0.0
    assert first.float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert span[first].mean().item() == pytest.approx(0.5, abs=0.04)
    assert torch.equal(span[~first], (end - start)[~first])
    assert (span > 0).all()
    assert (moved + span <= 1.0).all()


def test_anchors_alone_are_flow_matching(contract, statistics_of, batch_of):
    # With every span 0 and no adaptive weight the loss is the velocity's squared error.
    policy = make_policy(contract, statistics_of, anchors=1.0, adaptive_power=0.0)
    seen = {}
    policy.network.register_forward_hook(lambda module, given, prediction: seen.update(given=given, out=prediction))
    loss = policy.loss(batch_of(contract, 6), torch.Generator().manual_seed(3))
    noisy, time, _, span, _ = seen["given"]
    assert torch.equal(span, torch.zeros_like(span))
    action = policy.encode_actions(batch_of(contract, 6))
    velocity = (action - noisy) / (1.0 - time[..., None])
    torch.testing.assert_close(loss, (seen["out"] - velocity).square().mean((1, 2)), rtol=1e-3, atol=1e-4)


def test_guidance_leaves_a_perfect_velocity_where_it_is(contract, statistics_of):
    policy = make_policy(contract, statistics_of, guidance=2.0)
    noisy, time = torch.randn(4, 8, 3), torch.rand(4)
    tokens = torch.randn(4, policy.encoder.num_tokens, 16)
    with torch.no_grad():
        own = policy.network(noisy, time[:, None], tokens, torch.zeros(4, 1))
    torch.testing.assert_close(policy._guided(own, noisy, time, tokens), own)
    torch.testing.assert_close(policy._guided(own + 1.0, noisy, time, tokens), own + 2.0)


def test_adaptive_weight_by_hand(contract, statistics_of, batch_of):
    plain, weighted = (
        make_policy(contract, statistics_of, adaptive_power=power, adaptive_offset=0.5, correction_limit=1e6).loss(
            batch_of(contract, 5), torch.Generator().manual_seed(0)
        )
        for power in (0.0, 1.0)
    )
    torch.testing.assert_close(weighted, plain / (plain + 0.5))


def test_loss_works_without_gradients(contract, statistics_of, batch_of):
    policy = make_policy(contract, statistics_of)
    losses = []
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with mode():
            losses.append(policy.loss(batch_of(contract, 5), torch.Generator().manual_seed(0)).clone())
    torch.testing.assert_close(losses[0].detach(), losses[1])
    torch.testing.assert_close(losses[1], losses[2].clone())


def test_impossible_settings_are_refused(contract):
    with pytest.raises(ConfigError, match="between 0 and 1"):
        MeanFlowPolicy(contract, **SMALL, anchors=1.2)
    with pytest.raises(ConfigError, match="at least one step"):
        MeanFlowPolicy(contract, **SMALL, steps=0)
    with pytest.raises(ConfigError, match="guidance is above 0"):
        MeanFlowPolicy(contract, **SMALL, guidance=0.0)
    with pytest.raises(ConfigError, match="correction_limit is above 0"):
        MeanFlowPolicy(contract, **SMALL, correction_limit=0.0)
