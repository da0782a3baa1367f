"""The solvers of diffusion that are offered: schedulers of ``diffusers``, and what is known about them."""

import inspect
from dataclasses import dataclass, field
from typing import Any

from praxon.errors import ConfigError, nearest
from praxon.policies.denoising.noise_schedule import NoiseSchedule
from praxon.policies.denoising.unrolled import Unrolled, unroll

SPACINGS = ("trailing", "linspace", "leading")
LEAST_START = 0.75  # share of the levels above which a solver has to start


@dataclass(frozen=True)
class DiffusionSolver:
    """A scheduler and its properties.

    Args:
        scheduler: name of the class in ``diffusers``.
        order: p, where half the step divides the error of the whole way by 2^p; of stochastic solvers the error of mean
            and covariance. The multi-step method of third order starts with a step of first order, which leaves two; the
            corrector of UniPC adds one to the order of its name.
        settings: arguments of the class.
        stochastic: whether its steps add noise.
        predicts_clean: see ``unroll``.
        spacings: ways to place the levels that it supports, its default first.
        keeps_noise: clipping the clean sample leaves the predicted noise as it is (else the noise follows from what
            was clipped).
    """

    scheduler: str
    order: int
    settings: dict[str, Any] = field(default_factory=dict)
    stochastic: bool = False
    predicts_clean: bool = True
    spacings: tuple[str, ...] = SPACINGS
    keeps_noise: bool = False


def _plus(order: int, **more: Any) -> dict[str, Any]:
    return {"algorithm_type": "dpmsolver++", "solver_order": order, "lower_order_final": True, **more}


DIFFUSION_SOLVERS = {
    # Ho et al., arXiv 2006.11239
    "ddpm": DiffusionSolver("DDPMScheduler", 1, stochastic=True, spacings=("leading", "linspace", "trailing")),
    # Song et al., arXiv 2010.02502. Its levels are a fixed stride apart, whatever the spacing.
    "ddim": DiffusionSolver("DDIMScheduler", 1, spacings=("leading", "trailing"), keeps_noise=True),
    # Karras et al., arXiv 2206.00364
    "euler": DiffusionSolver("EulerDiscreteScheduler", 1),
    # From the noisiest level of a cosine sigma / alpha falls a hundredfold in a step, too much for Heun: leading levels only.
    "heun": DiffusionSolver("HeunDiscreteScheduler", 2, {"timestep_spacing": "leading"}, spacings=("leading",)),
    "euler_ancestral": DiffusionSolver("EulerAncestralDiscreteScheduler", 1, stochastic=True, predicts_clean=False),
    # Lu et al., arXiv 2211.01095: multi-step (m) and single-step (s)
    "dpmpp_1": DiffusionSolver("DPMSolverMultistepScheduler", 1, _plus(1)),
    "dpmpp_2m": DiffusionSolver("DPMSolverMultistepScheduler", 2, _plus(2)),
    "dpmpp_3m": DiffusionSolver("DPMSolverMultistepScheduler", 2, _plus(3)),
    "dpmpp_2s": DiffusionSolver("DPMSolverSinglestepScheduler", 2, _plus(2), spacings=("linspace",)),
    "dpmpp_3s": DiffusionSolver("DPMSolverSinglestepScheduler", 3, _plus(3), spacings=("linspace",)),
    "dpmpp_2m_sde": DiffusionSolver(
        "DPMSolverMultistepScheduler", 2, _plus(2, algorithm_type="sde-dpmsolver++"), stochastic=True
    ),
    # Zhang and Chen, arXiv 2204.13902. It ends at the cleanest level, with that level's noise.
    "deis_2": DiffusionSolver("DEISMultistepScheduler", 2, {"solver_order": 2}),
    # Zhao et al., arXiv 2302.04867
    "unipc_2": DiffusionSolver("UniPCMultistepScheduler", 3, {"solver_order": 2}),
    "unipc_3": DiffusionSolver("UniPCMultistepScheduler", 4, {"solver_order": 3}),
}


def diffusion_solver_by_name(name: str) -> DiffusionSolver:
    """The solver of that name; ``ConfigError`` lists the names there are."""
    if name not in DIFFUSION_SOLVERS:
        raise ConfigError(
            f"Diffusion solver '{name}' does not exist. Solvers: {', '.join(DIFFUSION_SOLVERS)}."
            f"{nearest(name, DIFFUSION_SOLVERS)}"
        )
    return DIFFUSION_SOLVERS[name]


def scheduler_of(name: str, schedule: NoiseSchedule, steps: int, spacing: str | None, prediction: str) -> Any:
    """The scheduler of ``diffusers`` itself, with its levels set, for a network that predicts ``prediction``."""
    import diffusers

    solver = diffusion_solver_by_name(name)
    settings = {**schedule.settings, **solver.settings, "prediction_type": prediction, "clip_sample": False}
    if len(solver.spacings) > 1:
        settings["timestep_spacing"] = solver.spacings[0] if spacing is None else spacing
    kind = getattr(diffusers, solver.scheduler)
    known = inspect.signature(kind).parameters
    scheduler = kind(**{key: value for key, value in settings.items() if key in known})
    scheduler.set_timesteps(steps)
    return scheduler


def unroll_solver(name: str, schedule: NoiseSchedule, steps: int, spacing: str | None, eta: float) -> Unrolled:
    """The solver's coefficients.

    Args:
        name: of the solver.
        schedule: levels of the training.
        steps: of the solver.
        spacing: which levels (arXiv 2305.08891, table 2); the solver's default where ``None``. ``trailing`` starts at the
            noisiest, ``leading`` some way below it.
        eta: share of the noise of DDPM that DDIM adds at every step.

    Raises:
        ConfigError: an unknown name, or settings that do not go together.
    """
    import diffusers  # takes seconds to import, and only diffusion needs it

    solver = diffusion_solver_by_name(name)
    spacing = solver.spacings[0] if spacing is None else spacing
    _check(name, solver, schedule, steps, spacing, eta)
    settings = {**schedule.settings, **solver.settings}
    if len(solver.spacings) > 1:
        settings["timestep_spacing"] = spacing
    more = {"eta": eta} if eta else {}
    unrolled = unroll(getattr(diffusers, solver.scheduler), settings, steps, solver.predicts_clean, **more)
    start = unrolled.stages[0].level
    if start < LEAST_START * (schedule.num_levels - 1):
        raise ConfigError(
            f"Solver '{name}' with {steps} {spacing} steps would start at level {start:g} of {schedule.num_levels}, where pure "
            f"noise is not what the network was trained on; use another number of steps or spacing."
        )
    return unrolled


def _check(name: str, solver: DiffusionSolver, schedule: NoiseSchedule, steps: int, spacing: str, eta: float) -> None:
    levels = schedule.num_levels
    # Without the cleanest, which multi-step solvers leave out where levels are spread evenly, one less is to be had.
    most = levels if solver.scheduler in ("DDPMScheduler", "DDIMScheduler") else levels - 1
    if not 1 <= steps <= most:
        raise ConfigError(f"Solver '{name}' takes 1 to {most} steps through {levels} noise levels; got {steps}.")
    if spacing not in solver.spacings:
        raise ConfigError(
            f"Solver '{name}' cannot space its levels '{spacing}'. Spacings: {', '.join(solver.spacings)}."
            f"{nearest(spacing, solver.spacings)}"
        )
    if name == "ddim" and spacing == "trailing" and levels % steps:
        raise ConfigError(
            f"DDIM with trailing levels takes a number of steps that divides the {levels} noise levels; got {steps}."
        )
    if eta and name != "ddim":
        raise ConfigError(f"The setting eta belongs to solver 'ddim'; solver '{name}' takes eta=0, got {eta}.")
    if not 0.0 <= eta <= 1.0:
        raise ConfigError(f"The setting eta lies between 0, no noise, and 1, that of DDPM; got {eta}.")
