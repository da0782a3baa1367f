"""The best of many: by hand, and steering on a Gaussian and a quadratic value whose answer is known."""

import numpy as np
import pytest
import torch

from praxon.errors import ConfigError
from praxon.policies.denoising.samplers import FlowSampler
from praxon.policies.denoising.steering import steered
from praxon.policies.runtime import PlannedRows, Runtime
from praxon.policies.selection import Coherence, SelectingRuntime, Sum, Value


class Echo(Runtime):
    """Chunks that are their noise."""

    def __init__(self, contract, continues=False):
        self.contract, self.continues = contract, continues
        self.noise_shape = (contract.chunk.horizon, contract.action.size)
        self.plans = []

    def chunks(self, window, noise, plan=None):
        self.plans.append(plan)
        return noise


def test_coherence_by_hand():
    plan = PlannedRows(np.zeros((3, 2)), np.array([1.0, 0.5, 0.0]))
    chunks = np.zeros((3, 3, 2))
    chunks[0, 0] = (3.0, 4.0)  # 5 from the plan in the first row
    chunks[1, 1] = (3.0, 4.0)  # 5 in the second, which counts half
    chunks[2, 2] = (30.0, 40.0)  # where there is no plan
    np.testing.assert_allclose(Coherence(0.5).scores(chunks, {}, plan), [-10 / 3, -5 / 3, 0.0])
    assert not Coherence().scores(chunks, {}, None).any()
    with pytest.raises(ConfigError, match="above 0 and at most at 1; got 0"):
        Coherence(0.0)


def test_the_best_of_the_candidates_is_kept_and_what_is_not_finite_never(contract):
    critic = Value(lambda chunks, window: np.stack([chunks[:, 0, 0], 3 * chunks[:, 0, 0]]))
    runtime = SelectingRuntime(Echo(contract), 5, critic)
    noise = runtime.draw_noise(2, np.random.default_rng(0))
    assert noise.shape == (2, 5, 8, 3)
    noise[0, 1, 3, 0] = np.nan
    noise[0, 1, 0, 0] = 100.0
    drawn = runtime.chunks({}, noise)
    finite = [0, 2, 3, 4]
    assert np.array_equal(drawn[0], noise[0, finite[int(noise[0, finite, 0, 0].argmax())]])
    assert np.array_equal(drawn[1], noise[1, int(noise[1, :, 0, 0].argmax())])
    with pytest.raises(ConfigError, match="At least one candidate"):
        SelectingRuntime(Echo(contract), 0, critic)


def test_pessimism_prefers_what_critics_agree_on(contract):
    values = np.array([[1.0, 2.0], [1.0, 0.5]])
    assert Value(lambda chunks, window: values).scores(np.zeros((2, 8, 3)), {}, None).argmax() == 1
    assert Value(lambda chunks, window: values, 1.0).scores(np.zeros((2, 8, 3)), {}, None).argmax() == 0
    both = Sum([(Value(lambda chunks, window: values), 2.0), (Coherence(), 1.0)])
    np.testing.assert_allclose(both.scores(np.zeros((2, 8, 3)), {}, None), [2.0, 2.5])


def test_a_selector_sees_the_plan_that_the_runtime_does_not_take(contract):
    echo = Echo(contract)
    runtime = SelectingRuntime(echo, 3, Coherence())
    noise = runtime.draw_noise(1, np.random.default_rng(0))
    plan = PlannedRows(noise[0, 2].copy(), np.ones(8))
    assert np.array_equal(runtime.chunks({}, noise, plan)[0], noise[0, 2])
    assert echo.plans == [None]


def gaussian(sampler, mean, spread):
    """The ideal velocity for data ~ N(mean, spread^2)."""

    def evaluate(x, index):
        alpha, sigma = sampler.path(index)
        gain = alpha * spread**2 / (alpha**2 * spread**2 + sigma**2)
        return sampler.prediction(x, mean + gain * (x - alpha * mean), index)

    return evaluate


def test_steering_moves_the_mean_towards_the_peak_of_a_value_and_not_at_all_without_strength():
    sampler = FlowSampler("euler", 20)
    evaluate = gaussian(sampler, 0.0, 0.5)
    noise = torch.randn(4000, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain = sampler.run(evaluate, noise)

    def value(chunk):
        return -0.5 * (chunk - 0.4).square().sum(dim=(1, 2))

    none = sampler.run(steered(evaluate, sampler, value, beta=float("inf")), noise)
    assert torch.equal(none, plain)
    shifts = [
        (sampler.run(steered(evaluate, sampler, value, beta, largest_slope=1e9), noise) - plain).mean().item()
        for beta in (8.0, 4.0, 2.0)
    ]
    assert 0 < shifts[0] < shifts[1] < shifts[2] < 0.4
    # A slope is cut to its largest: 0.1 / beta, added on at most the whole path.
    cut = sampler.run(steered(evaluate, sampler, value, 1.0, largest_slope=0.1), noise) - plain
    assert cut.abs().max() < 0.1
    with pytest.raises(ConfigError, match="beta and a largest slope above 0"):
        steered(evaluate, sampler, value, 0.0)
