"""Pretrained weights: parameters taken by name from a local safetensors file.

A policy is built without them, so that a bundle, whose weights are complete, can be loaded where the file does not exist;
training begins with ``load_pretrained(policy)``.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from praxon.errors import ConfigError


@runtime_checkable
class Pretrained(Protocol):
    """A module that may start from weights of somebody else."""

    def load_pretrained(self) -> None:
        """Read them, where the module's config names any."""


def load_pretrained(policy: nn.Module) -> None:
    """Let every part of a policy read the pretrained weights that its config names; called once, before training.

    Raises:
        ConfigError: a file is missing or no safetensors file, or a tensor is missing or of another shape.
    """
    for module in policy.modules():
        if isinstance(module, Pretrained):
            module.load_pretrained()


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name."""
    try:
        return safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise ConfigError(f"The weights '{path}' cannot be read as safetensors: {error}.") from error


@torch.no_grad()
def load_matching(module: nn.Module, path: Path, translate: Callable[[str], str | None]) -> None:
    """Give every parameter and persistent buffer of ``module`` the tensor of its name.

    Args:
        path: a safetensors file.
        translate: name in the file -> name in the module, None for tensors to leave out.

    Raises:
        ConfigError: a tensor is missing, unknown or of another shape; nothing has been changed then.
    """
    found = {}
    for name, tensor in read_tensors(path).items():
        ours = translate(name)
        if ours is not None:
            found[ours] = tensor
    wanted = module.state_dict()
    kind = type(module).__name__
    for name in sorted(wanted.keys() | found.keys()):
        has, needs = (tuple(side[name].shape) if name in side else None for side in (found, wanted))
        if has != needs:
            raise ConfigError(
                f"The weights '{path}' do not fit a {kind}: '{name}' is {_show(has)} in the file, {_show(needs)} in the network."
            )
    module.load_state_dict(found)


def _show(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else str(shape)
