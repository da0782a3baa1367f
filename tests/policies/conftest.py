"""A small contract and batches for it."""

from typing import Any

import numpy as np
import pytest
import torch

from praxon.contract import Chunk, Feature, PolicyContract
from praxon.policies.base import Needs

torch.set_num_threads(1)  # small networks; two threads on a busy machine wait for each other


@pytest.fixture
def contract() -> PolicyContract:
    return PolicyContract(
        robot="toy",
        task="toy",
        observations=(
            Feature("observation.state", "joint_position", (3,), ("a", "b", "c"), unit="rad"),
            Feature(
                "observation.environment_state",
                "pose",
                (7,),
                ("x", "y", "z", "qw", "qx", "qy", "qz"),
                unit="m,m,m,1,1,1,1",
            ),
        ),
        action=Feature("action", "joint_position", (3,), ("a", "b", "c"), unit="rad"),
        chunk=Chunk(horizon=8, num_execute=4, control_period_s=0.05, num_obs_steps=2),
    )


@pytest.fixture
def camera_contract(contract: PolicyContract) -> PolicyContract:
    camera = Feature("observation.images.front", "image", (24, 32, 3), dtype="uint8", source="front")
    return PolicyContract(
        contract.robot, contract.task, (*contract.observations, camera), contract.action, contract.chunk
    )


def make_batch(
    contract: PolicyContract, size: int, seed: int = 0, needs: Needs | None = None
) -> dict[str, torch.Tensor]:
    """Random values in plausible physical units, with later observations and zeros for extras where they are needed."""
    random = np.random.default_rng(seed)
    chunk = contract.chunk
    batch = {}
    needs = needs or Needs()
    looks = np.shape(needs.future)
    names = [(feature, feature.name, ()) for feature in contract.observations]
    if needs.future is not None:
        names += [(feature, f"future.{feature.name}", looks) for feature in contract.observations]
        batch["future_steps"] = torch.tensor(needs.future).expand(size, *looks)
    for feature, name, several in names:
        shape = (size, *several, chunk.num_obs_steps, *feature.shape)
        value = random.integers(0, 256, shape) if feature.kind == "image" else 0.3 + 0.2 * random.standard_normal(shape)
        batch[name] = torch.from_numpy(value.astype(feature.dtype))
    action = 0.1 + 0.5 * random.standard_normal((size, chunk.horizon, contract.action.size))
    batch["action"] = torch.from_numpy(action.astype(np.float32))
    batch["action_is_pad"] = torch.zeros(size, chunk.horizon, dtype=torch.bool)
    batch |= {name: torch.zeros(size, chunk.horizon, dtype=torch.int64) for name in needs.extras}
    return batch


def make_statistics(contract: PolicyContract) -> dict[str, dict[str, np.ndarray]]:
    """Statistics that fit ``make_batch``."""
    statistics = {}
    for feature in contract.observations:
        statistics[feature.name] = _normal_statistics(0.3, 0.2, feature.shape)
    statistics[contract.action.name] = _normal_statistics(0.1, 0.5, contract.action.shape)
    return statistics


def _normal_statistics(mean: float, std: float, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    values = {"mean": mean, "std": std, "min": mean - 4 * std, "max": mean + 4 * std}
    values |= {"q01": mean - 2.33 * std, "q99": mean + 2.33 * std}
    return {name: np.full(shape, value) for name, value in values.items()}


SMALL = {"width": 48, "depth": 2, "num_heads": 4, "mlp_ratio": 2, "widths": [16, 32], "step_width": 16}


def make_small(config: dict[str, Any]) -> dict[str, Any]:
    """A policy's config with a smaller network and a shorter chunk: as true, and several times as fast."""
    sizes = {
        part: {key: SMALL[key] for key in SMALL if key in config[part]}
        for part in ("encoder", "network")
        if part in config
    }
    shorter = {part: config[part] | changed for part, changed in sizes.items()}
    return config | shorter | {"chunk": config["chunk"] | {"horizon": 8, "num_execute": 4}}


@pytest.fixture
def small():
    return make_small


@pytest.fixture
def batch_of():
    return make_batch


@pytest.fixture
def statistics_of():
    return make_statistics


class GaussianFlow:
    """The flow from N(0, I) to N(mean, spread^2 I) along straight paths, in closed form: x_t ~ N(t mean, sigma_t^2 I)."""

    mean, spread = 1.5, 0.4

    def sigma(self, time):
        return ((1 - time) ** 2 + (time * self.spread) ** 2).sqrt()

    def velocity(self, x, time):
        time = time[:, None, None]
        slope = (time * self.spread**2 - (1 - time)) / self.sigma(time)
        return self.mean + slope / self.sigma(time) * (x - time * self.mean)

    def carry(self, x, time, span):
        """x at ``time`` -> x at ``time + span``: deviations from the mean scale with sigma."""
        time, end = time[:, None, None], (time + span)[:, None, None]
        return end * self.mean + self.sigma(end) / self.sigma(time) * (x - time * self.mean)

    def mean_velocity(self, x, time, span):
        return (self.carry(x, time, span) - x) / span[:, None, None]

    def points(self, count=64):
        """Points of the flow with a step from each: x (B, 3, 2), times and spans (B,), float64."""
        generator = torch.Generator().manual_seed(0)
        time, end = torch.rand(2, count, generator=generator, dtype=torch.float64).sort(dim=0).values
        noise = torch.randn(count, 3, 2, generator=generator, dtype=torch.float64)
        return self.carry(noise, torch.zeros_like(time), time), time, end - time


@pytest.fixture
def gaussian_flow() -> GaussianFlow:
    return GaussianFlow()
