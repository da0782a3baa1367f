"""A scheduler of ``diffusers`` read off as a list of numbers.

For given levels every diffusion solver, single-step or multi-step, is linear in what it is handed: the states it has seen,
the network's predictions of the clean sample, and fresh noise. So its coefficients can be read off once by running it on
unit vectors, and sampling is then a plain sum of tensors:

    u_i = scale_i x_i,    a_i = network(u_i, k_i),    x_{i+1} = sum_j A_ij x_j + sum_j B_ij a_j + c_i z_i

That leaves nothing of the scheduler in the loop: no state that two threads or two samples could share, no indexing of
tensors on the CPU at every step, no random numbers but the given ones, and any precision and device.
"""

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Stage:
    """One evaluation of the network and the state that follows it.

    Args:
        level: k_i, where the network is asked.
        scale: what the state is multiplied with to become the network's input.
        states: (j, A_ij) for every earlier state that counts.
        clean: (j, B_ij) for every prediction that counts.
        noise: c_i.
    """

    level: float
    scale: float
    states: tuple[tuple[int, float], ...]
    clean: tuple[tuple[int, float], ...]
    noise: float


@dataclass(frozen=True)
class Unrolled:
    """A solver with its levels.

    Args:
        initial: what unit noise is multiplied with to become x_0.
        stages: in order.
    """

    initial: float
    stages: tuple[Stage, ...]


def unroll(kind: type, settings: dict[str, Any], steps: int, predicts_clean: bool = True, **step: Any) -> Unrolled:
    """Read off a scheduler's coefficients.

    Args:
        kind: class of the scheduler.
        settings: its constructor's arguments, without those on what the network predicts and on clipping.
        steps: as its ``set_timesteps`` counts them.
        predicts_clean: whether it takes predictions of the clean sample; else it is handed what the noise would then be,
            (x - a) sqrt(1 + s^2) / s in its own units, where s = sigma / alpha.
        step: more arguments of its ``step``.
    """
    scheduler, silent = (_scheduler(kind, settings, steps, predicts_clean) for _ in range(2))
    stages = []
    count = len(scheduler.timesteps)
    for index, level in enumerate(scheduler.timesteps):
        state, clean, noise = torch.eye(2 * count + 1, dtype=torch.float64)[[index, count + index, -1], None]
        scale = float(scheduler.scale_model_input(state, level)[0, index])
        silent.scale_model_input(state, level)
        handed = clean if predicts_clean else (state - clean) / (1.0 / scale**2 - 1.0) ** 0.5
        row = _step(scheduler, silent, handed, level, state, noise, step)[0].tolist()
        stages.append(
            Stage(
                level=float(level),
                scale=scale,
                states=tuple((j, value) for j, value in enumerate(row[:count]) if value != 0.0),
                clean=tuple((j, value) for j, value in enumerate(row[count:-1]) if value != 0.0),
                noise=row[-1],
            )
        )
    return Unrolled(float(scheduler.init_noise_sigma), tuple(stages))


def _step(
    scheduler: Any, silent: Any, handed: Tensor, level: Tensor, state: Tensor, noise: Tensor, more: dict[str, Any]
) -> Tensor:
    """What follows ``state``, with ``noise`` for the noise that the step adds.

    Some schedulers take the noise itself. Others only draw it: a second one, ``silent``, that has been handed nothing but
    zeros draws the same and gives that part alone.
    """
    known = inspect.signature(scheduler.step).parameters
    if "variance_noise" in known:
        more = {**more, "variance_noise": noise}
    elif "generator" in known:
        more = {**more, "generator": _generator()}
    after: Tensor = scheduler.step(handed, level, state, **more).prev_sample
    if "generator" not in more:
        return after
    alone = silent.step(torch.zeros_like(handed), level, 0.0 * state, **{**more, "generator": _generator()}).prev_sample
    drawn = torch.randn(handed.shape, generator=_generator(), dtype=handed.dtype)
    return after - alone + (alone * drawn).sum() / drawn.square().sum() * noise


def _scheduler(kind: type, settings: dict[str, Any], steps: int, predicts_clean: bool) -> Any:
    parameters = inspect.signature(kind).parameters
    fixed = {"prediction_type": "sample" if predicts_clean else "epsilon", "clip_sample": False}
    given = {**settings, **{name: value for name, value in fixed.items() if name in parameters}}
    scheduler = kind(**given)
    scheduler.set_timesteps(steps)
    return scheduler


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
