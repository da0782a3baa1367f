"""Solvers and the flow they integrate: order of convergence, and Gaussian data whose ideal velocity is known."""

import math

import pytest
import torch

from praxon.errors import ConfigError
from praxon.policies.denoising.solvers import SOLVERS, integrate, solver_by_name


@pytest.mark.parametrize("name", SOLVERS)
def test_order_of_convergence(name):
    # dx/dt = x cos(5 t) has x(1) = x(0) exp(sin(5) / 5).
    start = torch.tensor([1.0, -2.0], dtype=torch.float64)
    exact = start * math.exp(math.sin(5.0) / 5.0)
    errors = [
        (integrate(lambda x, t: x * math.cos(5 * t), start, SOLVERS[name], steps) - exact).abs().max().item()
        for steps in ((128, 256) if SOLVERS[name].order > 2 else (512, 1024))
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(SOLVERS[name].order, abs=0.05)


@pytest.mark.parametrize("name", SOLVERS)
def test_evaluations_are_counted_and_lie_on_the_nodes(name):
    solver, times = SOLVERS[name], []

    def velocity(x, t):
        times.append(t)
        return x

    integrate(velocity, torch.ones(1), solver, 4)
    assert times == pytest.approx([(step + node) / 4 for step in range(4) for node in solver.nodes])
    assert len(times) == 4 * solver.evaluations


@pytest.mark.parametrize("name", SOLVERS)
def test_gaussian_data_keep_their_mean_and_covariance(name):
    # For a ~ N(m, C) and e ~ N(0, I): x_t ~ N(t m, S_t) with S_t = (1-t)^2 I + t^2 C, and
    # E[a - e | x_t] = m + (t C - (1-t) I) S_t^-1 (x_t - t m).
    mean = torch.tensor([1.0, -2.0], dtype=torch.float64)
    covariance = torch.tensor([[0.5, 0.3], [0.3, 0.4]], dtype=torch.float64)
    identity = torch.eye(2, dtype=torch.float64)

    def velocity(x, t):
        spread = (1 - t) ** 2 * identity + t**2 * covariance
        gain = (t * covariance - (1 - t) * identity) @ torch.linalg.inv(spread)
        return mean + (x - t * mean) @ gain.T

    # Noise with exactly zero mean and unit covariance, so that nothing is left to chance.
    noise = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    samples = integrate(velocity, noise, SOLVERS[name], 400)
    torch.testing.assert_close(samples.mean(0), mean, atol=1e-9, rtol=0)
    torch.testing.assert_close(samples.T.cov(correction=0), covariance, atol=5e-3, rtol=0)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"'huen'.*euler, heun.*Did you mean 'heun'"):
        solver_by_name("huen")
