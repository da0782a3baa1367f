"""Minari datasets: recordings of Gymnasium environments, in HDF5, Arrow or Parquet beside a metadata.json.

Layout (Minari 0.4 to 0.5):

    <dataset>/data/metadata.json      spaces as JSON, env_spec, data_format, total_episodes, ...
    <dataset>/data/main_data.hdf5     or <dataset>/data/<n>/part-0.arrow

An episode has T actions and T + 1 observations; the last observation belongs to no action and is dropped. Spaces are
flattened: ``observation.<path>`` with dots (``observation.state`` for a space that is one array), Discrete as one
number, Text as its code points padded by zeros. A nested action becomes one row with named components.
"""

import io
import json
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from praxon.contract import Feature, PolicyContract
from praxon.datasets.formats import _features as features
from praxon.datasets.formats._limits import Limits, reading
from praxon.datasets.formats._minari_arrow import ArrowStorage
from praxon.datasets.formats._minari_hdf5 import Hdf5Storage
from praxon.datasets.formats._minari_spaces import MAX_TEXT, Leaf, leaves, width
from praxon.datasets.source import Episode, Frames
from praxon.errors import DatasetError

METADATA = "metadata.json"
MAX_METADATA = 2**26
"""Size of metadata.json [bytes]; bounds of picture spaces are written out in it."""
ENDS = {"rewards": features.REWARD, "terminations": features.DONE, "truncations": features.TRUNCATED}
ABOUT = ("dataset_id", "minari_version", "algorithm_name", "env_spec", "code_permalink", "author", "description")
"""Entries of metadata.json that say where the data come from."""


class Storage(Protocol):
    """Where episodes lie: one class for each of Minari's storages.

    Arrays are found by the number of the episode, a column (observations, actions, rewards, ...) and a leaf of its space.
    """

    num_episodes: int

    def where(self, episode: int, column: str, leaf: Leaf | None = None) -> str: ...

    def seed(self, episode: int) -> Any: ...

    def has(self, episode: int, column: str) -> bool: ...

    def numbers(self, episode: int, column: str, leaf: Leaf | None = None) -> np.ndarray: ...

    def texts(self, episode: int, column: str, leaf: Leaf) -> list[str]: ...

    def pictures(self, episode: int, column: str, leaf: Leaf, coded: bool) -> Any: ...


def recognises(path: Path) -> bool:
    """Whether it is the folder of a Minari dataset, or the ``data`` folder in it."""
    try:
        head = _data_folder(path).joinpath(METADATA)
        return (
            head.is_file() and head.stat().st_size <= MAX_METADATA and "total_episodes" in json.loads(head.read_text())
        )
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def open_source(
    path: Path,
    *,
    fps: float | None = None,
    task: str | None = None,
    robot: str | None = None,
    contract: PolicyContract | None = None,
    max_bytes: int = Limits.max_bytes,
    max_expansion: float = Limits.max_expansion,
) -> "MinariSource":
    """The episodes of a dataset.

    Args:
        path: folder of the dataset, or the ``data`` folder in it.
        fps: frames per second, which the format does not say.
        task: the instruction in words. Where None: a text observation that stays the same through an episode (the
            mission of grid worlds), else the environment's or the dataset's name.
        robot: name of the robot.
        contract: joints, units and frames, which the format does not say; must fit what is there.
        max_bytes: most bytes held at once.
        max_expansion: largest believed ratio of declared to stored size.

    Raises:
        DatasetError: the dataset is damaged, is not of this layout, or the rate is not given.
    """
    path = Path(path)
    return MinariSource(path, Limits(max_bytes, max_expansion), fps=fps, names=(robot, task), contract=contract)


class MinariSource:
    """Episodes in the order of their numbers; see ``open_source``."""

    def __init__(
        self,
        path: Path,
        limits: Limits,
        *,
        fps: float | None,
        names: tuple[str | None, str | None],
        contract: PolicyContract | None,
    ) -> None:
        self._here = f"'{path}'"
        folder = _data_folder(path)
        about = _metadata(folder / METADATA)
        self._storage = _storage(about, folder, limits)
        if about.get("total_episodes") != len(self) or not len(self):
            raise DatasetError(
                f"{self._here} says it has {about.get('total_episodes')} episodes; {len(self)} are there."
            )
        period_s = features.control_period(self._here, fps, None, contract)
        observed = leaves(_space(about, "observation_space", self._here), f"The observation space of {self._here}")
        self._acted = leaves(_space(about, "action_space", self._here), f"The action space of {self._here}")
        environment = _environment(about.get("env_spec"), self._here)
        self.robot_type, self._asked_task = names
        self._name = str(environment.get("id") or about.get("dataset_id") or path.name)

        left_out: dict[str, str] = {}
        found = self._observations(observed, left_out)
        self.contract = features.fitted_contract(
            self._here,
            {leaf.place or "observations": feature for leaf, feature in found.items()},
            self._action(),
            period_s,
            (self.robot_type or "unknown", self._asked_task or self._name),
            contract,
            left_out,
        )
        wanted = {feature.name: feature for feature in self.contract.observations}
        self._kept = {leaf: wanted[feature.name] for leaf, feature in found.items() if feature.name in wanted}
        self._texts = [leaf for leaf in observed if leaf.kind == "Text"]
        self._coded = about.get("jpeg_encoding", True) is True
        self.extra_features = tuple(ENDS.values())
        left_out["the last observation of each episode"] = "belongs to no action"
        if self._storage.has(0, "infos"):
            left_out["infos"] = "is not read"
        self.metadata: dict[str, Any] = {
            "format": "minari",
            **{key: features.plain(about[key]) for key in ABOUT if key in about},
            "seeds": [features.plain(self._storage.seed(episode)) for episode in range(len(self))],
            "left_out": left_out,
        }
        self.splits: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return self._storage.num_episodes

    def episode(self, index: int) -> Episode:
        """Episode ``index``, its last observation dropped."""
        if not 0 <= index < len(self):
            raise DatasetError(f"Episode {index} was asked; {self._here} has 0 to {len(self) - 1}.")
        rewards = self._storage.numbers(index, "rewards")
        length = len(rewards)
        if not length:
            raise DatasetError(f"{self._storage.where(index, 'rewards')} has no row; an episode has at least one.")
        frames: dict[str, Frames] = {"action": self._actions(index, length)}
        for leaf, feature in self._kept.items():
            frames[feature.name] = self._observation(index, leaf, feature, length)
        for column, feature in ENDS.items():
            where, values = self._storage.where(index, column), self._storage.numbers(index, column)
            features.require_rows(len(values), length, where)
            read = features.flags if feature.dtype == "bool" else features.vector
            frames[feature.name] = read(values.reshape(length, -1), where)
        return Episode(frames, None, self._asked_task or self._mission(index, length) or self._name)

    # -- what there is ----------------------------------------------------------------------------

    def _observations(self, observed: list[Leaf], left_out: dict[str, str]) -> dict[Leaf, Feature]:
        found: dict[Leaf, Feature] = {}
        for leaf in observed:
            made = self._feature(leaf)
            if isinstance(made, str):
                left_out[leaf.place or "observations"] = made
            else:
                found[leaf] = made
        return found

    def _feature(self, leaf: Leaf) -> Feature | str:
        if leaf.kind == "Text":
            if not 0 < width(leaf) <= MAX_TEXT:
                return f"is text of up to {width(leaf)} characters; up to {MAX_TEXT} are kept"
            return Feature(features.feature_name(leaf.name or "text", "observation.", self._here), "vector", leaf.shape)
        picture = features.as_picture(leaf.shape)
        name = leaf.name or ("image" if picture else "state")
        return features.observation(name, leaf.shape, _kind(leaf, self._here), self._here)

    def _action(self) -> Feature:
        """The action's leaves one after another."""
        names: list[str] = []
        for leaf in self._acted:
            if leaf.kind == "Text" or leaf.coded or not width(leaf):
                raise DatasetError(f"{self._here} has actions of type {leaf.kind}{leaf.shape}; numbers are expected.")
            label = leaf.name or "action"
            names += [f"{label}.{i}" for i in range(width(leaf))] if leaf.shape else [label]
        if not names:
            raise DatasetError(f"{self._here} has an action space without any number.")
        return features.one_action(len(names), tuple(names) if len(self._acted) > 1 else ())

    # -- one episode ------------------------------------------------------------------------------

    def _actions(self, index: int, length: int) -> np.ndarray:
        parts = []
        for leaf in self._acted:
            where, values = self._storage.where(index, "actions", leaf), self._storage.numbers(index, "actions", leaf)
            features.require_rows(len(values), length, where)
            parts.append(features.vector(values, where, leaf.shape or (1,)).reshape(length, -1))
        return np.concatenate(parts, axis=1)

    def _observation(self, index: int, leaf: Leaf, feature: Feature, length: int) -> Frames:
        where = self._storage.where(index, "observations", leaf)
        if leaf.kind == "Text":
            return _code_points(self._spoken(index, leaf, length), width(leaf), where)
        if feature.kind != "image":
            values = self._storage.numbers(index, "observations", leaf)
            features.require_rows(len(values), length + 1, where)
            return features.vector(values[:-1], where, feature.shape)
        coded = leaf.coded and self._coded
        stored = self._storage.pictures(index, "observations", leaf, coded)
        features.require_rows(len(stored), length + 1, where)
        if not coded:
            return features.stored_pictures(stored, feature, 0, length, where)
        height, wide, channels = feature.shape
        return features.Pictures(
            (length, height, wide, channels),
            lambda first, last: np.stack([_decoded(item, leaf.shape, where) for item in stored[first:last]]),
            where,
        )

    def _spoken(self, index: int, leaf: Leaf, length: int) -> list[str]:
        texts = self._storage.texts(index, "observations", leaf)
        features.require_rows(len(texts), length + 1, self._storage.where(index, "observations", leaf))
        return texts[:-1]

    def _mission(self, index: int, length: int) -> str | None:
        """The first text observation that is the same all the time."""
        for leaf in self._texts:
            texts = set(self._spoken(index, leaf, length))
            if len(texts) == 1 and (mission := texts.pop()):
                return mission
        return None


def _data_folder(path: Path) -> Path:
    return path if (path / METADATA).is_file() else path / "data"


def _metadata(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DatasetError(f"There is no Minari dataset at '{path.parent}'; {METADATA} is expected in it.")
    with reading(f"'{path}'"):
        if path.stat().st_size > MAX_METADATA:
            raise DatasetError(f"'{path}' has {path.stat().st_size} bytes; at most {MAX_METADATA} are read.")
        found = json.loads(path.read_text())
        if not isinstance(found, dict):
            raise DatasetError(f"'{path}' holds no mapping.")
        return found


def _storage(about: dict[str, Any], folder: Path, limits: Limits) -> Storage:
    """The storage that the metadata name; those of Minari before 0.5 have no entry and are HDF5."""
    kind = about.get("data_format", "hdf5")
    if kind == "hdf5":
        return Hdf5Storage(folder, limits)
    if kind in ("arrow", "parquet"):
        return ArrowStorage(folder, limits, kind)
    raise DatasetError(f"'{folder}' is stored as '{kind}'; hdf5, arrow and parquet can be read.")


def _space(about: dict[str, Any], name: str, where: str) -> str:
    if not isinstance(about.get(name), str):
        raise DatasetError(
            f"{where} does not describe its {name}; Minari would make the environment, which runs code, to learn it."
        )
    return str(about[name])


def _environment(text: Any, where: str) -> dict[str, Any]:
    """The environment's specification, read and not made."""
    if not isinstance(text, str):
        return {}
    with reading(f"The env_spec of {where}"):
        found = json.loads(text)
        return found if isinstance(found, dict) else {}


def _kind(leaf: Leaf, where: str) -> str:
    with reading(f"The type '{leaf.dtype}' of '{leaf.place}' in {where}"):
        return np.dtype(leaf.dtype).kind


def _code_points(texts: list[str], length: int, where: str) -> np.ndarray:
    """Text as numbers, (T, length) float32; code points are below 2^24, so they are exact."""
    longest = max(map(len, texts))
    if longest > length:
        raise DatasetError(f"{where} has a text of {longest} characters; its space allows {length}.")
    rows = np.zeros((len(texts), length), np.float32)
    for row, text in zip(rows, texts, strict=True):
        row[: len(text)] = [ord(character) for character in text]
    return rows


def _decoded(item: Any, shape: tuple[int, ...], where: str) -> np.ndarray:
    """One JPEG picture, (height, width, 3) uint8; its head is compared with the space before anything is unpacked."""
    from PIL import Image

    packed = item if isinstance(item, bytes) else np.asarray(item, np.uint8).tobytes()
    with Image.open(io.BytesIO(packed), formats=["JPEG"]) as picture:
        if (picture.height, picture.width) != shape[:2] or picture.mode != "RGB":
            raise DatasetError(
                f"{where} holds a {picture.mode} picture of {picture.height}x{picture.width}; {shape} is expected."
            )
        return np.asarray(picture)
