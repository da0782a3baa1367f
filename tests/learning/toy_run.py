"""A tiny training run: in memory for tests, and as a process of its own that can be killed.

python toy_run.py DIRECTORY STEPS PAUSE_S [JSON: settings by subfolder]
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from praxon.contract import Chunk, Feature, PolicyContract
from praxon.learning.ptr.weighting import PosteriorTransitionReweighting
from praxon.learning.trainer import Trainer
from praxon.learning.weighting import Weighting
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

    def batch(self, indices: np.ndarray, *, draw: int = 0) -> dict[str, np.ndarray]:
        state = self.state[indices]
        remaining = np.array([0.9, 0.6, 0.3, 0.0], dtype=np.float32)
        return {
            "observation.state": np.stack([state, state], axis=1),
            "action": state[:, None, :] * remaining[:, None],
            "action_is_pad": np.zeros((len(indices), 4), dtype=bool),
            "index": indices.astype(np.int64),
        }


class Walks(ToyWindows):
    """Where the chunk leads to is seen later; after the first ``corrupted`` samples something else is.

    Args:
        corrupted: samples.
        futures: whether anything is seen later.
    """

    def __init__(self, corrupted: int = 0, futures: bool = True) -> None:
        super().__init__(400)
        self.corrupted, self.futures = corrupted, futures

    def batch(self, indices: np.ndarray, *, draw: int = 0) -> dict[str, np.ndarray]:
        batch = super().batch(indices)
        later = 0.5 * batch["observation.state"] + 0.5 * batch["action"][:, :1]
        away = np.random.default_rng(1).standard_normal((len(self), 1, 2))[indices]
        wrong = (indices < self.corrupted)[:, None, None]
        batch["future.observation.state"] = np.where(wrong, away, later).astype(np.float32)
        batch["future_steps"] = np.full(len(indices), 4 if self.futures else 0)
        batch["index"] = 100 * indices.astype(np.int64)  # episodes of one frame each, far apart
        return batch


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


class OnlyEven(Weighting):
    """A weighting that reads the whole batch: samples of even index, by their rank among the losses."""

    def __call__(self, batch, losses):
        even = (batch["index"] % 2 == 0).to(losses.dtype)
        return even * losses.argsort().argsort() / len(losses)


def launched(folder: Path, steps: int, pause_s: float = 0.0, weighted: str = "", spare: bool = False, **settings):
    """A run in this process and those beside it; leaves the served weights of each."""
    policy = toy_policy()
    if spare:
        policy.spare = torch.nn.Linear(2, 2)  # parameters that the loss has no use for
    ptr = {"warmup": 2, "adapt_every": 1}
    weighting = {"": None, "even": OnlyEven(), "ptr": PosteriorTransitionReweighting(**ptr)}[weighted]
    windows = Walks() if weighted == "ptr" else ToyWindows()
    trainer = toy_trainer(steps=steps, **settings)
    trainer.fit(policy, windows, folder, weighting=weighting, on_step=lambda report: time.sleep(pause_s))
    served = {name: tensor.contiguous() for name, tensor in policy.state_dict().items()}
    save_file(served, folder / f"served_{os.environ.get('RANK', '0')}.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    root, num_steps, pause = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    runs = json.loads(sys.argv[4]) if len(sys.argv) > 4 else {"": {}}
    for name, settings in runs.items():
        launched(root / name, num_steps, pause, **settings)
