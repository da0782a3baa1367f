"""LeRobot's DiffusionPolicy: its settings and weights as those of our ``DiffusionPolicy`` with a ``UNet1D``."""

import re
from typing import Any

from torch import Tensor

from praxon.errors import BundleError
from praxon.policies.lerobot.checkpoint import LeRobotCheckpoint
from praxon.policies.networks.published_unet import unet1d_weights

STAGES = {"4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4", "0": "conv1", "1": "bn1"}
"""Places in LeRobot's sequence of torchvision's layers."""


def policy_config(checkpoint: LeRobotCheckpoint) -> dict[str, Any]:
    """Our config of the same policy.

    Raises:
        BundleError: a setting that is not supported here.
    """
    setting = checkpoint.setting
    solver = str(setting("noise_scheduler_type", "DDPM")).lower()
    if solver not in ("ddpm", "ddim"):
        raise BundleError(f"'{checkpoint.path}' samples by {solver}; ddpm and ddim can be imported.")
    steps, levels = setting("n_obs_steps", 2), setting("num_train_timesteps", 100)
    resize, crop = setting("resize_shape", None), setting("crop_shape", None)
    if resize is not None and setting("crop_ratio", 1.0) < 1.0 and crop is None:
        crop = [int(side * setting("crop_ratio")) for side in resize]
    return {
        "_target_": "praxon.policies.diffusion.DiffusionPolicy",
        "chunk": {
            "horizon": setting("horizon") - steps + 1,
            "num_execute": setting("n_action_steps"),
            "num_obs_steps": steps,
        },
        "encoder": {
            "_target_": "praxon.policies.lerobot.encoders.StepEncoder",
            "backbone": setting("vision_backbone", "resnet18"),
            "norm": "group" if setting("use_group_norm", False) else "frozen_batch",
            "shared": not setting("use_separate_rgb_encoder_per_camera", False),
            "num_keypoints": setting("spatial_softmax_num_keypoints", 32),
            "resize": _plain(resize),
            "crop": _plain(crop),
        },
        "network": {
            "_target_": "praxon.policies.networks.unet1d.UNet1D",
            "widths": list(setting("down_dims")),
            "step_width": setting("diffusion_step_embed_dim", 128),
            "kernel_size": setting("kernel_size", 5),
            "groups": setting("n_groups", 8),
            "head_groups": 8,  # whatever n_groups is
            "film_scale": setting("use_film_scale_modulation", True),
            "time_embedding": "steps",
            "num_levels": levels,
        },
        "num_levels": levels,
        "betas": setting("beta_schedule", "squaredcos_cap_v2"),
        "first_beta": setting("beta_start", 1e-4),
        "last_beta": setting("beta_end", 0.02),
        "prediction": setting("prediction_type", "epsilon"),
        "clip": setting("clip_sample_range", 1.0) if setting("clip_sample", True) else None,
        "solver": solver,
        "steps": setting("num_inference_steps", None) or levels,
        "lead": steps - 1,
        "mask_padding": setting("do_mask_loss_for_padding", False),
        "actions": "absolute",
    }


def weights(checkpoint: LeRobotCheckpoint) -> dict[str, Tensor]:
    """Our names for LeRobot's parameters, normaliser and picture statistics left out."""
    network = {
        name.removeprefix("diffusion.unet."): value
        for name, value in checkpoint.weights.items()
        if name.startswith("diffusion.unet.")
    }
    found = {f"network.{name}": value for name, value in unet1d_weights(network).items()}
    for name, value in checkpoint.weights.items():
        match = re.fullmatch(r"diffusion\.rgb_encoder\.(?:(\d+)\.)?(backbone|pool|out)\.(.+)", name)
        if match is None or match[3] == "pos_grid" or match[3].endswith("num_batches_tracked"):
            continue
        number, part, rest = match[1] or "0", match[2], match[3]
        if part == "backbone":
            stage, _, rest = rest.partition(".")
            inner = f"backbone.{STAGES[stage]}.{rest}"
        else:
            inner = rest.replace("nets.", "keypoints.") if part == "pool" else f"out.{rest}"
        found[f"encoder.images.{number}.{inner}"] = value
    return found


def _plain(size: Any) -> list[int] | None:
    return None if size is None else [int(side) for side in size]
