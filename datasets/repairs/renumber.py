"""Keeping some of a dataset's episodes: rows, pictures and table entries of the others go, what follows is renumbered."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from praxon.datasets import lerobot_format as layout
from praxon.datasets.checks.folder import EPISODES_V2, STATS_V2, Folder, read_lines
from praxon.datasets.repairs.journal import Journal
from praxon.datasets.video_file import StoredVideo, append_videos
from praxon.errors import DatasetError


@dataclass(frozen=True)
class Keeping:
    """Which episodes stay.

    Args:
        folder: the dataset; it has a table of episodes.
        rows: (m,) rows of the table that stay, rising.
        cut: video files that hold pictures beyond their episodes'.
        trim: data files that hold rows beyond their episodes'.
    """

    folder: Folder
    rows: np.ndarray
    cut: frozenset[str] = frozenset()
    trim: frozenset[str] = frozenset()

    @property
    def lengths(self) -> np.ndarray:
        """(m,) frames."""
        return self._episodes.length[self.rows]

    @property
    def starts(self) -> np.ndarray:
        """(m,) new global index of each first frame."""
        return np.cumsum(self.lengths) - self.lengths

    @property
    def changes_numbers(self) -> np.ndarray:
        """(m,) whether an episode's number or range changes."""
        changed: np.ndarray = (self.rows != np.arange(len(self.rows))) | (
            self._episodes.start[self.rows] != self.starts
        )
        return changed

    @property
    def drops(self) -> bool:
        """Whether any episode goes."""
        return len(self.rows) != len(self._episodes)

    @property
    def _episodes(self) -> Any:
        return self.folder.episodes

    def new_number(self) -> dict[int, int]:
        """Row of the table -> new number."""
        return {int(row): number for number, row in enumerate(self.rows)}

    @property
    def old_numbers(self) -> np.ndarray:
        """(m,) the numbers that the kept episodes had, rising."""
        numbers: np.ndarray = self._episodes.index[self.rows]
        return numbers


def stage(keeping: Keeping, journal: Journal) -> None:
    """Prepare everything but info.json and the statistics.

    Raises:
        DatasetError: a file that is needed cannot be read or cut.
    """
    if keeping.folder.version == "v3.0":
        times = _stage_videos_v3(keeping, journal)
        _stage_data(keeping, journal)
        _stage_table_v3(keeping, journal, times)
    else:
        _stage_data(keeping, journal)
        _stage_videos_v2(keeping, journal)
        _stage_lines_v2(keeping, journal)


# -- data ---------------------------------------------------------------------------------------------------


def _stage_data(keeping: Keeping, journal: Journal) -> None:
    folder, episodes = keeping.folder, keeping.folder.episodes
    assert episodes is not None
    numbers, changed = keeping.new_number(), keeping.changes_numbers
    for file, name in enumerate(episodes.data.files):
        owners = episodes.data.owners(file)
        kept = [int(row) for row in owners if int(row) in numbers]
        if not kept:
            journal.set_aside(name)
            continue
        target = _data_name(folder, numbers[kept[0]], name)
        touched = len(kept) < len(owners) or name in keeping.trim or any(changed[numbers[row]] for row in kept)
        if touched or target != name:
            if target != name:
                journal.set_aside(name)
            _rewrite_data(keeping, folder.root / name, owners, kept, journal.stage(target))


def _data_name(folder: Folder, number: int, name: str) -> str:
    """v2.1 names a file after its episode, v3.0 does not."""
    if folder.version == "v3.0":
        return name
    chunk = int(folder.info.get("chunks_size", layout.FILES_PER_CHUNK))
    return str(folder.info["data_path"].format(episode_chunk=number // chunk, episode_index=number))


def _rewrite_data(keeping: Keeping, source: Path, owners: np.ndarray, kept: Sequence[int], target: Path) -> None:
    """Rows of the kept episodes under their new numbers, one row group for each."""
    episodes = keeping.folder.episodes
    assert episodes is not None
    ends = np.cumsum(episodes.length[owners])
    first = dict(zip(map(int, owners), (ends - episodes.length[owners]).tolist(), strict=True))
    numbers = keeping.new_number()
    try:
        table = read_whole(source)
        with pq.ParquetWriter(target, table.schema) as writer:
            for row in kept:
                length = int(episodes.length[row])
                part = table.slice(first[row], length)
                number = numbers[row]
                part = _with_column(part, "episode_index", np.full(length, number))
                part = _with_column(part, "index", int(keeping.starts[number]) + np.arange(length))
                writer.write_table(part)
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise DatasetError(f"'{source}' cannot be rewritten: {' '.join(str(error).split())}.") from error


def read_whole(path: Path) -> pa.Table:
    """A Parquet file as it is; unlike ``pq.read_table`` nothing is read out of the names of folders."""
    with pq.ParquetFile(path) as file:
        return file.read()


def _with_column(table: pa.Table, name: str, values: np.ndarray) -> pa.Table:
    place = table.schema.get_field_index(name)
    field = table.schema.field(place)
    column = pa.array(values, pa.int64())
    if pa.types.is_list(field.type) or pa.types.is_fixed_size_list(field.type):  # a list of one
        column = pa.array(values[:, None].tolist(), field.type)
    return table.set_column(place, field, column)


# -- videos -------------------------------------------------------------------------------------------------


def _stage_videos_v3(keeping: Keeping, journal: Journal) -> dict[str, dict[int, tuple[float, float]]]:
    """camera -> row -> new (from, to) of episodes whose file is cut anew."""
    folder, episodes = keeping.folder, keeping.folder.episodes
    assert episodes is not None
    numbers = keeping.new_number()
    times: dict[str, dict[int, tuple[float, float]]] = {camera: {} for camera in folder.cameras}
    for camera, track in episodes.videos.items():
        for file, name in enumerate(track.files):
            owners = track.owners(file)
            kept = sorted((int(row) for row in owners if int(row) in numbers), key=lambda row: track.from_s[row])
            if not kept:
                journal.set_aside(name)
            elif len(kept) < len(owners) or name in keeping.cut:
                parts, done = [], 0
                for row in kept:
                    length = int(episodes.length[row])
                    start = round(float(track.from_s[row]) * folder.fps)
                    parts.append(StoredVideo(folder.root / name, start, length, folder.fps))
                    times[camera][row] = (done / folder.fps, (done + length) / folder.fps)
                    done += length
                append_videos(parts, journal.stage(name))
    return times


def _stage_videos_v2(keeping: Keeping, journal: Journal) -> None:
    folder, episodes = keeping.folder, keeping.folder.episodes
    assert episodes is not None
    numbers = keeping.new_number()
    chunk = int(folder.info.get("chunks_size", layout.FILES_PER_CHUNK))
    for camera, track in episodes.videos.items():
        for row, name in enumerate(track.files):
            number = numbers.get(row)
            if number is None:
                journal.set_aside(name)
            elif number != episodes.index[row]:
                fields = {"episode_chunk": number // chunk, "episode_index": number, "video_key": camera}
                journal.rename(name, folder.info["video_path"].format(**fields))


# -- tables -------------------------------------------------------------------------------------------------


def _stage_table_v3(keeping: Keeping, journal: Journal, times: dict[str, dict[int, tuple[float, float]]]) -> None:
    folder, episodes = keeping.folder, keeping.folder.episodes
    assert episodes is not None
    numbers, changed = keeping.new_number(), keeping.changes_numbers
    moved = {row for each in times.values() for row in each}
    first = 0
    for number, name in enumerate(episodes.tables):
        mine = np.flatnonzero(episodes.table_of == number)
        kept = [int(row) for row in mine if int(row) in numbers]
        if len(mine) and not kept:
            journal.set_aside(name)
        elif len(kept) < len(mine) or any(changed[numbers[row]] or row in moved for row in kept):
            try:
                table = read_whole(folder.root / name).take(pa.array([row - first for row in kept], pa.int64()))
                table = _renumbered(table, keeping, kept, times)
                pq.write_table(table, journal.stage(name))
            except (OSError, pa.ArrowException, ValueError) as error:
                raise DatasetError(f"'{name}' cannot be rewritten: {' '.join(str(error).split())}.") from error
        first += len(mine)


def _renumbered(
    table: pa.Table, keeping: Keeping, kept: Sequence[int], times: dict[str, dict[int, tuple[float, float]]]
) -> pa.Table:
    episodes = keeping.folder.episodes
    assert episodes is not None
    new = np.array([keeping.new_number()[row] for row in kept])
    start, length = keeping.starts[new], episodes.length[list(kept)]
    columns: dict[str, np.ndarray] = {
        "episode_index": new,
        "dataset_from_index": start,
        "dataset_to_index": start + length,
    }
    for camera, told in times.items():
        for end, key in enumerate(("from_timestamp", "to_timestamp")):
            name = f"videos/{camera}/{key}"
            old = table[name].to_numpy()
            columns[name] = np.array([told[row][end] if row in told else old[i] for i, row in enumerate(kept)])
    for name, values in columns.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type))
    shifts = {"episode_index": new - episodes.index[list(kept)], "index": start - episodes.start[list(kept)]}
    for place, name in enumerate(table.schema.names):
        parts = name.split("/")
        if len(parts) == 3 and parts[0] == "stats" and parts[1] in shifts and parts[2] not in ("std", "count"):
            rows = zip(table[name].to_pylist(), shifts[parts[1]], strict=True)
            shifted = [None if row is None else [value + int(shift) for value in row] for row, shift in rows]
            table = table.set_column(
                place, table.schema.field(place), pa.array(shifted, table.schema.field(place).type)
            )
    return table


def _stage_lines_v2(keeping: Keeping, journal: Journal) -> None:
    folder, numbers = keeping.folder, keeping.new_number()
    if not keeping.drops:
        return
    rows = read_lines(folder.root / EPISODES_V2)
    lines = [rows[row] | {"episode_index": number} for row, number in numbers.items()]
    journal.write_text(EPISODES_V2, _lines(lines))
    if (folder.root / STATS_V2).is_file():
        journal.set_aside(STATS_V2)  # computed anew


def _lines(rows: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
