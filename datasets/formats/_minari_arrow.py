"""Minari's Arrow and Parquet storages: ``data/<n>/part-0.arrow`` (or ``.parquet``), one nested table for each episode.

Tables have one row for each observation; the last row of actions, rewards and ends is padding and is dropped.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from praxon.datasets.formats._limits import Limits, reading
from praxon.datasets.formats._minari_spaces import Leaf
from praxon.errors import DatasetError

OBSERVATIONS = "observations"


class ArrowStorage:
    """Arrays of episodes; see ``praxon.datasets.formats.minari.Storage``."""

    def __init__(self, folder: Path, limits: Limits, suffix: str) -> None:
        self._folder, self._limits, self._suffix = folder, limits, suffix
        numbers = sorted(int(path.name) for path in folder.iterdir() if path.is_dir() and path.name.isdecimal())
        if numbers != list(range(len(numbers))):
            raise DatasetError(
                f"The Minari dataset '{folder}' has the episodes {numbers[:5]}...; 0, 1, ... are expected."
            )
        self.num_episodes = len(numbers)
        self._open: tuple[int, pa.StructArray] | None = None

    def where(self, episode: int, column: str, leaf: Leaf | None = None) -> str:
        return f"'{column}{f'/{leaf.place}' if leaf and leaf.path else ''}' of '{self._folder / str(episode)}'"

    def seed(self, episode: int) -> Any:
        path = self._folder / str(episode) / "metadata.json"
        with reading(f"'{path}'"):
            found = json.loads(path.read_text())
            if not isinstance(found, dict):
                raise DatasetError(f"'{path}' holds no mapping.")
            return found.get("seed")

    def has(self, episode: int, column: str) -> bool:
        return self._table(episode).type.get_field_index(column) >= 0

    def numbers(self, episode: int, column: str, leaf: Leaf | None = None) -> np.ndarray:
        where = self.where(episode, column, leaf)
        values = self._values(episode, column, leaf)
        shape = leaf.shape if leaf else ()
        with reading(where):
            if pa.types.is_fixed_size_list(values.type):
                length, values = len(values), values.flatten()
                self._require_whole(values, where)
                return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(length, *shape)
            return np.asarray(values.to_numpy(zero_copy_only=False))

    def texts(self, episode: int, column: str, leaf: Leaf) -> list[str]:
        with reading(self.where(episode, column, leaf)):
            return [str(text) for text in self._values(episode, column, leaf).to_pylist()]

    def pictures(self, episode: int, column: str, leaf: Leaf, coded: bool) -> Any:
        if not coded:
            return self.numbers(episode, column, leaf)
        values = self._values(episode, column, leaf)
        if not pa.types.is_binary(values.type):
            raise DatasetError(f"{self.where(episode, column, leaf)} is {values.type}; coded pictures are expected.")
        return _Coded(values)

    # -- pieces -----------------------------------------------------------------------------------

    def _values(self, episode: int, column: str, leaf: Leaf | None) -> pa.Array:
        """The array at a leaf, without the row of padding, every row of it there."""
        where, values = self.where(episode, column, leaf), self._table(episode)
        for key in (column, *(leaf.path if leaf else ())):
            if not pa.types.is_struct(values.type) or values.type.get_field_index(str(key)) < 0:
                raise DatasetError(f"{where} does not exist; '{key}' is missing.")
            values = values.field(str(key))
            if column != OBSERVATIONS and key == column:
                values = values[:-1]
            self._require_whole(values, where)
        return values

    def _require_whole(self, values: pa.Array, where: str) -> None:
        if values.null_count:
            raise DatasetError(f"{where} has {values.null_count} rows without a value; all are expected.")

    def _table(self, episode: int) -> pa.StructArray:
        """The episode's rows; the last one asked for is kept."""
        if self._open is None or self._open[0] != episode:
            self._open = episode, self._read(episode)
        return self._open[1]

    def _read(self, episode: int) -> pa.StructArray:
        folder = self._folder / str(episode)
        with reading(f"The episode '{folder}'"):
            paths = sorted(folder.glob(f"*.{self._suffix}"))
            if not paths:
                raise DatasetError(f"The episode '{folder}' holds no .{self._suffix} file.")
            table = pa.concat_tables([self._file(path) for path in paths])
            table.validate(full=True)
            self._limits.check_held(f"The episode '{folder}'", table.nbytes)
            batches = table.combine_chunks().to_struct_array()
            return batches.combine_chunks() if isinstance(batches, pa.ChunkedArray) else batches

    def _file(self, path: Path) -> pa.Table:
        if self._suffix == "parquet":
            file = pq.ParquetFile(path)
            groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
            self._limits.check_held(f"'{path}'", sum(group.total_byte_size for group in groups))
            return file.read()
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_file(source).read_all()


class _Coded(Sequence[bytes]):
    """Coded pictures of a binary column, each taken out when asked for."""

    def __init__(self, values: pa.Array) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, key: Any) -> Any:
        found = self._values[key]
        return found.to_pylist() if isinstance(key, slice) else found.as_py()
