"""Minari's HDF5 storage: ``data/main_data.hdf5`` with one group ``episode_<n>`` for each episode."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from praxon.datasets.formats._hdf5_file import Hdf5File
from praxon.datasets.formats._limits import Limits
from praxon.datasets.formats._minari_spaces import Leaf
from praxon.errors import DatasetError

FILE = "main_data.hdf5"
EPISODE = re.compile(r"episode_(\d+)")


class Hdf5Storage:
    """Arrays of episodes; see ``praxon.datasets.formats.minari.Storage``."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        if not (folder / FILE).is_file():
            raise DatasetError(
                f"The Minari dataset '{folder}' has no {FILE}, where its metadata say that its data are."
            )
        self._file = Hdf5File(folder / FILE, limits)
        names = self._file.names("")
        numbers = sorted(int(name.removeprefix("episode_")) for name in names if EPISODE.fullmatch(name))
        if len(numbers) != len(names) or numbers != list(range(len(names))):
            raise DatasetError(
                f"'{self._file.path}' holds {', '.join(names[:5])}; episode_0, episode_1, ... are expected."
            )
        self.num_episodes = len(names)

    def where(self, episode: int, column: str, leaf: Leaf | None = None) -> str:
        return self._file.where(_place(episode, column, leaf))

    def seed(self, episode: int) -> Any:
        return self._file.attribute(f"episode_{episode}", "seed")

    def has(self, episode: int, column: str) -> bool:
        return column in self._file.names(f"episode_{episode}")

    def numbers(self, episode: int, column: str, leaf: Leaf | None = None) -> np.ndarray:
        return self._file.numbers(_place(episode, column, leaf))

    def texts(self, episode: int, column: str, leaf: Leaf) -> list[str]:
        return self._file.texts(_place(episode, column, leaf))

    def pictures(self, episode: int, column: str, leaf: Leaf, coded: bool) -> Any:
        place = _place(episode, column, leaf)
        return self._file.coded(place) if coded else self._file.array(place)


def _place(episode: int, column: str, leaf: Leaf | None) -> str:
    parts = [f"_index_{key}" if isinstance(key, int) else key for key in (leaf.path if leaf else ())]
    return "/".join([f"episode_{episode}", column, *parts])
