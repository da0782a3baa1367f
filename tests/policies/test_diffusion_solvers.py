"""Solvers of diffusion: Gaussian data whose ideal denoiser is known, order of convergence, and diffusers' own steps."""

import math
from functools import cache

import numpy as np
import pytest
import torch

from praxon.errors import ConfigError
from praxon.policies.denoising.diffusion_sampler import PREDICTIONS, DiffusionSampler
from praxon.policies.denoising.diffusion_solvers import DIFFUSION_SOLVERS, diffusion_solver_by_name
from praxon.policies.denoising.noise_schedule import BETA_SCHEDULES, NoiseSchedule

COSINE = NoiseSchedule()
EVERY = [pytest.param(name, 0.0, id=name) for name in DIFFUSION_SOLVERS] + [pytest.param("ddim", 1.0, id="ddim-eta")]


def unit_noise(sampler: DiffusionSampler, size: int) -> torch.Tensor:
    """No noise, then each number of it at one in turn: what they give is the whole of an affine sampler."""
    numbers = torch.eye(sampler.num_noises * size, dtype=torch.float64)
    noise = torch.cat([torch.zeros_like(numbers[:1]), numbers]).view(-1, sampler.num_noises, 1, size)
    return noise if sampler.num_noises > 1 else noise[:, 0]


def moments(samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (size,) and covariance (size, size) under unit normal noise, from what ``unit_noise`` gave, (.., size)."""
    jacobian = samples[1:] - samples[0]
    return samples[0], jacobian.T @ jacobian


def levels_of(sampler: DiffusionSampler, schedule: NoiseSchedule) -> list[float]:
    return [schedule.num_levels * (1.0 - time) for time in sampler.times]


@pytest.mark.parametrize(("name", "eta"), EVERY)
def test_gaussian_data_keep_their_mean_and_covariance(name, eta):
    # a ~ N(m, C), x = alpha a + sigma e: E[a | x] = m + alpha C (alpha^2 C + sigma^2 I)^-1 (x - alpha m), an affine map,
    # so that the sampler is affine in its noise, and mean and covariance follow without drawing anything.
    mean = torch.tensor([0.5, -1.0], dtype=torch.float64)
    covariance = torch.tensor([[0.5, 0.3], [0.3, 0.4]], dtype=torch.float64)
    first_order = DIFFUSION_SOLVERS[name].order == 1
    sampler = DiffusionSampler(COSINE, "sample", solver=name, steps=99 if first_order else 50, eta=eta)
    levels = levels_of(sampler, COSINE)

    def evaluate(x, index):
        alpha, sigma = COSINE.at(levels[index])
        spread = alpha**2 * covariance + sigma**2 * torch.eye(2, dtype=torch.float64)
        return mean + (x - alpha * mean) @ (alpha * torch.linalg.inv(spread) @ covariance)

    sampled_mean, sampled_covariance = moments(sampler.run(evaluate, unit_noise(sampler, 2))[:, 0])
    torch.testing.assert_close(sampled_mean, mean, atol=0.01, rtol=0)
    torch.testing.assert_close(sampled_covariance, covariance, atol=0.03 if first_order else 0.01, rtol=0)


FINE = (
    3841  # levels, log(alpha / sigma) falling in equal steps from 1.5 to -1.5: nothing but the solver limits accuracy
)
MIDDLE = (FINE - 1) // 2
MEAN, SPREAD = 0.8, 0.3


class EvenSchedule(NoiseSchedule):
    """log(alpha / sigma) falls in equal steps."""

    @property
    def settings(self):
        alpha_squared = 1.0 / (1.0 + np.exp(-2.0 * np.linspace(1.5, -1.5, self.num_levels)))
        betas = 1.0 - alpha_squared / np.append(1.0, alpha_squared[:-1])
        return {"num_train_timesteps": self.num_levels, "trained_betas": betas.tolist()}


@cache
def fine() -> NoiseSchedule:
    return EvenSchedule(FINE)


def fine_error(name: str, steps: int, eta: float) -> float:
    """Error at the middle level, for N(MEAN, SPREAD^2) and its ideal denoiser, against what the solver shall solve there."""
    solver = DIFFUSION_SOLVERS[name]
    spacing = "linspace" if "linspace" in solver.spacings else "leading"
    # Some schedulers count the levels, ends included, others the intervals between them.
    counts_levels = spacing == "linspace" and solver.scheduler.startswith(("Euler", "DDPM"))
    sampler = DiffusionSampler(fine(), "sample", solver=name, steps=steps + counts_levels, spacing=spacing, eta=eta)
    levels = levels_of(sampler, fine())
    seen = {}

    def evaluate(x, index):
        seen[round(levels[index])] = x[:, 0, 0]  # the last time at a level, once a corrector has had its say
        alpha, sigma = fine().at(levels[index])
        return MEAN + alpha * SPREAD**2 / (alpha**2 * SPREAD**2 + sigma**2) * (x - alpha * MEAN)

    sampler.run(evaluate, unit_noise(sampler, 1))
    start, middle = seen[round(levels[0])], seen[MIDDLE]
    (alpha_0, sigma_0), (alpha, sigma) = fine().at(levels[0]), fine().at(MIDDLE)
    variance_0, variance = (a**2 * SPREAD**2 + s**2 for a, s in ((alpha_0, sigma_0), (alpha, sigma)))
    if not (solver.stochastic or eta):
        # The probability flow carries quantiles to quantiles.
        exact = alpha * MEAN + math.sqrt(variance / variance_0) * (start - alpha_0 * MEAN)
        return (middle - exact).abs().max().item()
    # The reverse process draws x_k given x_K as the forward one has it: regression of one Gaussian on the other.
    gain = alpha_0 / alpha * variance / variance_0
    (mean_0, spread_0), (mean, spread) = (moments(x[:, None]) for x in (start, middle))
    torch.testing.assert_close(mean, alpha * MEAN + gain * (mean_0 - alpha_0 * MEAN), atol=1e-5, rtol=0)
    return (spread - variance - gain**2 * (spread_0 - variance_0)).abs().item()


@pytest.mark.parametrize(("name", "eta"), EVERY)
def test_order_of_convergence(name, eta):
    order = DIFFUSION_SOLVERS[name].order
    # Coefficients are single precision: the fourth order is there with few steps already, and no longer with many.
    coarse, finer = (fine_error(name, steps, eta) for steps in ((12, 24) if order > 3 else (24, 48)))
    assert math.log2(coarse / finer) == pytest.approx(order, abs=0.3)


@pytest.mark.parametrize("betas", BETA_SCHEDULES)
@pytest.mark.parametrize("name", DIFFUSION_SOLVERS)
def test_a_single_data_point_is_reached_from_any_noise_by_any_spacing(name, betas):
    # x_k = alpha_k a + sigma_k e holds at every level on the way of a deterministic solver, whose levels must thus fit.
    schedule, solver = NoiseSchedule(betas=betas), DIFFUSION_SOLVERS[name]
    point = torch.full((1, 1, 1), 0.7, dtype=torch.float64)
    for spacing in solver.spacings:
        sampler = DiffusionSampler(schedule, "sample", solver=name, steps=10, spacing=spacing)
        levels, seen = levels_of(sampler, schedule), []

        def evaluate(x, index, seen=seen):
            seen.append(x)
            return point

        noise = torch.randn(unit_noise(sampler, 1)[:1].shape, generator=torch.Generator().manual_seed(0)).double()
        sample = sampler.run(evaluate, noise)
        left = schedule.at(0)[1] if name.startswith("deis") else 0.0
        torch.testing.assert_close(sample, point, atol=1e-5 + 4 * left, rtol=0)
        if not solver.stochastic:
            alpha_0, sigma_0 = schedule.at(levels[0])
            scaled_noise = (seen[0] - alpha_0 * point) / sigma_0
            for level, x in zip(levels, seen, strict=True):
                alpha, sigma = schedule.at(level)
                torch.testing.assert_close(x, alpha * point + sigma * scaled_noise, atol=2e-4, rtol=0)


@pytest.mark.parametrize("clip", [None, 0.8])
@pytest.mark.parametrize(("name", "prediction"), [("ddpm", "epsilon"), ("ddim", "epsilon"), ("ddim", "v_prediction")])
def test_steps_are_those_of_diffusers(name, prediction, clip):
    import diffusers

    sampler = DiffusionSampler(COSINE, prediction, clip, solver=name, steps=20)
    noise = torch.randn(4, sampler.num_noises, 6, 2, generator=torch.Generator().manual_seed(0))
    noise = noise if sampler.num_noises > 1 else noise[:, 0]
    scheduler = getattr(diffusers, DIFFUSION_SOLVERS[name].scheduler)(
        100,
        beta_schedule="squaredcos_cap_v2",
        prediction_type=prediction,
        clip_sample=clip is not None,
        clip_sample_range=clip or 1.0,
        timestep_spacing="leading",
    )
    scheduler.set_timesteps(20)

    def evaluate(x, index):
        return torch.tanh(0.7 * x + 0.1 * index)

    expected = (noise[:, 0] if sampler.num_noises > 1 else noise).clone()
    for index, level in enumerate(scheduler.timesteps):
        predicted = evaluate(expected, index)
        if name == "ddim":
            expected = scheduler.step(predicted, level, expected).prev_sample
            continue
        drawn = torch.randn(expected.shape, generator=torch.Generator().manual_seed(index))
        step = scheduler.step(predicted, level, expected, generator=torch.Generator().manual_seed(index)).prev_sample
        # DDPM draws its own noise; put the given one in its place.
        deviation = scheduler._get_variance(int(level)) ** 0.5 if level > 0 else 0.0
        given = noise[:, index + 1] if level > 0 else drawn
        expected = step + deviation * (given - drawn)
    torch.testing.assert_close(sampler.run(evaluate, noise), expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_every_kind_of_prediction_says_the_same(prediction):
    # One ideal denoiser told in three ways.
    def run(kind):
        sampler = DiffusionSampler(COSINE, kind, clip=0.5, solver="dpmpp_2m", steps=8)
        levels = levels_of(sampler, COSINE)

        def evaluate(x, index):
            alpha, sigma = COSINE.at(levels[index])
            clean = torch.tanh(x + 0.3)
            noise = (x - alpha * clean) / sigma
            return {"sample": clean, "epsilon": noise, "v_prediction": alpha * noise - sigma * clean}[kind]

        return sampler.run(evaluate, torch.linspace(-2.0, 2.0, 12, dtype=torch.float64).view(3, 2, 2))

    torch.testing.assert_close(run(prediction), run("sample"), atol=1e-9, rtol=0)
    assert run(prediction).abs().max() <= 0.5 + 1e-6  # the last step ends on a clean chunk, which is clipped


def test_noise_is_what_is_given_and_nothing_else():
    sampler = DiffusionSampler(COSINE, "sample", solver="ddpm", steps=10)
    noise = torch.randn(2, sampler.num_noises, 4, 3, generator=torch.Generator().manual_seed(0))
    state = torch.random.get_rng_state()
    first, second = (sampler.run(lambda x, index: 0.5 * x, noise) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(state, torch.random.get_rng_state())
    # Level 0 adds none: the start and nine steps.
    assert sampler.num_noises == 10
    changed = noise.clone()
    changed[:, -1] += 1.0
    assert not torch.allclose(first, sampler.run(lambda x, index: 0.5 * x, changed), atol=1e-3)


def test_ddim_with_all_its_noise_is_ddpm():
    ddim = DiffusionSampler(COSINE, "sample", solver="ddim", steps=20, eta=1.0)
    ddpm = DiffusionSampler(COSINE, "sample", solver="ddpm", steps=20)
    noise = torch.randn(2, ddpm.num_noises, 4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    extra = torch.zeros(2, ddim.num_noises - ddpm.num_noises, 4, 3, dtype=torch.float64)
    samples = ddim.run(lambda x, index: x.tanh(), torch.cat([noise, extra], dim=1))
    torch.testing.assert_close(samples, ddpm.run(lambda x, index: x.tanh(), noise), atol=1e-5, rtol=0)


@pytest.mark.parametrize("betas", BETA_SCHEDULES)
def test_schedules_preserve_variance_and_grow_noisier(betas):
    alpha, sigma = NoiseSchedule(betas=betas).at(np.arange(100))
    np.testing.assert_allclose(alpha**2 + sigma**2, 1.0, rtol=1e-12)
    assert (np.diff(sigma) >= 0).all()
    assert sigma[-1] > sigma[0]
    between = NoiseSchedule(betas=betas).at(41.5)[1]
    assert sigma[41] < between < sigma[42]


def test_the_cosine_schedule_is_the_published_one():
    # abar_k = f((k + 1) / N) / f(0) with f(u) = cos^2((u + 0.008) / 1.008 pi / 2), while no beta is capped.
    f = np.cos((np.arange(0, 91) / 100 + 0.008) / 1.008 * np.pi / 2) ** 2
    alpha, _ = COSINE.at(np.arange(90))
    np.testing.assert_allclose(alpha**2, f[1:] / f[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"solver": "dpmp_2m"}, r"'dpmp_2m'.*Did you mean 'dpmpp_2m'"),
        (
            {"solver": "ddim", "spacing": "linspace"},
            "'ddim' cannot space its levels 'linspace'. Spacings: leading, trailing",
        ),
        ({"solver": "ddim", "steps": 0}, "takes 1 to 100 steps through 100 noise levels; got 0"),
        ({"solver": "ddim", "steps": 7, "spacing": "trailing"}, "divides the 100 noise levels; got 7"),
        ({"solver": "unipc_2", "steps": 50, "spacing": "leading"}, "would start at level 50 of 100"),
        ({"solver": "heun", "eta": 0.5}, "eta belongs to solver 'ddim'"),
        ({"solver": "ddim", "eta": 1.5}, "between 0, no noise, and 1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        DiffusionSampler(COSINE, **{"steps": 10, **settings})


def test_other_names_are_refused():
    with pytest.raises(ConfigError, match=r"'epsilom'.*Did you mean 'epsilon'"):
        DiffusionSampler(COSINE, "epsilom")
    with pytest.raises(ConfigError, match="'cosine' does not exist. Schedules: squaredcos_cap_v2"):
        NoiseSchedule(betas="cosine")
    with pytest.raises(ConfigError, match="at least two noise levels; got 1"):
        NoiseSchedule(1)
    with pytest.raises(ConfigError, match="'eular'.*Did you mean 'euler'"):
        diffusion_solver_by_name("eular")
