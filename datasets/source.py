"""What every recording format is read into: episodes of named arrays under a contract, one at a time.

A converter knows this page and nothing of any format; a format knows this page and nothing of LeRobot's layout.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from praxon.contract import Feature, PolicyContract


class Frames(Protocol):
    """One feature of one episode, (T, *shape): an array, or something that is read as it is sliced (HDF5, zarr, video)."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, key: slice) -> np.ndarray: ...


@dataclass(frozen=True)
class Episode:
    """One recording.

    Args:
        frames: every feature of the contract and every extra one by name, all of the same length T.
        stamps_ns: (T,) int64 true capture times [ns]; ``None`` where the recording has none.
        task: the instruction in words; one for each frame where it changes on the way.
    """

    frames: Mapping[str, Frames]
    stamps_ns: np.ndarray | None
    task: str | Sequence[str]


class Source(Protocol):
    """Episodes of one dataset, whatever its format; each is read when asked for.

    Attributes:
        contract: features, units and rate of what is there.
        extra_features: features beyond the contract that policies do not read, such as rewards.
        robot_type: name of the robot where known.
        metadata: where the data come from; plain values.
        splits: named lists of episodes, as the recording gives them.
    """

    contract: PolicyContract
    extra_features: tuple[Feature, ...]
    robot_type: str | None
    metadata: dict[str, Any]
    splits: dict[str, list[int]]

    def __len__(self) -> int: ...

    def episode(self, index: int) -> Episode: ...
