"""Weights of published diffusion policies, in the layout of ``UNet1D``.

``diffusion_policy`` (Chi et al.) and LeRobot hold one FiLM projection per block, over [step embedding, observations]; here
the columns of the step and of the observations are two projections, each for all blocks together.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

# names there -> names here; both families of names, the second as in diffusion_policy
_RENAMES = (
    (r"^diffusion_step_encoder\.1\.", "time_in."),
    (r"^diffusion_step_encoder\.3\.", "time_out."),
    (r"^final_conv\.0\.block\.0\.", "head_block.conv."),
    (r"^final_conv\.0\.block\.1\.", "head_block.norm."),
    (r"^final_conv\.1\.", "head."),
    (r"^(down|up|mid)_modules\.", r"\1."),
    (r"^mid\.", "middle."),
    (r"^(down|up)\.(\d+)\.0\.", r"\1.\2.first."),
    (r"^(down|up)\.(\d+)\.1\.", r"\1.\2.second."),
    (r"^(down|up)\.(\d+)\.2\.(conv\.)?", r"\1.\2.resample."),
    (r"\.(conv1|blocks\.0)\.block\.0\.", ".first.conv."),
    (r"\.(conv1|blocks\.0)\.block\.1\.", ".first.norm."),
    (r"\.(conv2|blocks\.1)\.block\.0\.", ".second.conv."),
    (r"\.(conv2|blocks\.1)\.block\.1\.", ".second.norm."),
    (r"\.residual_conv\.", ".shortcut."),
)
_FILM = re.compile(r"\.cond_encoder\.1\.(weight|bias)$")


def unet1d_weights(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of a ``ConditionalUnet1D`` -> state dict of the ``UNet1D`` with the same widths.

    Its ``UNet1D`` has ``time_embedding="steps"``; the observation tokens, flattened, are the published global condition.
    """
    weights: dict[str, Tensor] = {}
    for name, value in published.items():
        if _FILM.search(name):
            continue
        for pattern, replacement in _RENAMES:
            name = re.sub(pattern, replacement, name)
        weights[name] = value
    step_width = published["diffusion_step_encoder.3.weight"].shape[0]
    blocks = sorted({name.split(".cond_encoder.")[0] for name in published if _FILM.search(name)}, key=_run_order)
    film = torch.cat([published[f"{block}.cond_encoder.1.weight"] for block in blocks])
    weights["film_time.weight"] = film[:, :step_width].clone()
    weights["film_condition.weight"] = film[:, step_width:].clone()
    weights["film_condition.bias"] = torch.cat([published[f"{block}.cond_encoder.1.bias"] for block in blocks])
    return weights


def _run_order(block: str) -> tuple[int, ...]:
    path, *numbers = block.split(".")
    return (("down_modules", "mid_modules", "up_modules").index(path), *map(int, numbers))
