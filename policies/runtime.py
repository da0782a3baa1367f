"""What draws chunks at a robot: arrays in, arrays out, whatever multiplies the matrices. Imports no torch.

A robot's computer may have no torch. So the agent, its noise and its observations are numpy, and a runtime is all that it
knows of a policy: the reference in torch, a compiled or captured one, or an exported one.

Shapes: B batch, T rows of a chunk, A components of the action.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from praxon.contract import PolicyContract
from praxon.errors import ConfigError, nearest

PRECISIONS = ("float32", "bfloat16", "float16", "tf32")


def require_precision(precision: str) -> None:
    """Refuse a precision that does not exist.

    Raises:
        ConfigError: one that is not among ``PRECISIONS``.
    """
    if precision not in PRECISIONS:
        raise ConfigError(
            f"Precision '{precision}' does not exist. Precisions: {', '.join(PRECISIONS)}."
            f"{nearest(str(precision), PRECISIONS)}"
        )


def example_window(contract: PolicyContract, generator: np.random.Generator | None = None) -> dict[str, np.ndarray]:
    """One observation (1, num_obs_steps, *shape) by feature name, with unit quaternions.

    Args:
        contract: of the policy.
        generator: of unit normal numbers, and of whole ones as in pictures; zeros, and poses upright, where ``None``.
    """
    window = {}
    for feature in contract.observations:
        shape, dtype = (1, contract.chunk.num_obs_steps, *feature.shape), np.dtype(feature.dtype)
        if generator is None:
            value = np.zeros(shape, dtype)
        elif np.issubdtype(dtype, np.integer):
            value = generator.integers(0, 255, shape).astype(dtype)
        else:
            value = generator.standard_normal(shape).astype(dtype)
        if feature.kind == "pose":
            if generator is None:
                value[..., 3] = 1.0
            else:
                value[..., 3:7] /= np.linalg.norm(value[..., 3:7], axis=-1, keepdims=True)
        window[feature.name] = value
    return window


def example_chunk(contract: PolicyContract) -> np.ndarray:
    """One chunk (1, horizon, A) of zeros, float32, poses upright."""
    chunk = np.zeros((1, contract.chunk.horizon, contract.action.size), np.float32)
    if contract.action.kind == "pose":
        chunk[..., 3] = 1.0
    return chunk


EARLY = ("prefix",)
"""Methods of continuing chunks that gain where the next is asked for early, since what is fixed is the plan to the last row;
where it is pulled towards the plan, each seam takes a little away from what was seen (``benchmarks/real_time_chunking.py``)."""


class PlannedRows(NamedTuple):
    """What is planned already for the instants of the chunk to be drawn; see ``denoising.continuation.Plan``.

    Args:
        actions_TA: physical.
        weights_T: 1 where the action is fixed, less where it is wanted, 0 where there is no plan.
    """

    actions_TA: np.ndarray
    weights_T: np.ndarray


class Runtime(ABC):
    """Draws chunks of one policy.

    Attributes:
        contract: of the policy.
        noise_shape: of the noise of one sample.
        continues: whether ``chunks`` takes a plan.
        early: whether the next chunk is to be asked for earlier, by as much as the latest ones were late.
        name: of the backend, for people.
        digest: identity of the bundle that it draws for; empty where it is of no bundle.
        batch: chunks that it draws at once; any number where ``None``.
        settings: ``engine`` and ``serving``, all of both, where it was opened from a folder.
    """

    contract: PolicyContract
    noise_shape: tuple[int, ...]
    continues: bool = False
    early: bool = False
    name: str = ""
    digest: str = ""
    batch: int | None = None
    settings: Mapping[str, Mapping[str, Any]] = MappingProxyType({})

    @abstractmethod
    def chunks(
        self, window: Mapping[str, np.ndarray], noise: np.ndarray, plan: PlannedRows | None = None
    ) -> np.ndarray:
        """Chunks in physical units (B, T, A), float32.

        Args:
            window: every observation feature by name (1, num_obs_steps, *shape): one observation for all chunks.
            noise: unit normal (B, *noise_shape), float32.
            plan: to be continued, by runtimes that can.

        Raises:
            ConfigError: a shape that this runtime was not made for.
        """

    def draw_noise(self, count: int, generator: np.random.Generator) -> np.ndarray:
        """Noise of ``count`` chunks."""
        return generator.standard_normal((count, *self.noise_shape), dtype=np.float32)

    def require_inputs(
        self, window: Mapping[str, np.ndarray], noise: np.ndarray, plan: PlannedRows | None = None
    ) -> None:
        """Refuse arguments of ``chunks`` that this runtime was not made for; takes microseconds.

        Raises:
            ConfigError: a feature, the noise or the plan is of another shape or type, or a plan that is not continued.
        """
        for name, (shape, dtype) in self._window.items():
            value = window.get(name)
            if value is None:
                raise ConfigError(f"The observation lacks '{name}'; the policy sees {', '.join(self._window)}.")
            if value.shape != shape or value.dtype != dtype:
                raise ConfigError(
                    f"The observation has '{name}' {value.shape} of {value.dtype}; {shape} of {dtype} is needed: one "
                    "observation, the steps of the window, the feature."
                )
        if noise.shape[1:] != self.noise_shape or noise.dtype != np.float32 or not len(noise):
            shown = ", ".join(["chunks", *map(str, self.noise_shape)])
            raise ConfigError(f"The noise is {noise.shape} of {noise.dtype}; ({shown}) of float32 is needed.")
        if self.batch is not None and len(noise) != self.batch:
            raise ConfigError(
                f"Backend '{self.name}' was made for {self.batch} chunks at once; {len(noise)} were asked for. "
                f"batch={len(noise)} makes one for as many, at praxon export for a portable policy."
            )
        if plan is None:
            return
        if not self.continues:
            raise ConfigError(
                "This runtime continues no plan; engine={method:guided} makes one that does, at praxon export for a portable "
                "policy."
            )
        rows, size = self.contract.chunk.horizon, self.contract.action.size
        if plan.actions_TA.shape != (rows, size) or plan.weights_T.shape != (rows,):
            raise ConfigError(
                f"The plan has actions {plan.actions_TA.shape} and weights {plan.weights_T.shape}; ({rows}, {size}) and ({rows},) "
                "are needed."
            )

    @cached_property
    def _window(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """Shape and type of every feature of an observation."""
        steps = self.contract.chunk.num_obs_steps
        return {
            feature.name: ((1, steps, *feature.shape), np.dtype(feature.dtype))
            for feature in self.contract.observations
        }

    def close(self) -> None:  # noqa: B027  (most runtimes hold nothing)
        """Release what the runtime holds."""
