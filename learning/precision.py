"""Precision of training: which numbers the network multiplies, and what small gradients need in float16."""

import os
from typing import Any

import torch

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
ACCELERATE = {"bf16": "bfloat16", "fp16": "float16"}
SMALLEST_SCALE = 1e-3
"""A loss scaled by less than this and gradients that still overflow: not the scale is at fault."""


def chosen_precision(asked: str, device: torch.device) -> str:
    """What ``auto`` means here: what ``accelerate launch --mixed_precision`` says, else bfloat16 where it is multiplied fast."""
    if asked != "auto":
        return asked
    if os.environ.get("ACCELERATE_MIXED_PRECISION") in ACCELERATE:
        return ACCELERATE[os.environ["ACCELERATE_MIXED_PRECISION"]]
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported() else "float32"


class Precision:
    """Autocast, and the scaling of the loss that float16 needs (Micikevicius et al., arXiv 1710.03740).

    Args:
        name: ``float32``, ``bfloat16`` or ``float16``.
        device: on which is computed.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self.name, self._device = name, device
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "float16")

    def autocast(self) -> torch.autocast:
        """The context of a forward pass."""
        if self.name == "float32":
            return torch.autocast(self._device.type, enabled=False)
        return torch.autocast(self._device.type, getattr(torch, self.name))

    @property
    def may_skip(self) -> bool:
        """Whether a gradient that is not finite may be the scale's fault: the step is skipped and the scale lowered."""
        return self.scaler.is_enabled() and self.scaler.get_scale() > SMALLEST_SCALE

    def state_dict(self) -> dict[str, Any]:
        """The scale, in plain JSON values; empty where nothing is scaled."""
        return dict(self.scaler.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        if state:
            self.scaler.load_state_dict(state)
