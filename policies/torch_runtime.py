"""The reference runtime: a policy in torch, one operation after the other. Compiled and captured ones are made from its function.

Shapes: B batch, T rows of a chunk, A components of the action.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from praxon.policies.base import Policy
from praxon.policies.denoising.continuation import Plan
from praxon.policies.runtime import EARLY, PlannedRows, Runtime, example_chunk, example_window, require_precision


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """Within it a GPU multiplies float32 as tf32 if that is the precision, and exactly otherwise; processors are left alone."""
    if not torch.cuda.is_available():
        yield
        return
    switches: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [switch.allow_tf32 for switch in switches]
    try:
        for switch in switches:
            switch.allow_tf32 = precision == "tf32"
        yield
    finally:
        for switch, allowed in zip(switches, before, strict=True):
            switch.allow_tf32 = allowed


class ChunkFunction(nn.Module):
    """``Policy.sample`` as a function of tensors alone: what is compiled, captured and exported.

    Args:
        policy: frozen, in evaluation mode.
        precision: of the products inside.
    """

    def __init__(self, policy: Policy, precision: str = "float32") -> None:
        super().__init__()
        self.policy, self.continues, self.precision = policy, policy.continues, precision
        self.features = tuple(feature.name for feature in policy.contract.observations)

    def forward(self, noise: Tensor, *arrays: Tensor) -> Tensor:
        """Noise (B, ...), the features of one observation, then, where it continues, the plan -> chunks (B, T, A), float32."""
        window = dict(zip(self.features, arrays, strict=False))
        plan = None
        if self.continues:
            actions, weights = arrays[len(self.features) :]
            count = len(noise)
            plan = Plan(actions.expand(count, -1, -1), weights.expand(count, -1))
        if self.precision in ("float32", "tf32"):
            return self.policy.sample(window, noise, plan).float()
        with torch.autocast(noise.device.type, getattr(torch, self.precision)):
            return self.policy.sample(window, noise, plan).float()

    def examples(self, batch: int = 1) -> tuple[Tensor, ...]:
        """Arguments of the right shapes and types, on the policy's device."""
        contract = self.policy.contract
        arrays = [np.zeros((batch, *self.policy.noise_shape), np.float32), *example_window(contract).values()]
        if self.continues:
            arrays += [example_chunk(contract), np.zeros((1, contract.chunk.horizon), np.float32)]
        return tuple(torch.from_numpy(array).to(self.policy.device) for array in arrays)


class TorchRuntime(Runtime):
    """A policy in torch.

    Args:
        policy: frozen here; its engine's settings say whether chunks are continued.
        precision: of the products.

    Raises:
        ConfigError: unknown precision.
    """

    name = "eager"

    def __init__(self, policy: Policy, precision: str = "float32") -> None:
        require_precision(precision)
        policy.freeze()
        self.policy, self.contract = policy, policy.contract
        self.noise_shape, self.continues = policy.noise_shape, policy.continues
        self.early = policy.engine_settings().get("method") in EARLY
        self.function = ChunkFunction(policy, precision)

    def chunks(
        self, window: Mapping[str, np.ndarray], noise: np.ndarray, plan: PlannedRows | None = None
    ) -> np.ndarray:
        """See ``Runtime.chunks``."""
        self.require_inputs(window, noise, plan)
        arrays = [noise, *(window[name] for name in self.function.features)]
        if self.continues:
            rows, size = self.contract.chunk.horizon, self.contract.action.size
            if plan is None:
                plan = PlannedRows(np.zeros((rows, size)), np.zeros(rows))
            arrays += [plan.actions_TA[None].astype(np.float32), plan.weights_T[None].astype(np.float32)]
        return self.call([torch.from_numpy(np.ascontiguousarray(array)) for array in arrays])

    @torch.no_grad()
    def call(self, arrays: list[Tensor]) -> np.ndarray:
        """The function of tensors on the CPU, wherever it is computed."""
        with matmul_precision(self.function.precision):
            chunks: Tensor = self.function(*(array.to(self.policy.device) for array in arrays))
        return chunks.cpu().numpy()
