"""Gymnasium's spaces as Minari writes them in JSON, flattened to leaves: where each array is and what one frame of it is.

Nothing of gymnasium is loaded and no environment is made, because that would run code that the file names.
"""

import json
from dataclasses import dataclass
from math import prod
from typing import Any

from praxon.datasets.formats._features import MIN_PIXELS
from praxon.datasets.formats._limits import reading
from praxon.errors import DatasetError

MAX_DEPTH = 16
MAX_TEXT = 1024
"""Longest text that is kept as numbers [characters]."""


@dataclass(frozen=True)
class Leaf:
    """One array of a nested space.

    Args:
        path: keys of dictionaries and, for tuples, (position,) integers, from the top.
        kind: Gymnasium's name: Box, Discrete, MultiDiscrete, MultiBinary or Text.
        shape: of one frame; () for Discrete, (longest text,) for Text.
        dtype: numpy name of the values.
        coded: whether Minari may store it as JPEG, by its own rule of what a picture is.
    """

    path: tuple[str | int, ...]
    kind: str
    shape: tuple[int, ...]
    dtype: str = "int64"
    coded: bool = False

    @property
    def name(self) -> str:
        """The path with dots, empty for a space that is one array."""
        return ".".join(map(str, self.path))

    @property
    def place(self) -> str:
        """The path as errors name it."""
        return "/".join(map(str, self.path))


def leaves(text: Any, where: str) -> list[Leaf]:
    """All arrays of a space, from the JSON of metadata.json.

    Raises:
        DatasetError: it is no space of a known type.
    """
    with reading(where):
        return _leaves(json.loads(text), (), where)


def _leaves(space: dict[str, Any], path: tuple[str | int, ...], where: str) -> list[Leaf]:
    kind = space["type"]
    if len(path) > MAX_DEPTH:
        raise DatasetError(f"{where} is nested deeper than {MAX_DEPTH} levels.")
    if kind == "Dict":
        for key in space["subspaces"]:
            # A slash or dots would lead to another array than the one of that name.
            if not key or "/" in key or key.strip(".") == "":
                raise DatasetError(f"{where} has the key '{key}', which cannot name an array.")
        return [leaf for key, sub in space["subspaces"].items() for leaf in _leaves(sub, (*path, key), where)]
    if kind == "Tuple":
        return [leaf for i, sub in enumerate(space["subspaces"]) for leaf in _leaves(sub, (*path, i), where)]
    if kind == "Box":
        shape = _sizes(space["shape"], where)
        return [Leaf(path, kind, shape, str(space["dtype"]), _is_coded(space, shape))]
    if kind == "Discrete":
        return [Leaf(path, kind, ())]
    if kind == "MultiDiscrete":
        return [Leaf(path, kind, _shape_of(space["nvec"]), str(space.get("dtype", "int64")))]
    if kind == "MultiBinary":
        counts = space["n"]
        return [Leaf(path, kind, _sizes(counts if isinstance(counts, list) else [counts], where), "int8")]
    if kind == "Text":
        return [Leaf(path, kind, _sizes([space["max_length"]], where), "str")]
    raise DatasetError(
        f"{where} has a space of type '{kind}'; Box, Discrete, Multi..., Text, Dict and Tuple are known."
    )


def _sizes(shape: Any, where: str) -> tuple[int, ...]:
    if not all(type(size) is int and size >= 0 for size in shape):
        raise DatasetError(f"{where} has the shape {shape}; whole numbers are expected.")
    return tuple(shape)


def _shape_of(nested: Any) -> tuple[int, ...]:
    """Shape of nested lists."""
    return (len(nested), *_shape_of(nested[0])) if isinstance(nested, list) and nested else ()


def _is_coded(space: dict[str, Any], shape: tuple[int, ...]) -> bool:
    """Minari's own rule: bytes from 0 to 255, and both sides long enough."""
    if space["dtype"] != "uint8" or len(shape) not in (2, 3) or min(shape[:2]) < MIN_PIXELS:
        return False
    return _all_are(space["low"], 0) and _all_are(space["high"], 255)


def _all_are(nested: Any, value: int) -> bool:
    if isinstance(nested, list):
        return all(_all_are(item, value) for item in nested)
    return bool(nested == value)


def width(leaf: Leaf) -> int:
    """Numbers in one frame."""
    return prod(leaf.shape)
