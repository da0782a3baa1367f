"""Sizes of networks: one word scales a network up, single numbers override it."""

from collections.abc import Mapping
from typing import Any

from praxon.errors import ConfigError, nearest


def sized(sizes: Mapping[str, Mapping[str, Any]], size: str, **given: Any) -> dict[str, Any]:
    """The settings of ``size``, those that are given (not ``None``) replaced.

    Raises:
        ConfigError: there is no such size, or a number below 1 is given.
    """
    if size not in sizes:
        raise ConfigError(f"Network size '{size}' does not exist. Sizes: {', '.join(sizes)}.{nearest(size, sizes)}")
    for name, value in given.items():
        if isinstance(value, int) and not isinstance(value, bool) and value < 1:
            raise ConfigError(f"Network setting {name} is {value}; at least 1 is needed.")
    return {**sizes[size], **{name: value for name, value in given.items() if value is not None}}


def require_heads(width: int, num_heads: int) -> None:
    """``ConfigError`` unless a width can be split over so many attention heads."""
    if width % num_heads:
        raise ConfigError(f"A width of {width} cannot be split over {num_heads} attention heads; it must divide.")
