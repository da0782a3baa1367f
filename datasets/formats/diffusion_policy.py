"""diffusion_policy's replay buffer in zarr: all episodes one after another in each array, and where each ends.

Layout (a folder, or the same in a .zip):

    data/<key>           (N, ...) for each observation, ``action`` (N, A), and where recorded ``timestamp`` (N,) [s]
    meta/episode_ends    (E,) index after each episode's last row

Pictures may be float32 that hold whole numbers from 0 to 255, as in PushT.
"""

import math
import re
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from praxon.contract import Feature, PolicyContract
from praxon.datasets.formats import _features as features
from praxon.datasets.formats._limits import Limits, reading
from praxon.datasets.source import Episode, Frames
from praxon.errors import DatasetError

if TYPE_CHECKING:
    from praxon.datasets.formats._zarr_store import ZarrStore

ENDS = "meta/episode_ends"
DESCRIPTIONS = (f"{ENDS}/.zarray", f"{ENDS}/zarr.json")
TIMESTAMP = "timestamp"
ACTIONS = ("action", "actions")
ACTION_KEY = re.compile(r"actions?([_.].*)?")
"""Actions in another form, such as ``action_abs``: the answer, were it among the observations."""
REWARDS, DONES = ("reward", "rewards"), ("done", "dones", "terminal")


def recognises(path: Path) -> bool:
    """Whether it is a zarr store, or a zip of one, that says where episodes end."""
    try:
        if path.is_dir():
            return any((path / name).is_file() for name in DESCRIPTIONS)
        if path.suffix != ".zip":
            return False
        with zipfile.ZipFile(path) as file:
            return any(f"/{name}".endswith(tuple(f"/{d}" for d in DESCRIPTIONS)) for name in file.namelist())
    # What zipfile raises for a damaged directory of files, or one that asks for what it cannot do.
    except (
        OSError,
        zipfile.BadZipFile,
        ValueError,
        ArithmeticError,
        LookupError,
        RuntimeError,
        EOFError,
        struct.error,
    ):
        return False


def open_source(
    path: Path,
    *,
    fps: float | None = None,
    task: str | None = None,
    robot: str | None = None,
    contract: PolicyContract | None = None,
    action: str | None = None,
    observations: Sequence[str] | None = None,
    missing_chunks: bool = False,
    max_bytes: int = Limits.max_bytes,
    max_expansion: float = Limits.max_expansion,
) -> "ReplayBufferSource":
    """The episodes of a replay buffer.

    Args:
        path: folder or zip of the zarr store.
        fps: frames per second, which the format does not say (PushT: 10).
        task: the instruction in words; the name of the store where None.
        robot: name of the robot.
        contract: joints, units and frames, which the format does not say; must fit what is there.
        action: key of the actions; ``action`` or ``actions`` where None.
        observations: keys of ``data`` to keep as observations; where None all but actions in another form (``action_abs``).
        missing_chunks: whether chunks that are not stored are zeros that the writer left out, rather than lost.
        max_bytes: most bytes held at once.
        max_expansion: largest believed ratio of declared to stored size.

    Raises:
        DatasetError: the store is damaged, is not of this layout, or the rate is not given.
    """
    try:
        from praxon.datasets.formats._zarr_store import ZarrStore
    except ImportError as error:
        raise DatasetError("Reading zarr stores needs zarr: pip install 'praxon[formats]'.") from error
    path = Path(path)
    if not path.exists():
        raise DatasetError(f"There is no zarr store at '{path}'.")
    limits = Limits(max_bytes, max_expansion)
    return ReplayBufferSource(
        ZarrStore(path, limits, missing_chunks),
        limits,
        fps=fps,
        names=(robot, task),
        contract=contract,
        action=action,
        observations=observations,
    )


class ReplayBufferSource:
    """Episodes in the order in which they are stored; see ``open_source``."""

    def __init__(
        self,
        store: "ZarrStore",
        limits: Limits,
        *,
        fps: float | None,
        names: tuple[str | None, str | None],
        contract: PolicyContract | None,
        action: str | None,
        observations: Sequence[str] | None,
    ) -> None:
        self._store, self._limits = store, limits
        self._here = f"'{store.path}'"
        self._arrays = {key: store.array(f"data/{key}") for key in store.arrays("data")}
        self._action_key = self._choose_action(action)
        self._num_rows = self._common_length()
        self._ends = self._episode_ends()
        period_s = features.control_period(self._here, fps, None, contract)
        self.robot_type, self._task = names[0], names[1] or store.path.name.split(".")[0]

        left_out: dict[str, str] = {}
        self._beyond = self._beyond_contract()
        found = self._observations(observations, left_out)
        self.contract = features.fitted_contract(
            self._here,
            found,
            features.one_action(math.prod(self._arrays[self._action_key].shape[1:])),
            period_s,
            (self.robot_type or "unknown", self._task),
            contract,
            left_out,
        )
        self._kept = features.kept(found, self.contract)
        self.extra_features = tuple(self._beyond)
        if self._num_rows > self._ends[-1]:
            left_out[f"rows {self._ends[-1]} to {self._num_rows - 1}"] = "belong to no finished episode"
        left_out |= {f"meta/{name}": "is not read" for name in store.arrays("meta") if f"meta/{name}" != ENDS}
        self.metadata: dict[str, Any] = {
            "format": "diffusion_policy",
            "file": store.path.name,
            "action_key": self._action_key,
            "attributes": features.plain(store.attributes()),
            "left_out": left_out,
        }
        self.splits: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return len(self._ends)

    def episode(self, index: int) -> Episode:
        """Episode ``index`` of the buffer."""
        if not 0 <= index < len(self):
            raise DatasetError(f"Episode {index} was asked; {self._here} has 0 to {len(self) - 1}.")
        stop = int(self._ends[index])
        start = int(self._ends[index - 1]) if index else 0
        actions = self._numbers(self._action_key, start, stop).reshape(stop - start, -1)
        frames: dict[str, Frames] = {
            "action": features.vector(actions, self._where(self._action_key, start, stop), self.contract.action.shape)
        }
        for key, feature in self._kept.items():
            where = self._where(key, start, stop)
            if feature.kind == "image":
                frames[feature.name] = features.stored_pictures(self._arrays[key], feature, start, stop, where)
            else:
                frames[feature.name] = features.vector(self._numbers(key, start, stop), where, feature.shape)
        for feature, key in self._beyond.items():
            read = features.flags if feature.dtype == "bool" else features.vector
            frames[feature.name] = read(
                self._numbers(key, start, stop).reshape(stop - start, 1), self._where(key, start, stop)
            )
        return Episode(frames, self._stamps(start, stop), self._task)

    # -- what there is ----------------------------------------------------------------------------

    def _choose_action(self, asked: str | None) -> str:
        for key in ACTIONS if asked is None else (asked,):
            if key in self._arrays:
                return key
        raise DatasetError(
            f"{self._here} has no '{asked or ACTIONS[0]}' in 'data'; it has {', '.join(self._arrays) or 'nothing'}, "
            "one of which action= may name."
        )

    def _common_length(self) -> int:
        """Rows of the arrays, which are all as long as the actions."""
        lengths = {key: array.shape[0] if array.shape else 0 for key, array in self._arrays.items()}
        expected = lengths[self._action_key]
        for key, length in lengths.items():
            if length != expected:
                raise DatasetError(
                    f"'data/{key}' of {self._here} has {length} rows; {expected} are expected, as many as "
                    f"'data/{self._action_key}'."
                )
        return expected

    def _episode_ends(self) -> np.ndarray:
        where = f"'{ENDS}' of {self._here}"
        stored = self._store.array(ENDS)
        if stored.dtype.kind not in "iu" or len(stored.shape) != 1 or not stored.shape[0]:
            raise DatasetError(f"{where} is {stored.dtype}{stored.shape}; a list of whole numbers is expected.")
        self._limits.check_held(where, stored.nbytes)
        with reading(where):
            ends = np.asarray(stored[:])
        if ends.max() > self._num_rows:
            raise DatasetError(f"{where} reaches {ends.max()}; the arrays of 'data' have {self._num_rows} rows.")
        ends = ends.astype(np.int64)
        falls = np.flatnonzero(np.diff(ends, prepend=0) <= 0)
        if len(falls):
            first = int(falls[0])
            before = int(ends[first - 1]) if first else 0
            raise DatasetError(f"{where} has {ends[first]} after {before} in row {first}; rising ends are expected.")
        return ends

    def _beyond_contract(self) -> dict[Feature, str]:
        """Rewards and ends of episodes that some buffers hold, and their keys."""
        pairs = ((features.REWARD, REWARDS), (features.DONE, DONES))
        found = {}
        for feature, keys in pairs:
            for key in keys:
                if key in self._arrays and feature not in found and math.prod(self._arrays[key].shape[1:]) == 1:
                    found[feature] = key
        return found

    def _observations(self, wanted: Sequence[str] | None, left_out: dict[str, str]) -> dict[str, Feature]:
        missing = [key for key in wanted or () if key not in self._arrays]
        if missing:
            raise DatasetError(f"{self._here} has the keys {', '.join(self._arrays)}; {', '.join(missing)} were asked.")
        found: dict[str, Feature] = {}
        for key, stored in self._arrays.items():
            if key in (self._action_key, TIMESTAMP) or key in self._beyond.values():
                continue
            if wanted is not None and key not in wanted:
                left_out[key] = "was not asked for"
                continue
            if wanted is None and ACTION_KEY.fullmatch(key):
                left_out[key] = "is another form of the action, which a policy must not observe; observations= keeps it"
                continue
            made = features.observation(key, tuple(stored.shape[1:]), stored.dtype.kind, self._here)
            if isinstance(made, str):
                left_out[key] = made
            else:
                found[key] = made
        return found

    # -- one episode ------------------------------------------------------------------------------

    def _where(self, key: str, start: int, stop: int) -> str:
        return f"'data/{key}' of {self._here}, rows {start} to {stop - 1},"

    def _numbers(self, key: str, start: int, stop: int) -> np.ndarray:
        stored, where = self._arrays[key], self._where(key, start, stop)
        self._limits.check_held(where, (stop - start) * math.prod(stored.shape[1:]) * stored.dtype.itemsize)
        with reading(where):
            return np.asarray(stored[start:stop])

    def _stamps(self, start: int, stop: int) -> np.ndarray | None:
        """Capture times of the rows [ns], where the buffer has them."""
        if TIMESTAMP not in self._arrays:
            return None
        where = self._where(TIMESTAMP, start, stop)
        seconds = self._numbers(TIMESTAMP, start, stop).reshape(stop - start, -1).astype(np.float64)
        if seconds.shape[1] != 1 or not np.isfinite(seconds).all() or (np.diff(seconds[:, 0]) < 0).any():
            raise DatasetError(f"{where} does not rise; one time in seconds per row is expected.")
        if np.abs(seconds).max() > 9e9:
            raise DatasetError(f"{where} reaches {np.abs(seconds).max():g}; seconds are expected.")
        return np.rint(seconds[:, 0] * 1e9).astype(np.int64)
