"""Two ways to act under one observation: every generative policy takes one or the other, and none the mean of both."""

from copy import deepcopy
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from praxon.contract import Chunk, Feature, PolicyContract
from praxon.policies.build import build_policy
from praxon.policies.generative import GenerativePolicy
from praxon.targets import load_target

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "policy").glob("*.yaml"))
GENERATIVE = [
    path for path in CONFIGS if issubclass(load_target(yaml.safe_load(path.read_text())["_target_"]), GenerativePolicy)
]
TINY = {"width": 32, "depth": 1, "num_heads": 2, "mlp_ratio": 2, "widths": [16, 32], "step_width": 16}
CONTRACT = PolicyContract(
    robot="toy",
    task="toy",
    observations=(
        Feature("observation.state", "joint_position", (2,), ("a", "b"), unit="rad"),
        Feature("observation.environment_state", "vector", (2,), ("c", "d"), unit="1,1"),
    ),
    action=Feature("action", "joint_position", (2,), ("a", "b"), unit="rad"),
    chunk=Chunk(horizon=4, num_execute=2, control_period_s=0.05, num_obs_steps=1),
)


def tiny_policy(path: Path) -> GenerativePolicy:
    config = yaml.safe_load(path.read_text())
    config["chunk"] = {"horizon": 4, "num_execute": 2, "num_obs_steps": 1}
    for part in ("encoder", "network"):
        config[part] |= {name: value for name, value in TINY.items() if name in config[part]}
    torch.manual_seed(0)
    policy = build_policy(config, CONTRACT)
    assert isinstance(policy, GenerativePolicy)
    statistics = {
        feature.name: {
            key: np.full(feature.shape, value)
            for key, value in {"mean": 0.0, "std": 1.0, "min": -1.0, "max": 1.0, "q01": -1.0, "q99": 1.0}.items()
        }
        for feature in CONTRACT
    }
    if policy.actions.row_shape:
        rows = (CONTRACT.chunk.horizon, CONTRACT.action.size)
        statistics["action"] = {key: np.broadcast_to(value, rows).copy() for key, value in statistics["action"].items()}
    policy.normalizer.fit(statistics)
    return policy


def two_modes(size: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    sign = 2.0 * torch.randint(2, (size, 1, 1), generator=generator) - 1.0
    return {
        "observation.state": torch.zeros(size, 1, 2),
        "observation.environment_state": torch.zeros(size, 1, 2),
        "action": sign.expand(size, 4, 2).clone(),
        "action_is_pad": torch.zeros(size, 4, dtype=torch.bool),
    }


@cache
def trained(path: Path) -> GenerativePolicy:
    policy = tiny_policy(path)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(policy.parameters(), 4e-3)
    for _ in range(250):
        loss = policy.loss(two_modes(64, generator), generator).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        policy.after_step()
    return policy.eval()


def shares(policy: GenerativePolicy) -> tuple[float, float, float]:
    """Shares of samples near the one mode, near the other, and near their mean."""
    policy.configure_engine({"noise_scale": 1.0})  # the distribution as it was learned
    batch = two_modes(256, torch.Generator().manual_seed(2))
    window = {feature.name: batch[feature.name] for feature in CONTRACT.observations}
    with torch.inference_mode():
        chunk = policy.sample(window, policy.noise(256, torch.Generator().manual_seed(1)))
    value = chunk.mean(dim=(1, 2))
    low, high, between = value < -0.5, value > 0.5, value.abs() < 0.3
    return low.float().mean().item(), high.float().mean().item(), between.float().mean().item()


@pytest.mark.parametrize("path", GENERATIVE, ids=lambda path: path.stem)
def test_two_modes_are_kept_and_not_averaged(path):
    low, high, between = shares(trained(path))
    assert low >= 0.25
    assert high >= 0.25
    assert between <= 0.1


def test_one_step_of_diffusion_is_the_mean_of_the_modes():
    # What the test above would see of a policy that averages: the clean chunk expected from pure noise.
    policy = deepcopy(trained(next(path for path in GENERATIVE if path.stem == "diffusion_transformer")))
    policy.configure_engine({"solver": "ddim", "steps": 1, "spacing": "trailing"})
    assert shares(policy)[2] >= 0.9
