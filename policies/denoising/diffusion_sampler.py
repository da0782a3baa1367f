"""Sampling with a network that was trained by diffusion: any solver, any kind of prediction."""

from typing import Any

from torch import Tensor

from praxon.errors import ConfigError, nearest
from praxon.policies.denoising.diffusion_solvers import diffusion_solver_by_name, scheduler_of, unroll_solver
from praxon.policies.denoising.noise_schedule import NoiseSchedule
from praxon.policies.denoising.samplers import Evaluate, Level, Sampler

PREDICTIONS = ("epsilon", "sample", "v_prediction")


class DiffusionSampler(Sampler):
    """Carries noise to data from level to level.

    At the noisiest levels of a cosine schedule the data are a thousandth of what the network sees: the clean chunk that
    follows from a predicted noise is then its error times a thousand. Networks that predict ``epsilon`` want ``leading``
    levels, which begin lower, or ``clip``.

    Args:
        schedule: the levels of the training.
        prediction: what the network gives: ``epsilon``, the noise; ``sample``, the clean chunk; ``v_prediction``,
            alpha e - sigma a (Salimans and Ho, arXiv 2202.00512).
        clip: largest absolute value of a clean chunk in network units; predictions beyond it are clipped at every step.
        solver: name of the solver.
        steps: of the solver.
        spacing: where its levels lie: ``leading``, ``linspace``, ``trailing``; the solver's default where ``None``.
        eta: share of DDPM's noise that DDIM adds.

    Raises:
        ConfigError: an unknown name, or settings that do not go together.
    """

    def __init__(
        self,
        schedule: NoiseSchedule,
        prediction: str = "epsilon",
        clip: float | None = None,
        *,
        solver: str = "dpmpp_2m",
        steps: int = 10,
        spacing: str | None = None,
        eta: float = 0.0,
    ) -> None:
        if prediction not in PREDICTIONS:
            raise ConfigError(
                f"Prediction '{prediction}' does not exist. Predictions: {', '.join(PREDICTIONS)}."
                f"{nearest(prediction, PREDICTIONS)}"
            )
        self.predicts, self.clip = prediction, clip
        self._schedule = schedule
        self._settings: dict[str, Any] = {"solver": solver, "steps": steps, "spacing": spacing, "eta": eta}
        self._keeps_noise = diffusion_solver_by_name(solver).keeps_noise
        self._unrolled = unroll_solver(solver, schedule, steps, spacing, eta)
        levels = [stage.level for stage in self._unrolled.stages]
        self.times = [1.0 - level / schedule.num_levels for level in levels]
        self._alpha_sigma = [(float(alpha), float(sigma)) for alpha, sigma in map(schedule.at, levels)]
        self.num_noises = 1 + sum(stage.noise != 0.0 for stage in self._unrolled.stages)

    def run(self, evaluate: Evaluate, noise: Tensor) -> Tensor:
        """See ``Sampler.run``; where steps add noise, noise[:, 0] is the start and the rest is used in order."""
        draws = iter(noise.unbind(1) if self.num_noises > 1 else (noise,))
        states = [self._unrolled.initial * next(draws)]
        clean: list[Tensor] = []
        for index, stage in enumerate(self._unrolled.stages):
            noisy = stage.scale * states[index]
            free = self.clean(noisy, evaluate(noisy, index), index)
            clean.append(self.bounded(free))
            terms = [weight * states[j] for j, weight in stage.states] + [
                weight * clean[j] for j, weight in stage.clean
            ]
            if self.clip is not None and self._keeps_noise:
                # The weight of x_i is the new sigma / sigma_i: the new noise is what was predicted before clipping.
                alpha = self._alpha_sigma[index][0]
                terms += [weight * alpha * (clean[j] - free) for j, weight in stage.states]
            if stage.noise != 0.0:
                terms.append(stage.noise * next(draws))
            states.append(sum(terms[1:], start=terms[0]))
        return states[-1]

    def scheduler(self) -> Any | None:
        """The scheduler of ``diffusers`` that does the same; none where it draws noise of its own, or where clean chunks are
        clipped, which most of them do in another way."""
        if self.num_noises > 1 or self.clip is not None or self._settings["solver"] == "heun":
            return None
        solver, steps, spacing = (self._settings[key] for key in ("solver", "steps", "spacing"))
        return scheduler_of(solver, self._schedule, steps, spacing, prediction=self.predicts)

    def settings(self) -> dict[str, Any]:
        """Solver, steps, spacing of the levels, and DDIM's eta."""
        return dict(self._settings)

    def path(self, index: int) -> tuple[float, float]:
        """alpha and sigma of the level."""
        return self._alpha_sigma[index]

    def bounded(self, clean: Tensor) -> Tensor:
        """Clipped, where there is a clip."""
        return clean if self.clip is None else clean.clamp(-self.clip, self.clip)

    def level_at(self, time: float) -> Level:
        """The level of the schedule at that share of it, at most the noisiest; clean data at 1."""
        if time >= 1.0:
            return Level(1.0, 1.0, 0.0)
        count = self._schedule.num_levels
        level = min(count - 1.0, (1.0 - time) * count)
        alpha, sigma = self._schedule.at(level)
        return Level(1.0 - level / count, float(alpha), float(sigma))

    def clean_at(self, x: Tensor, prediction: Tensor, alpha: float | Tensor, sigma: float | Tensor) -> Tensor:
        """See ``Sampler.clean_at``."""
        if self.predicts == "epsilon":
            return (x - sigma * prediction) / alpha
        if self.predicts == "v_prediction":
            return alpha * x - sigma * prediction
        return prediction

    def prediction(self, x: Tensor, clean: Tensor, index: int) -> Tensor:
        """See ``Sampler.prediction``."""
        alpha, sigma = self._alpha_sigma[index]
        if self.predicts == "epsilon":
            return (x - alpha * clean) / sigma
        if self.predicts == "v_prediction":
            return (alpha * x - clean) / sigma
        return clean
