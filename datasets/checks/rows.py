"""One pass over the data files: schema, index columns, finite values; what other checks need is handed on as it is read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from praxon.datasets import lerobot_format as layout
from praxon.datasets.checks.finding import Finding, listed
from praxon.datasets.checks.folder import Episodes, Folder, is_file
from praxon.datasets.columns import flat_values
from praxon.datasets.lerobot_index import Entry
from praxon.datasets.metadata_files import require_plausible
from praxon.errors import DatasetError

BATCH_BYTES = 32 * 2**20
MAX_ROW_BYTES = 256 * 2**20
MAX_CHUNK_BYTES, MAX_RATIO = 256 * 2**20, 1000
"""A column of a row group that is larger than the one and shrank by more than the other is not unpacked."""
TIMESTAMP_TOLERANCE = 1e-4
"""LeRobot's own tolerance [s]; half-precision errors of long episodes' float32 times are added."""


@dataclass(frozen=True)
class Block:
    """Whole consecutive episodes of one file.

    Args:
        rows: of the table of episodes.
        lengths: frames of each.
        columns: feature -> (sum of lengths, *shape); pictures as Arrow arrays of their files.
    """

    rows: np.ndarray
    lengths: np.ndarray
    columns: dict[str, np.ndarray]
    pictures: dict[str, pa.Array]

    def each(self, name: str) -> Iterator[tuple[int, np.ndarray]]:
        """(row of the table, frames) of every episode."""
        ends = np.cumsum(self.lengths)
        for row, end, length in zip(self.rows, ends, self.lengths, strict=True):
            yield int(row), self.columns[name][end - length : end]


class DataFile:
    """One data file, opened with suspicion.

    Args:
        folder: whose features it has.
        name: relative path.

    Raises:
        FileFault: it is missing, cannot be read, or is implausible.
    """

    def __init__(self, folder: Folder, name: str) -> None:
        self.path, self.name = folder.root / name, name
        self._features = folder.features
        if not is_file(self.path):
            raise FileFault("data_missing", f"The data file '{name}' is missing.")
        try:
            self._file = pq.ParquetFile(self.path)
        except (OSError, pa.ArrowException, ValueError) as error:
            raise FileFault("data_unreadable", f"The data file '{name}' cannot be read: {_line(error)}.") from error
        try:
            self._require_plausible()
        except DatasetError:
            self._file.close()
            raise

    def __enter__(self) -> "DataFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def num_rows(self) -> int:
        """Rows, by the file's own footer."""
        return int(self._file.metadata.num_rows)

    def schema_faults(self) -> dict[str, str]:
        """column -> what is wrong with it."""
        try:
            schema = self._file.schema_arrow
        except (pa.ArrowException, ValueError) as error:
            raise FileFault(
                "data_unreadable", f"The schema of '{self.name}' cannot be read: {_line(error)}."
            ) from error
        wanted = {name: entry for name, entry in self._features.items() if entry.dtype != "video"}
        faults = {name: "it is missing" for name in wanted if name not in schema.names}
        for name in schema.names:
            if name not in wanted:
                faults[name] = "info.json does not know it"
            elif schema.names.count(name) > 1:
                faults[name] = "it is there twice"
            else:
                said = _type_fault(schema.field(name).type, wanted[name])
                if said:
                    faults[name] = said
        return faults

    def blocks(self, rows: np.ndarray, lengths: np.ndarray, names: Sequence[str]) -> Iterator[Block]:
        """The file's episodes, a few at a time. ``rows`` and ``lengths`` say which they are; they cover the file."""
        entries = [self._features[name] for name in names]
        row_bytes = sum(_frame_bytes(entry) for entry in entries) or 1
        size = int(max(1, min(65536, BATCH_BYTES // row_bytes)))
        parts: list[pa.RecordBatch] = []
        held = first = 0
        ends = np.cumsum(lengths)
        try:
            for batch in self._file.iter_batches(size, columns=list(names)):
                parts.append(batch)
                held += batch.num_rows
                start = int(ends[first - 1]) if first else 0
                ready = int(np.searchsorted(ends, start + held, side="right"))
                if ready > first:
                    table = pa.Table.from_batches(parts)
                    count = int(ends[ready - 1]) - start
                    yield self._block(table.slice(0, count), rows[first:ready], lengths[first:ready], entries)
                    parts = table.slice(count).to_batches() if held > count else []
                    held, first = held - count, ready
        except (OSError, pa.ArrowException, ValueError, MemoryError, OverflowError) as error:
            raise FileFault(
                "data_unreadable", f"The data file '{self.name}' cannot be read: {_line(error)}."
            ) from error
        if first < len(rows):
            raise FileFault("data_unreadable", f"The data file '{self.name}' ends before its last row.")

    def _block(self, table: pa.Table, rows: np.ndarray, lengths: np.ndarray, entries: Sequence[Entry]) -> Block:
        columns, pictures = {}, {}
        for entry in entries:
            column = table[entry.name].combine_chunks()
            if isinstance(column, pa.ChunkedArray):  # pyarrow gives one where there is nothing to combine
                column = pa.concat_arrays(column.chunks)
            if entry.dtype == "image":
                pictures[entry.name] = column
            else:
                count = table.num_rows * int(np.prod(entry.shape))
                try:
                    values = flat_values(column, np.dtype(entry.dtype), count, entry.name, self.path)
                except DatasetError as error:
                    raise FileFault("schema", str(error)) from error
                columns[entry.name] = values.reshape(table.num_rows, *entry.shape)
        return Block(rows, lengths, columns, pictures)

    def _require_plausible(self) -> None:
        try:
            require_plausible(self._file, self.path)
            metadata = self._file.metadata
            for group in range(metadata.num_row_groups):
                for leaf in range(metadata.num_columns):
                    chunk = metadata.row_group(group).column(leaf)
                    packed, unpacked = chunk.total_compressed_size, chunk.total_uncompressed_size
                    if max(unpacked, 8 * chunk.num_values) > max(MAX_CHUNK_BYTES, MAX_RATIO * max(packed, 1)):
                        raise DatasetError(
                            f"Column '{chunk.path_in_schema[:80]}' of '{self.name}' has {packed} bytes and claims to unpack "
                            f"to {max(unpacked, 8 * chunk.num_values)}; it is not read."
                        )
            wide = max((_frame_bytes(entry) for entry in self._features.values() if entry.dtype != "video"), default=0)
            if wide > MAX_ROW_BYTES:
                raise DatasetError(f"A frame of '{self.name}' would have {wide} bytes by info.json; it is not read.")
        except DatasetError as error:
            raise FileFault("implausible_size", str(error)) from error
        except (OSError, pa.ArrowException, ValueError, OverflowError) as error:
            raise FileFault(
                "data_unreadable", f"The data file '{self.name}' cannot be read: {_line(error)}."
            ) from error


class FileFault(DatasetError):
    """A file that cannot be used; ``name`` is that of the finding."""

    def __init__(self, name: str, sentence: str) -> None:
        super().__init__(sentence)
        self.name = name


def index_faults(folder: Folder, name: str, block: Block, first_frame: np.ndarray) -> Iterator[Finding]:
    """The index columns of one block against the table of episodes.

    Args:
        first_frame: (n,) global index of each of the block's episodes' first frame.
    """
    episodes = folder.episodes
    assert episodes is not None
    columns = {key: block.columns[key].reshape(-1) for key in layout.INDEX_COLUMNS if key in block.columns}
    ends = np.cumsum(block.lengths)
    within = np.arange(int(ends[-1])) - np.repeat(ends - block.lengths, block.lengths)
    owner = np.repeat(episodes.index[block.rows], block.lengths)
    right = np.ones(len(owner), bool)
    if "episode_index" in columns:
        right = columns["episode_index"] == owner
        if not folder.trusted:  # the table is at fault, and told; either reading of it will do
            right |= columns["episode_index"] == np.repeat(block.rows, block.lengths)
        yield from _first_wrong("episode_index", name, columns["episode_index"], owner, right, owner)
    counted = np.ones(len(owner), bool)
    if "frame_index" in columns:
        counted = columns["frame_index"] == within
        yield from _first_wrong("frame_index", name, columns["frame_index"], within, counted | ~right, owner)
    if "index" in columns:
        wanted = np.repeat(first_frame, block.lengths) + within
        # Rows of another episode or out of order are told already.
        good = (columns["index"] == wanted) | ~right | ~counted
        yield from _first_wrong("index", name, columns["index"], wanted, good, owner)
    if "task_index" in columns and folder.tasks is not None:
        yield from _task_faults(folder, episodes, name, block, columns["task_index"], right, owner)


def _first_wrong(
    fault: str, name: str, values: np.ndarray, wanted: np.ndarray, good: np.ndarray, owner: np.ndarray
) -> Iterator[Finding]:
    wrong = np.flatnonzero(~good)
    if len(wrong):
        row = int(wrong[0])
        sentence = (
            f"{fault} is {values[row]} where {wanted[row]} is expected, in episode {owner[row]} of '{name}' "
            f"({len(wrong)} such rows)."
        )
        yield Finding(fault, listed(np.unique(owner[wrong]).tolist()), sentence)


def _task_faults(
    folder: Folder,
    episodes: Episodes,
    name: str,
    block: Block,
    values: np.ndarray,
    right: np.ndarray,
    owner: np.ndarray,
) -> Iterator[Finding]:
    tasks = folder.tasks or ()
    good = ((values >= 0) & (values < len(tasks))) | ~right
    bad = np.flatnonzero(~good)
    if len(bad):
        sentence = (
            f"task_index is {values[bad[0]]} in episode {owner[bad[0]]} of '{name}'; there are {len(tasks)} tasks."
        )
        yield Finding("task_index", listed(np.unique(owner[bad]).tolist()), sentence)
        return
    if episodes.tasks is None or not right.all():
        return
    start = 0
    for row, length in zip(block.rows, block.lengths, strict=True):
        for number in np.unique(values[start : start + length]):
            if tasks[number] not in episodes.tasks[row] and episodes.tasks[row]:
                sentence = (
                    f"Episode {episodes.index[row]} has frames of the task '{tasks[number][:80]}'; "
                    f"its entry names '{', '.join(episodes.tasks[row])[:80]}'."
                )
                yield Finding("task_index", listed([episodes.index[row]]), sentence)
        start += length


def not_finite(name: str, values: np.ndarray, row: int, file: str) -> Iterator[Finding]:
    """A finding where one feature of one episode has values that are no numbers."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(1))
        sentence = f"'{name}' is not finite in {len(bad)} frames of episode {row}, first in frame {bad[0]}."
        yield Finding("not_finite", name, sentence)


def _frame_bytes(entry: Entry) -> int:
    if entry.dtype in ("video", "string"):
        return 0
    size = 1
    for length in entry.shape:
        size *= length
    return size if entry.dtype == "image" else size * np.dtype(entry.dtype).itemsize


def _type_fault(kind: pa.DataType, entry: Entry) -> str:
    """What is wrong with a column's type, or nothing."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if entry.dtype == "string":
        good = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        return "" if good else f"it holds {kind}; info.json says string"
    if entry.dtype == "image":
        if pa.types.is_struct(kind) and "bytes" in [field.name for field in kind]:
            kind = kind.field("bytes").type
        good = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
        return "" if good else f"it holds {kind}; info.json says image"
    sizes: list[int | None] = []
    leaf = kind
    while pa.types.is_list(leaf) or pa.types.is_large_list(leaf) or pa.types.is_fixed_size_list(leaf):
        sizes.append(leaf.list_size if pa.types.is_fixed_size_list(leaf) else None)
        leaf = leaf.value_type
    shapes = [list(entry.shape)] + ([[]] if entry.shape == (1,) else [])
    fits = any(len(s) == len(sizes) and all(a in (None, b) for a, b in zip(sizes, s, strict=True)) for s in shapes)
    if leaf != pa.from_numpy_dtype(np.dtype(entry.dtype)) or not fits:
        return f"it holds {kind}; info.json says {entry.dtype} of shape {list(entry.shape)}"
    return ""


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")[:300]
