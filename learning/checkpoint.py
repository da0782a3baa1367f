"""Training checkpoints: all that a run needs to continue to the bit, in safetensors and JSON.

checkpoints/step_00001000/
    tensors.safetensors   model.*, ema.*, optimizer.*, weighting.*
    state.json            step, elapsed time, sampler, weighting, loss scale, settings, SHA-256 of the tensors

Random numbers follow from the seed and the step.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from praxon.errors import CheckpointError
from praxon.policies.durable import write_directory

FORMAT_VERSION = 1
TENSORS, STATE = "tensors.safetensors", "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """A moment of training.

    Args:
        step: optimiser steps done.
        tensors: flat, by dotted name.
        state: plain JSON values.
    """

    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint, keep: int = 2) -> Path:
    """Write ``checkpoint`` into ``folder`` and remove all but the newest ``keep``.

    Raises:
        CheckpointError: the file system refused; earlier checkpoints are unchanged.
    """
    path = folder / f"step_{checkpoint.step:08d}"
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    content = safetensors.torch.save(tensors)
    state = {
        "format_version": FORMAT_VERSION,
        "step": checkpoint.step,
        "tensors_sha256": hashlib.sha256(content).hexdigest(),
        **checkpoint.state,
    }
    try:
        write_directory(path, {TENSORS: content, STATE: json.dumps(state, indent=1).encode()})
    except OSError as error:
        raise CheckpointError(
            f"The checkpoint '{path}' could not be written: {error.strerror or error}; "
            "earlier checkpoints are unchanged."
        ) from error
    for old in _complete(folder)[:-keep]:
        shutil.rmtree(old)
    return path


def latest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest complete checkpoint in ``folder``; ``None`` where there is none.

    Raises:
        CheckpointError: the newest one is unreadable, changed, or of another version.
    """
    complete = _complete(folder)
    return _load(complete[-1]) if complete else None


def require_same(mine: Mapping[str, Any], saved: Mapping[str, Any], folder: Path) -> None:
    """Refuse a checkpoint of a run with other settings, naming the first that differs.

    Raises:
        CheckpointError: a setting differs.
    """
    mine_flat, saved_flat = flatten(mine), flatten(saved)
    differing = [key for key in sorted(mine_flat | saved_flat) if mine_flat.get(key) != saved_flat.get(key)]
    if differing:
        key = differing[0]
        more = f" (and {len(differing) - 1} more)" if len(differing) > 1 else ""
        raise CheckpointError(
            f"The checkpoint in '{folder}' belongs to another run: {key} was {saved_flat.get(key)!r} and is now "
            f"{mine_flat.get(key)!r}{more}; train into another folder or with the old setting."
        )


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings -> one mapping with dotted keys; values as JSON would return them."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat


def _complete(folder: Path) -> list[Path]:
    # Half-written ones carry another name until the rename that completes them.
    return sorted(folder.glob("step_*"))


def _load(path: Path) -> Checkpoint:
    hint = "delete it to continue from the one before"
    try:
        state = json.loads((path / STATE).read_bytes())
        content = (path / TENSORS).read_bytes()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"The checkpoint '{path}' cannot be read: {error}; {hint}.") from error
    version = state.get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"The checkpoint '{path}' has format version {version}; this Praxon reads {FORMAT_VERSION}."
        )
    if hashlib.sha256(content).hexdigest() != state.get("tensors_sha256"):
        raise CheckpointError(f"The tensors of checkpoint '{path}' are not the ones that were saved; {hint}.")
    try:
        return Checkpoint(int(state["step"]), safetensors.torch.load(content), state)
    except SafetensorError as error:
        raise CheckpointError(f"The tensors of checkpoint '{path}' are unreadable: {error}; {hint}.") from error
