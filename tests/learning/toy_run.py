"""A tiny training run: in memory for tests, and as a process of its own that can be killed.

python toy_run.py DIRECTORY STEPS [settings as key=value ...]
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

from praxon.contract import Chunk, Feature, PolicyContract
from praxon.learning.trainer import Trainer
from praxon.policies.flow_matching import FlowMatchingPolicy

CONTRACT = PolicyContract(
    robot="toy",
    task="toy",
    observations=(Feature("observation.state", "vector", (2,), ("x", "y")),),
    action=Feature("action", "vector", (2,), ("x", "y")),
    chunk=Chunk(horizon=4, num_execute=2, control_period_s=0.1, num_obs_steps=2),
)
STATISTICS = {name: {"mean": np.zeros(2), "std": np.ones(2)} for name in ("observation.state", "action")}


class ToyWindows:
    """Chunks that walk from the observation towards the origin."""

    def __init__(self, size: int = 50) -> None:
        self.state = np.random.default_rng(0).standard_normal((size, 2)).astype(np.float32)

    def __len__(self) -> int:
        return len(self.state)

    def batch(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        state = self.state[indices]
        remaining = np.array([0.9, 0.6, 0.3, 0.0], dtype=np.float32)
        return {
            "observation.state": np.stack([state, state], axis=1),
            "action": state[:, None, :] * remaining[:, None],
            "action_is_pad": np.zeros((len(indices), 4), dtype=bool),
            "index": indices.astype(np.int64),
        }


def toy_policy(fitted: bool = True) -> FlowMatchingPolicy:
    torch.manual_seed(0)
    encoder = {"_target_": "praxon.policies.networks.encoders.ObservationEncoder", "width": 16}
    network = {
        "_target_": "praxon.policies.networks.transformer.TransformerDenoiser",
        "width": 16,
        "depth": 1,
        "num_heads": 2,
        "mlp_ratio": 1,
    }
    policy = FlowMatchingPolicy(CONTRACT, encoder=encoder, network=network, steps=4)
    if fitted:
        policy.normalizer.fit(STATISTICS)
    return policy


def toy_trainer(**changes: object) -> Trainer:
    settings = {"steps": 20, "batch_size": 16, "warmup_steps": 5, "checkpoint_every": 5, "tensorboard": False}
    return Trainer(**{**settings, **changes})


def losses_in(directory: Path) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines]


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, num_steps, pause_s = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    toy_trainer(steps=num_steps).fit(toy_policy(), ToyWindows(), folder, on_step=lambda report: time.sleep(pause_s))
