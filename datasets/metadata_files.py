"""Metadata files, JSON and small Parquet tables, read only as far as they are what such files can be."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from praxon.errors import DatasetError

MAX_TEXT_BYTES = 256 * 2**20
"""Of a metadata file; a larger one is not read."""


def read_json(path: Path) -> dict[str, Any]:
    """A JSON mapping, refused with one sentence where it is none."""
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise DatasetError(f"'{path}' is larger than {MAX_TEXT_BYTES >> 20} MB; metadata are not.")
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"'{path}' cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if not isinstance(data, dict):
        raise DatasetError(f"'{path}' holds no mapping.")
    return data


def read_table(path: Path, columns: Callable[[str], bool] | None = None, max_bytes: int = MAX_TEXT_BYTES) -> pa.Table:
    """A small Parquet file (metadata), the columns for which ``columns`` holds; refused where it unpacks to ``max_bytes``."""
    if not os.path.isfile(path):  # a pipe would be waited for
        raise DatasetError(f"'{path}' cannot be read: No such file.")
    try:
        with pq.ParquetFile(path) as file:
            require_plausible(file, path)
            chosen = [name for name in file.schema_arrow.names if columns is None or columns(name)]
            leaves = _leaves(file, chosen)
            texts = [name for name, (_, _, is_text) in leaves.items() if is_text]
            unpacked = sum(max(size, 0 if is_text else 8 * count) for size, count, is_text in leaves.values())
            if unpacked < max_bytes and texts:
                # One long text that is stored once and repeated a million times is found before it is copied.
                with pq.ParquetFile(path, read_dictionary=texts) as packed:
                    unpacked += sum(map(_text_bytes, packed.read(columns=texts).columns))
            if unpacked >= max_bytes:
                raise DatasetError(f"'{path}' would unpack to {unpacked >> 20} MB or more; it is not read.")
            return file.read(columns=chosen)
    except (OSError, pa.ArrowException, ValueError, KeyError, MemoryError) as error:
        raise DatasetError(f"'{path}' cannot be read: {' '.join(str(error).split())}.") from error


def _leaves(file: pq.ParquetFile, chosen: Sequence[str]) -> dict[str, tuple[int, int, bool]]:
    """Leaf column -> (bytes unpacked, as the file says; values; whether they are texts or bytes)."""
    found: dict[str, tuple[int, int, bool]] = {}
    for group in range(file.metadata.num_row_groups):
        for number in range(file.metadata.num_columns):
            leaf = file.metadata.row_group(group).column(number)
            name = leaf.path_in_schema
            if any(name == top or name.startswith(f"{top}.") for top in chosen):
                size, count, _ = found.get(name, (0, 0, False))
                is_text = leaf.physical_type == "BYTE_ARRAY"
                found[name] = (size + leaf.total_uncompressed_size, count + leaf.num_values, is_text)
    return found


def _text_bytes(column: pa.ChunkedArray) -> int:
    """Bytes of a column of texts, in lists or structs or not, when its dictionaries are written out."""
    total = 0
    for chunk in column.chunks:
        while not pa.types.is_dictionary(chunk.type):
            if pa.types.is_struct(chunk.type):
                chunk = chunk.field(0)
            elif pa.types.is_list(chunk.type) or pa.types.is_large_list(chunk.type):
                chunk = chunk.flatten()
            else:
                return total + chunk.nbytes
        lengths = pc.binary_length(chunk.dictionary).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        total += int(lengths[chunk.indices.drop_null().to_numpy(zero_copy_only=False)].sum()) if len(lengths) else 0
    return total


def require_plausible(file: pq.ParquetFile, path: Path) -> None:
    """Refuse a file that would unpack to far more than its size: no real column shrinks a thousandfold, a bomb does."""
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    unpacked, packed = sum(group.total_byte_size for group in groups), path.stat().st_size
    rows = file.metadata.num_rows
    if rows < 0 or unpacked < 0 or max(unpacked, 8 * rows) > 64 * 2**20 + 2000 * packed:
        raise DatasetError(f"'{path}' has {packed} bytes and claims {rows} rows of {unpacked} bytes; it is not read.")
