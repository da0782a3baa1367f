"""The denoiser: one time per token, what may be hoisted, the identity it starts from."""

import pytest
import torch

from praxon.policies.denoising.engine import DenoisingEngine
from praxon.policies.denoising.samplers import FlowSampler
from praxon.policies.denoising.solvers import SOLVERS, integrate
from praxon.policies.networks.transformer import TimeFeatures, TransformerDenoiser


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = TransformerDenoiser(3, 5, 2, 32, width=32, depth=2, num_heads=2, mlp_ratio=2)
    for parameter in network.parameters():  # away from the zero start
        torch.nn.init.normal_(parameter, std=0.2)
    return network


def inputs(batch: int = 4):
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(batch, 5, 3, generator=generator),
        torch.rand(batch, 1, generator=generator),
        torch.randn(batch, 2, 32, generator=generator),
    )


def test_starts_as_the_zero_velocity():
    noisy, time, tokens = inputs()
    fresh = TransformerDenoiser(3, 5, 2, 32, width=32, depth=2, num_heads=2)
    assert torch.equal(fresh(noisy, time, tokens), torch.zeros_like(noisy))


def test_a_fresh_modulation_shifts_nothing_scales_by_one_and_closes_the_gates():
    fresh = TransformerDenoiser(3, 5, 2, 32, width=32, depth=2, num_heads=2)
    parts = fresh.modulation(torch.rand(1, 1))[0, 0]
    expected = torch.tensor([0.0, 1.0, 0.0] * 6 + [0.0, 1.0])
    assert torch.equal(parts, expected[:, None].expand(-1, 32))


def test_a_shared_time_is_the_same_as_that_time_on_every_token(network):
    noisy, time, tokens = inputs()
    torch.testing.assert_close(network(noisy, time, tokens), network(noisy, time.expand(-1, 5), tokens))


def test_each_token_has_its_own_time(network):
    noisy, time, tokens = inputs()
    times = time.repeat(1, 5)
    changed = times.clone()
    changed[:, 2] = 1.0
    difference = (network(noisy, times, tokens) - network(noisy, changed, tokens)).abs()
    assert (difference[:, 2] > 1e-3).any()


def test_tokens_and_time_matter(network):
    noisy, time, tokens = inputs()
    velocity = network(noisy, time, tokens)
    assert not torch.allclose(velocity, network(noisy, time, tokens + 1.0 * torch.randn_like(tokens)), atol=1e-3)
    assert not torch.allclose(velocity, network(noisy, (time + 0.3) % 1.0, tokens), atol=1e-3)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_engine_gives_what_the_plain_loop_gives(network, solver):
    noisy, _, tokens = inputs()

    def velocity(x, t):
        return network(x, torch.full((len(x), 1), t), tokens)

    with torch.inference_mode():
        sample = DenoisingEngine(FlowSampler(solver, 7)).sample(network, tokens, noisy)
        torch.testing.assert_close(sample, integrate(velocity, noisy, SOLVERS[solver], 7), atol=1e-5, rtol=1e-5)


def test_time_features_have_the_stated_periods():
    features = TimeFeatures(64)
    periods = 2 * torch.pi / features.angular_frequencies
    assert periods.min() == pytest.approx(4e-3)
    assert periods.max() == pytest.approx(4.0)
    here, later = features(torch.tensor([[0.1, 0.1 + 4e-3]]))[0]
    assert here[0] == pytest.approx(later[0].item(), abs=1e-3)  # one shortest period on
