"""What draws chunks at a robot: arrays in, arrays out, whatever multiplies the matrices. Imports no torch.

A robot's computer may have no torch. So the agent, its noise and its observations are numpy, and a runtime is all that it
knows of a policy: the reference in torch, a compiled or captured one, or an exported one.

Shapes: B batch, T rows of a chunk, A components of the action.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from praxon.contract import PolicyContract


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
        name: of the backend, for people.
        digest: identity of the bundle that it draws for; empty where it is of no bundle.
    """

    contract: PolicyContract
    noise_shape: tuple[int, ...]
    continues: bool = False
    name: str = ""
    digest: str = ""

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

    def close(self) -> None:  # noqa: B027  (most runtimes hold nothing)
        """Release what the runtime holds."""
