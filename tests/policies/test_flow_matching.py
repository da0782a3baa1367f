"""What straight paths share: flow times, optimal-transport pairing, the dispersive loss, random shares."""

import math

import pytest
import torch

from praxon.errors import ConfigError
from praxon.policies.dispersive import dispersive_loss
from praxon.policies.flow_matching import FlowMatchingPolicy
from praxon.policies.flow_times import FlowTimes
from praxon.policies.pairing import pair_noise
from praxon.policies.straight_paths import point_on_path, random_share

SMALL = {
    "encoder": {"_target_": "praxon.policies.networks.encoders.ObservationEncoder", "width": 16},
    "network": {
        "_target_": "praxon.policies.networks.transformer.TransformerDenoiser",
        "width": 16,
        "depth": 2,
        "num_heads": 2,
    },
}


def grid(count: int = 100_001) -> torch.Tensor:
    """Midpoints of equal parts of [0, 1]: a mean over their quantiles is the distribution's mean."""
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count


@pytest.mark.parametrize("alpha", [1.0, 1.5, 3.0])
def test_beta_has_its_moments(alpha):
    distance = 1.0 - FlowTimes("beta", alpha=alpha).quantile(grid()) / 0.999
    mean, variance = alpha / (alpha + 1), alpha / ((alpha + 1) ** 2 * (alpha + 2))
    assert distance.mean().item() == pytest.approx(mean, abs=1e-6)
    assert distance.var(correction=0).item() == pytest.approx(variance, abs=1e-6)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.4, 1.0), (-1.0, 0.5)])
def test_logit_normal_has_its_moments(mean, std):
    logits = torch.logit(FlowTimes("logit_normal", mean=mean, std=std).quantile(grid()))
    assert logits.mean().item() == pytest.approx(mean, abs=1e-6)
    assert logits.std(correction=0).item() == pytest.approx(std, abs=1e-3)


def test_uniform_is_uniform_and_ends_are_finite():
    assert torch.equal(FlowTimes("uniform").quantile(grid()), grid())
    for name in ("uniform", "beta", "logit_normal"):
        ends = FlowTimes(name).quantile(torch.tensor([0.0, 1.0 - 2**-24]))
        assert ((ends >= 0) & (ends <= 1)).all()


def test_unknown_times_are_refused(contract):
    with pytest.raises(ConfigError, match=r"'logitnormal'.*uniform, beta, logit_normal.*Did you mean 'logit_normal'"):
        FlowMatchingPolicy(contract, **SMALL, time_distribution="logitnormal")
    with pytest.raises(ConfigError, match="above 0"):
        FlowTimes("beta", alpha=0.0)
    with pytest.raises(ConfigError, match="at least 0"):
        FlowMatchingPolicy(contract, **SMALL, pairing=-1.0)


def two_conditions(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noise, actions near +2 and -2, and the observation that says which."""
    generator = torch.Generator().manual_seed(0)
    side = torch.randint(0, 2, (count,), generator=generator) * 2.0 - 1.0
    action = 2.0 * side[:, None, None] + 0.1 * torch.randn(count, 2, 1, generator=generator)
    return torch.randn(count, 2, 1, generator=generator), action, side[:, None]


@pytest.mark.parametrize("weight", [0.0, 1.0, 1e4])
def test_pairing_moves_noise_less_and_loses_none(weight):
    noise, action, observation = two_conditions(200)
    paired = pair_noise(noise, action, observation, weight)
    assert torch.equal(paired.flatten(1).sort(dim=0).values, noise.flatten(1).sort(dim=0).values)
    assert (paired - action).square().mean() < (noise - action).square().mean()


def test_pairing_by_hand():
    noise = torch.tensor([5.0, 0.0, -5.0])[:, None]
    action = torch.tensor([-4.0, 6.0, 1.0])[:, None]
    assert pair_noise(noise, action, torch.zeros(3, 1), 0.0)[:, 0].tolist() == [-5.0, 5.0, 0.0]
    # Only equal observations exchange noise: the last two do, the first keeps its own.
    action = torch.tensor([-4.0, 1.0, 6.0])[:, None]
    assert pair_noise(noise, action, torch.tensor([[0.0], [1.0], [1.0]]), 1e6)[:, 0].tolist() == [5.0, -5.0, 0.0]


def test_pairing_without_observations_biases_the_noise_of_each_and_with_them_does_not():
    noise, action, observation = two_conditions(400)
    means = []
    for weight in (0.0, 1e4):
        paired = pair_noise(noise, action, observation, weight)
        means.append(paired[observation[:, 0] > 0].mean().item())
        drawn = noise[observation[:, 0] > 0].mean().item()
    # The upper half of N(0, 1) has mean sqrt(2/pi); here two components share one side, hence 1/sqrt(2) of it.
    assert means[0] == pytest.approx(math.sqrt(2 / math.pi) / math.sqrt(2), abs=0.1)
    assert means[1] == pytest.approx(drawn, abs=1e-6)
    assert abs(means[1]) < 0.15


def test_dispersive_loss_by_hand():
    # Squared distances 1, 9 and 4 over their largest.
    feature = torch.tensor([[0.0], [1.0], [3.0]])
    rows = [
        (1 + math.exp(-1 / 9) + math.exp(-1)) / 3,
        (1 + math.exp(-1 / 9) + math.exp(-4 / 9)) / 3,
        (1 + math.exp(-1) + math.exp(-4 / 9)) / 3,
    ]
    mean = sum(rows) / 3
    expected = torch.tensor([math.log(mean) + row / mean - 1 for row in rows])
    torch.testing.assert_close(dispersive_loss([feature]), expected)
    torch.testing.assert_close(dispersive_loss([feature, 7.0 * feature]), 2 * expected)  # a scale changes nothing
    assert dispersive_loss([feature]).mean().item() == pytest.approx(math.log(mean))


def test_dispersive_loss_is_as_exact_under_autocast():
    feature = 50.0 + torch.randn(6, 20, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        under = dispersive_loss([feature])
    torch.testing.assert_close(under, dispersive_loss([feature]))


def test_dispersive_loss_and_its_gradient_are_the_batch_value():
    features = torch.randn(6, 4, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    distance = torch.cdist(features.flatten(1), features.flatten(1)).square()
    published = torch.exp(-distance / distance.max() / 0.5).mean().log()
    torch.testing.assert_close(dispersive_loss([features], 0.5).mean(), published)
    (expected,) = torch.autograd.grad(published, features)
    (gradient,) = torch.autograd.grad(dispersive_loss([features], 0.5).mean(), features)
    torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-4)


def test_dispersive_loss_of_equal_features_is_zero_with_a_gradient_that_is_finite():
    features = torch.ones(3, 4, requires_grad=True)
    loss = dispersive_loss([features])
    loss.sum().backward()
    assert torch.equal(loss, torch.zeros(3))
    assert torch.isfinite(features.grad).all()


def test_dispersion_joins_the_loss_with_its_weight(contract, statistics_of, batch_of):
    losses = []
    for weight in (0.0, 0.5, 1.0):
        torch.manual_seed(0)
        policy = FlowMatchingPolicy(contract, **SMALL, dispersive=weight)
        policy.normalizer.fit(statistics_of(contract))
        losses.append(policy.loss(batch_of(contract, 6), torch.Generator().manual_seed(0)))
    assert (losses[1] - losses[0]).mean() < -0.01
    torch.testing.assert_close(losses[2] - losses[0], 2 * (losses[1] - losses[0]))


def test_paths_lead_from_noise_to_data():
    noise, action = torch.zeros(3, 2, 1), torch.ones(3, 2, 1)
    points = point_on_path(noise, action, torch.tensor([[0.0], [0.25], [1.0]]))
    assert points[:, 0, 0].tolist() == [0.0, 0.25, 1.0]


def test_shares_are_random_distinct_and_never_empty_where_both_parts_are_wanted():
    generator = torch.Generator().manual_seed(0)
    draws = [random_share(8, 0.25, generator) for _ in range(400)]
    assert all(len(draw.unique()) == 2 for draw in draws)
    assert torch.stack(draws).float().mean().item() == pytest.approx(3.5, abs=0.25)
    assert [len(random_share(4, share, generator)) for share in (0.0, 0.01, 0.99, 1.0)] == [0, 1, 3, 4]
