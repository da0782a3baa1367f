"""Columns of many Parquet files as arrays for random access: in memory up to a budget, in a file on disk beyond it.

The file is nameless: it disappears with the process, and the operating system keeps of it in memory what is in use and fits.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from praxon.datasets.metadata_files import require_plausible
from praxon.errors import DatasetError

BATCH_ROWS = 65536
SEGMENT_BYTES = 256 * 2**20
"""Of a file that holds arrays beyond memory; many share one, because a process may have few files open."""
SPILL_FOLDER = "PRAXON_SPILL"
"""Environment variable that names the folder for what does not fit in memory; default ``~/.cache/praxon``."""


class Storage:
    """Gives out arrays: in memory while they fit into a budget together, on disk when not.

    Args:
        max_bytes: of memory [bytes].
    """

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes
        self._segment, self._used = np.empty(0, np.uint8), 0

    def allocate(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """An array of undefined content; ``DatasetError`` where neither memory nor disk has room for it."""
        size = int(np.prod(shape, dtype=np.float64)) * dtype.itemsize
        if size <= self._left:
            self._left -= size
            return np.empty(shape, dtype)
        start = -(-self._used // 64) * 64  # aligned for every type
        if start + size > len(self._segment):
            self._segment, start = self._on_disk(size), 0
        self._used = start + size
        return self._segment[start : start + size].view(dtype).reshape(shape)

    @staticmethod
    def _on_disk(size: int) -> np.ndarray:
        """At least ``size`` bytes in a file, reserved: a disk that fills up later would end the process."""
        folder = Path(
            os.environ.get(SPILL_FOLDER) or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "praxon"
        )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(folder).free
            if size > free:
                raise DatasetError(
                    f"{size >> 20} MB of columns do not fit in memory, and '{folder}' has {free >> 20} MB; "
                    f"{SPILL_FOLDER} can name a larger folder."
                )
            length = max(size, min(SEGMENT_BYTES, free // 4))
            with tempfile.TemporaryFile(dir=folder) as file:  # the mapping keeps what is in it
                os.posix_fallocate(file.fileno(), 0, length)
                return np.memmap(file, np.uint8, "r+", shape=(length,))
        except OSError as error:
            raise DatasetError(f"'{folder}' cannot take what does not fit in memory: {error.strerror}.") from error


def read_columns(
    files: Sequence[Path], rows: Sequence[int], fields: Mapping[str, tuple[np.dtype, tuple[int, ...]]], storage: Storage
) -> dict[str, np.ndarray]:
    """Numeric columns of all files one after another.

    Args:
        files: Parquet files, in order.
        rows: how many each must have.
        fields: column -> type and shape of one frame.
        storage: where the arrays come from.

    Returns:
        column -> (sum of rows, *shape); shape [1] is stored as a scalar or a list of one, both are read.

    Raises:
        DatasetError: a file, a column, its type, shape or number of rows is not what it should be.
    """
    found: dict[str, np.ndarray] = {}
    start = 0
    for path, count in zip(files, rows, strict=True):
        with open_parquet(path, count, fields) as file:
            position = start
            try:
                for batch in file.iter_batches(BATCH_ROWS, columns=list(fields)):
                    values = {
                        name: flat_values(batch.column(name), dtype, batch.num_rows * int(np.prod(shape)), name, path)
                        for name, (dtype, shape) in fields.items()
                    }
                    if not found:  # not before some rows have been seen: what info.json claims alone reserves nothing
                        found = {
                            name: storage.allocate((sum(rows), *fields[name][1]), fields[name][0]) for name in fields
                        }
                    for name, (_, shape) in fields.items():
                        found[name][position : position + batch.num_rows] = values[name].reshape(batch.num_rows, *shape)
                    position += batch.num_rows
            except (OSError, pa.ArrowException, MemoryError) as error:
                raise DatasetError(f"'{path}' cannot be read: {one_line(error)}.") from error
        start += count
    return found


def open_parquet(path: Path, rows: int, columns: Mapping[str, object]) -> pq.ParquetFile:
    """The open file; ``DatasetError`` where it cannot be one, has other than ``rows`` rows, or lacks a column."""
    if not os.path.isfile(path):  # a pipe would be waited for
        raise DatasetError(f"'{path}' cannot be read: No such file.")
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise DatasetError(f"'{path}' cannot be read: {one_line(error)}.") from error
    try:
        require_plausible(file, path)
        if file.metadata.num_rows != rows:
            raise DatasetError(f"'{path}' holds {file.metadata.num_rows} frames; its episodes' entries say {rows}.")
        names = file.schema_arrow.names
        missing = [name for name in columns if names.count(name) != 1]
        if missing:
            raise DatasetError(
                f"'{path}' has the columns {', '.join(names)}; {', '.join(missing)} are missing, or there more than once."
            )
    except DatasetError:
        file.close()
        raise
    return file


def flat_values(column: pa.Array, dtype: np.dtype, size: int, name: str, path: Path) -> np.ndarray:
    """The numbers of a column of any list nesting, flat, in the wanted type; nothing is rounded, wrapped or made up."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    while (
        pa.types.is_list(column.type) or pa.types.is_large_list(column.type) or pa.types.is_fixed_size_list(column.type)
    ):
        if column.null_count:
            raise DatasetError(f"Column '{name}' of '{path}' has {column.null_count} rows without a value.")
        column = column.flatten()
    if column.null_count:
        raise DatasetError(f"Column '{name}' of '{path}' has {column.null_count} values that are null.")
    kind = column.type
    if not (pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise DatasetError(f"Column '{name}' of '{path}' holds {kind}; info.json says {dtype}.")
    if len(column) != size:
        raise DatasetError(f"Column '{name}' of '{path}' holds {len(column)} values where info.json makes it {size}.")
    values = column.to_numpy(zero_copy_only=False)
    if values.dtype == dtype:
        return values
    if not np.can_cast(values.dtype, dtype, "same_kind") or values.dtype.kind != dtype.kind:
        raise DatasetError(f"Column '{name}' of '{path}' holds {values.dtype}; info.json says {dtype}.")
    with np.errstate(over="ignore"):
        cast = values.astype(dtype)
    if values.dtype.kind in "iu" and (cast != values).any():
        raise DatasetError(f"Column '{name}' of '{path}' holds numbers that are no {dtype}, as info.json says.")
    return cast


def one_line(error: BaseException) -> str:
    """A library's message without its line breaks."""
    return " ".join(str(error).split())
