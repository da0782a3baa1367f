"""LeRobot's own policies and what praxon import lerobot makes of their checkpoints: the same weights, noise, observations.

LeRobot's classes make checkpoints and answer observations in an environment of their own; we import the checkpoints and
answer the same. Kept: the largest absolute difference of an action, in physical units.

usage: python benchmarks/lerobot_policies.py [--folder FOLDER] [--fixtures FOLDER]
"""

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from _record import record
from lerobot_environment import arguments, make_newest

from praxon.policies.lerobot.checkpoint import LeRobotCheckpoint, read_checkpoint
from praxon.policies.lerobot.convert import KINDS, bare_contract, convert

GOAL = 1e-5
UNET = {"horizon": 16, "n_obs_steps": 2, "n_action_steps": 8, "down_dims": [128, 256, 512]}
DDIM = {"noise_scheduler_type": "DDIM", "num_inference_steps": 10}
OLD_VISION = {"use_group_norm": True, "use_separate_rgb_encoder_per_camera": False, "crop_shape": [84, 90]}
TRANSFORMER = {"chunk_size": 50, "n_action_steps": 50}
CASES: dict[str, dict[str, Any]] = {
    "diffusion, state, DDPM 100": {"kind": "diffusion", "cameras": 0, "settings": UNET},
    "diffusion, state, DDIM 10": {"kind": "diffusion", "cameras": 0, "settings": UNET | DDIM},
    "diffusion, two cameras as before 0.6": {"kind": "diffusion", "cameras": 2, "settings": UNET | DDIM | OLD_VISION},
    "diffusion, two cameras, state, environment, defaults of 0.6": {
        "kind": "diffusion",
        "cameras": 2,
        "environment": True,
        "settings": DDIM,
    },
    "diffusion, resized and cropped": {
        "kind": "diffusion",
        "cameras": 1,
        "settings": UNET | DDIM | {"resize_shape": [80, 88], "crop_ratio": 0.9},
    },
    "ACT, state": {"kind": "act", "cameras": 0, "settings": TRANSFORMER},
    "ACT, two cameras": {"kind": "act", "cameras": 2, "settings": TRANSFORMER},
}
FIXTURES: dict[str, dict[str, Any]] = {  # small enough to be kept with the tests
    "diffusion": {
        "kind": "diffusion",
        "cameras": 0,
        "settings": DDIM | {"horizon": 8, "n_action_steps": 4, "down_dims": [8, 16], "diffusion_step_embed_dim": 16},
    },
    "act": {
        "kind": "act",
        "cameras": 0,
        "settings": {
            "chunk_size": 6,
            "n_action_steps": 4,
            "dim_model": 16,
            "dim_feedforward": 24,
            "n_heads": 2,
            "n_encoder_layers": 2,
            "n_vae_encoder_layers": 1,
            "latent_dim": 4,
        },
    },
}


def main() -> None:
    """Make, import, compare, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments(parser)
    parser.add_argument("--fixtures", type=Path, help="make the small checkpoints of the tests in this folder instead")
    asked = parser.parse_args()
    lerobot = make_newest(asked.folder.resolve())
    with tempfile.TemporaryDirectory() as folder:
        cases = FIXTURES if asked.fixtures else CASES
        names = {f"case{number}" if not asked.fixtures else name: name for number, name in enumerate(cases)}
        request = {"out": folder, "cases": {short: cases[name] for short, name in names.items()}}
        made = lerobot.call("policies.py", request, asked.folder.resolve() / "cache")
        if asked.fixtures:
            shutil.copytree(folder, asked.fixtures, dirs_exist_ok=True)
            return
        results = {}
        for short, name in names.items():
            difference = largest_difference(Path(folder) / short)
            parameters = made["parameters"][short]
            results[name] = {"parameters": parameters, "largest_difference": difference, "met": difference <= GOAL}
            print(f"{name}: {difference:.2e}", flush=True)
    record("lerobot_policies", {"lerobot": lerobot.facts, "torch": torch.__version__, "goal": GOAL, "cases": results})


@torch.inference_mode()
def largest_difference(folder: Path) -> float:
    """Of any action component, over the rows from the newest observation on."""
    checkpoint = read_checkpoint(folder, KINDS)
    policy = convert(checkpoint, bare_contract(checkpoint, "robot", "task", 0.05)).policy
    answers = safetensors.torch.load_file(folder / "answers.safetensors")
    chunk = policy.sample(window(checkpoint, answers), noise_for(policy, answers))
    return float((chunk - answers["actions"][:, -chunk.shape[1] :]).abs().max())


def window(checkpoint: LeRobotCheckpoint, answers: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The observations that LeRobot answered."""
    return {name: answers[name] for name in checkpoint.shapes if name in answers}


def noise_for(policy: Any, answers: dict[str, torch.Tensor]) -> torch.Tensor:
    """The noise that LeRobot used: the start, and what each step added where steps add noise."""
    if "noise" not in answers:
        return torch.zeros_like(policy.noise(len(answers["actions"]), torch.Generator()))
    draws = policy.engine.sampler.num_noises
    return answers["noise"][:, 0] if draws == 1 else answers["noise"][:, :draws]


if __name__ == "__main__":
    main()
