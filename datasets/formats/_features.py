"""Arrays of a foreign recording as features: what each is named, what kind it is, and its values in the stored types.

Policies train on float32, so every number is given as float32: floats are rounded to the nearest, whole numbers must be
exact (at most 2^24 in size). Pictures are uint8 RGB and stay where they are until they are sliced.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from praxon.contract import Chunk, Feature, PolicyContract
from praxon.datasets.formats._limits import reading
from praxon.errors import DatasetError

MIN_PIXELS = 32
"""Smaller arrays are numbers, not pictures (grid worlds store 7x7x3 codes); Minari draws the same line."""
BLOCK = 64
"""Pictures held in memory while iterating."""
EXACT = 2**24
"""Whole numbers up to here are exact in float32."""
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

REWARD = Feature("next.reward", "vector", (1,))
DONE = Feature("next.done", "vector", (1,), dtype="bool")
TRUNCATED = Feature("next.truncated", "vector", (1,), dtype="bool")


def feature_name(key: str, prefix: str, where: str) -> str:
    """``prefix`` and a key of the file as a feature's name; it becomes the name of a folder, so paths are refused."""
    name = key.replace(" ", "_")
    if not NAME.fullmatch(name) or ".." in name:
        raise DatasetError(
            f"{where} has the key '{key}', which cannot name a feature; letters, digits, spaces, '_', '-' and '.' can."
        )
    return f"{prefix}{name}"


@dataclass(frozen=True)
class Picture:
    """How pictures lie in an array (T, *shape): where their channels are."""

    height: int
    width: int
    channels: int
    channels_first: bool


def as_picture(shape: tuple[int, ...]) -> Picture | None:
    """A frame's shape seen as a picture, of any number of channels up to four; ``None`` where it is none."""
    if len(shape) == 2 and min(shape) >= MIN_PIXELS:
        return Picture(*shape, 1, False)
    if len(shape) == 3 and min(shape[:2]) >= MIN_PIXELS and shape[2] <= 4:
        return Picture(*shape, False)
    if len(shape) == 3 and min(shape[1:]) >= MIN_PIXELS and shape[0] <= 4:
        return Picture(*shape[1:], shape[0], True)
    return None


def observation(key: str, shape: tuple[int, ...], kind: str, where: str) -> Feature | str:
    """An observation as a feature, or why it is left out.

    Args:
        key: in the file.
        shape: of one frame; a scalar becomes (1,).
        kind: numpy's letter of the stored type.
        where: the file, for errors.
    """
    if kind not in "biuf":
        return f"holds values of numpy kind '{kind}', not numbers"
    if not all(shape):
        return f"is empty, {shape} per frame"
    picture = as_picture(shape)
    if picture is None:
        return Feature(feature_name(key, "observation.", where), "vector", shape or (1,))
    if picture.channels != 3 or kind == "b":
        return f"is a picture {shape} of numpy kind '{kind}'; pictures with 3 channels are kept"
    size = (picture.height, picture.width, 3)
    return Feature(feature_name(key, "observation.images.", where), "image", size, dtype="uint8", source=key)


def vector(values: np.ndarray, where: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Numbers (T, ...) as float32 (T, *shape); (T, 1) for scalars where no shape is given.

    Raises:
        DatasetError: of another shape, not numbers, not finite, beyond float32, or whole numbers that float32 cannot hold.
    """
    if values.dtype.kind not in "biuf":
        raise DatasetError(f"{where} holds {values.dtype}; numbers are expected.")
    shape = shape or values.shape[1:] or (1,)
    if (values.shape[1:] or (1,)) != shape:
        raise DatasetError(f"{where} has the shape {values.shape[1:]} per frame; {shape} is expected.")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        row = int(np.argwhere(~np.isfinite(values))[0][0])
        raise DatasetError(f"{where} holds a value that is not finite in row {row}; finite numbers are expected.")
    if values.dtype.kind in "iu" and values.size and (values.max() > EXACT or values.min() < -EXACT):
        raise DatasetError(
            f"{where} holds whole numbers from {values.min()} to {values.max()}; beyond 2^24 float32 is not exact."
        )
    with np.errstate(over="ignore"):
        numbers = np.ascontiguousarray(values, np.float32)
    if not np.isfinite(numbers).all():
        raise DatasetError(f"{where} holds numbers beyond float32, which reaches {np.finfo(np.float32).max:.4g}.")
    return numbers.reshape(len(values), *shape)


def require_rows(found: int, expected: int, where: str) -> None:
    """Raise unless an array has as many rows as its episode."""
    if found != expected:
        raise DatasetError(f"{where} has {found} rows; {expected} are expected, as many as the others of its episode.")


def flags(values: np.ndarray, where: str) -> np.ndarray:
    """Flags (T,) or (T, 1), stored as bool or as numbers 0 and 1, as bool (T, 1)."""
    if values.shape[1:] not in ((), (1,)):
        raise DatasetError(f"{where} has the shape {values.shape[1:]} per frame; one flag is expected.")
    if values.dtype.kind not in "biuf" or not np.isin(values, (0, 1)).all():
        raise DatasetError(f"{where} holds {values.dtype} other than 0 and 1; flags are expected.")
    return values.astype(bool).reshape(len(values), 1)


def whole_bytes(values: np.ndarray, where: str) -> np.ndarray:
    """Pictures as uint8; other types must hold whole numbers from 0 to 255 exactly."""
    if values.dtype == np.uint8:
        return values
    # NaN compares false, so it is found here as well.
    right = (values >= 0) & (values <= 255) & (values == np.floor(values))
    if not right.all():
        wrong = values[~right].flat[0]
        raise DatasetError(
            f"{where} holds {values.dtype} pictures with the value {wrong}; whole numbers from 0 to 255 are expected."
        )
    return values.astype(np.uint8)


class Pictures:
    """Pictures (T, height, width, 3) uint8 that are read as they are sliced.

    Args:
        shape: (T, height, width, 3).
        read: gives pictures first to last - 1 as stored, (n, height, width, 3), or (n, 3, height, width).
        where: file and key, for errors.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, shape: tuple[int, int, int, int], read: Callable[[int, int], np.ndarray], where: str) -> None:
        self.shape = shape
        self._read, self._where = read, where

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: slice) -> np.ndarray:
        numbers = range(len(self))[key]
        if not numbers:
            return np.empty((0, *self.shape[1:]), np.uint8)
        first, last = min(numbers), max(numbers)
        with reading(f"{self._where}, frames {first} to {last},"):
            values = np.asarray(self._read(first, last + 1))
            if values.shape[1:] != self.shape[1:]:
                values = np.moveaxis(values, 1, -1)
            if values.shape != (last + 1 - first, *self.shape[1:]):
                raise DatasetError(
                    f"{self._where} gave pictures {values.shape}; {(last + 1 - first, *self.shape[1:])} is expected."
                )
            return whole_bytes(values, self._where)[numbers.start - first :: numbers.step]

    def __iter__(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self), BLOCK):
            yield from self[start : start + BLOCK]


def stored_pictures(stored: Any, feature: Feature, start: int, stop: int, where: str) -> Pictures:
    """Rows start to stop - 1 of an array that is read as it is sliced.

    Raises:
        DatasetError: its pictures are not of the feature's size.
    """
    picture = as_picture(tuple(stored.shape[1:]))
    if picture is None or (picture.height, picture.width, picture.channels) != feature.shape:
        raise DatasetError(f"{where} has the shape {tuple(stored.shape[1:])} per frame; {feature.shape} is expected.")
    height, width, channels = feature.shape
    shape = (stop - start, height, width, channels)
    return Pictures(shape, lambda first, last: stored[start + first : start + last], where)


def control_period(where: str, fps: float | None, stored: float | None, contract: PolicyContract | None) -> float:
    """Time between frames [s]: from the setting, else from the contract, else from the file.

    Raises:
        DatasetError: nobody says it, it is not positive, or setting and contract disagree.
    """
    if fps is None and contract is not None:
        return contract.chunk.control_period_s
    rate = stored if fps is None else fps
    if rate is None:
        raise DatasetError(
            f"{where} does not say how many frames per second it holds; fps= must be given, e.g. fps=10."
        )
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate < float("inf"):
        raise DatasetError(
            f"{where} was asked for, or has, the rate {rate!r}; a positive number per second is expected."
        )
    if contract is not None and abs(contract.chunk.control_period_s * rate - 1) > 1e-6:
        raise DatasetError(
            f"{where}: fps={rate} was asked, but the contract's control period is {contract.chunk.control_period_s} s; "
            "the two must agree."
        )
    return 1 / rate


def fitted_contract(
    where: str,
    found: Mapping[str, Feature],
    action: Feature,
    period_s: float,
    names: tuple[str, str],
    contract: PolicyContract | None,
    left_out: dict[str, str],
) -> PolicyContract:
    """The contract of what was found, or the given one where what was found is what it says.

    Args:
        where: the file, for errors.
        found: observations by their keys in the file.
        action: what is commanded.
        period_s: time between frames [s].
        names: of robot and task.
        contract: of the user, who knows joints, units and frames that the file does not.
        left_out: key -> reason; observations that the user's contract does not read are added.
    """
    by_name: dict[str, Feature] = {}
    for key, feature in found.items():
        if feature.name in by_name:
            raise DatasetError(f"{where} has two keys, one of them '{key}', that both give '{feature.name}'.")
        by_name[feature.name] = feature
    if contract is None:
        if not by_name:
            raise DatasetError(f"{where} holds no observation that can be kept; left out: {left_out or 'nothing'}.")
        return PolicyContract(*names, tuple(by_name.values()), action, Chunk(control_period_s=period_s))
    for asked in contract:
        there = action if asked is contract.action else by_name.get(asked.name)
        if there is None:
            raise DatasetError(
                f"{where} does not hold the contract's '{asked.name}'; it holds {', '.join(by_name) or 'nothing'}."
            )
        if (asked.name, asked.shape, asked.dtype) != (there.name, there.shape, there.dtype):
            raise DatasetError(
                f"{where} holds '{there.name}' as {there.dtype}{there.shape}; the contract says '{asked.name}' is "
                f"{asked.dtype}{asked.shape}."
            )
    wanted = {feature.name for feature in contract}
    left_out |= {key: "is not in the contract" for key, feature in found.items() if feature.name not in wanted}
    return contract


def kept(found: Mapping[str, Feature], contract: PolicyContract) -> dict[str, Feature]:
    """Observations by their keys in the file, those of the contract only and as it describes them."""
    wanted = {feature.name: feature for feature in contract.observations}
    return {key: wanted[feature.name] for key, feature in found.items() if feature.name in wanted}


def one_action(width: int, names: tuple[str, ...] = ()) -> Feature:
    """The action feature, flat."""
    return Feature("action", "vector", (width,), names)


def plain(value: Any) -> Any:
    """A value of JSON or of an attribute as plain containers, for ``Source.metadata``."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
