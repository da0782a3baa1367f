"""The reference runtime: a policy in torch, one operation after the other. Compiled and captured ones are made from its function.

Shapes: B batch, T rows of a chunk, A components of the action.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from praxon.errors import ConfigError
from praxon.policies.base import Policy
from praxon.policies.denoising.continuation import Plan
from praxon.policies.runtime import PlannedRows, Runtime

PRECISIONS = ("float32", "bfloat16", "float16", "tf32")


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
        contract, device = self.policy.contract, self.policy.device
        steps = contract.chunk.num_obs_steps
        arrays = [torch.zeros(batch, *self.policy.noise_shape)]
        for feature in contract.observations:
            value = torch.from_numpy(np.zeros((1, steps, *feature.shape), feature.dtype))
            if feature.kind == "pose":
                value[..., 3] = 1.0
            arrays.append(value)
        if self.continues:
            rows = contract.chunk.horizon
            planned = torch.zeros(1, rows, contract.action.size)
            if contract.action.kind == "pose":
                planned[..., 3] = 1.0
            arrays += [planned, torch.zeros(1, rows)]
        return tuple(array.to(device) for array in arrays)


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
        if precision not in PRECISIONS:
            raise ConfigError(f"Precision '{precision}' does not exist. Precisions: {', '.join(PRECISIONS)}.")
        policy.freeze()
        self.policy, self.contract = policy, policy.contract
        self.noise_shape, self.continues = policy.noise_shape, policy.continues
        self.function = ChunkFunction(policy, precision)

    def chunks(
        self, window: Mapping[str, np.ndarray], noise: np.ndarray, plan: PlannedRows | None = None
    ) -> np.ndarray:
        """See ``Runtime.chunks``."""
        arrays = [noise, *(window[name] for name in self.function.features)]
        if self.continues:
            rows, size = self.contract.chunk.horizon, self.contract.action.size
            if plan is None:
                plan = PlannedRows(np.zeros((rows, size)), np.zeros(rows))
            arrays += [plan.actions_TA[None].astype(np.float32), plan.weights_T[None].astype(np.float32)]
        elif plan is not None:
            raise ConfigError("This runtime continues no plan; engine={method:guided} makes one that does.")
        return self.call([torch.from_numpy(np.ascontiguousarray(array)) for array in arrays])

    @torch.no_grad()
    def call(self, arrays: list[Tensor]) -> np.ndarray:
        """The function of tensors on the CPU, wherever it is computed."""
        chunks: Tensor = self.function(*(array.to(self.policy.device) for array in arrays))
        return chunks.cpu().numpy()
