"""Gathering a dataset's episodes into few large files, as LeRobot writes them: for sharing, and for very many episodes."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from praxon.datasets import lerobot_format as layout
from praxon.datasets.lerobot_index import EPISODES_GLOB
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.metadata_files import read_json, read_table
from praxon.datasets.video_file import append_videos
from praxon.errors import DatasetError

DATA_MB, VIDEO_MB = 100, 200
"""Sizes after which LeRobot begins a new file [MB]."""


def pack(
    dataset: LeRobotDataset,
    out: Path,
    data_mb: float = DATA_MB,
    video_mb: float = VIDEO_MB,
    on_episode: Callable[[], None] = lambda: None,
) -> None:
    """Write the episodes of a dataset that has one file for each into shared files; ``out`` appears whole or not at all.

    Pictures keep their compression where their codec allows joining without a second one.

    Args:
        dataset: as ``LeRobotWriter`` leaves it.
        out: a new folder.
        data_mb, video_mb: a file that would become larger is closed and the next one begun [MB].

    Raises:
        DatasetError: a file of the dataset cannot be read, or holds several episodes.
    """
    files = [dataset.index.data_files, *(track.files for track in dataset.index.videos.values())]
    if any(len(paths) != dataset.num_episodes for paths in files):
        raise DatasetError(
            f"The dataset '{dataset.root}' has several episodes in a file; copied, it can be packed again."
        )
    partial = out.with_name(f".{out.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _pack(dataset, partial, data_mb, video_mb, on_episode)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _pack(
    dataset: LeRobotDataset, partial: Path, data_mb: float, video_mb: float, on_episode: Callable[[], None]
) -> None:
    partial.mkdir(parents=True)
    rows = [row for path in sorted(dataset.root.glob(EPISODES_GLOB)) for row in read_table(path).to_pylist()]
    rows = rows[: dataset.num_episodes]
    sizes = [path.stat().st_size for path in dataset.index.data_files]
    for number, episodes in enumerate(_groups(sizes, data_mb)):
        _write_data(dataset, episodes, layout.place(partial, layout.DATA_PATH, number))
        for episode in episodes:
            rows[episode] |= layout.location("data", number)
            on_episode()
    for camera, track in dataset.index.videos.items():
        for number, episodes in enumerate(_groups([path.stat().st_size for path in track.files], video_mb)):
            path = layout.place(partial, layout.VIDEO_PATH, number, video_key=camera)
            path.parent.mkdir(parents=True, exist_ok=True)
            append_videos([dataset.stored_video(camera, episode) for episode in episodes], path)
            first = 0
            for episode in episodes:
                last = first + int(dataset.episode_lengths[episode])
                times = {"from_timestamp": first / dataset.fps, "to_timestamp": last / dataset.fps}
                rows[episode] |= {f"videos/{camera}/{key}": value for key, value in times.items()}
                rows[episode] |= layout.location(f"videos/{camera}", number)
                first = last
    for row in rows:
        row |= layout.location("meta/episodes", 0)
    table = layout.place(partial, layout.EPISODES_PATH, 0)
    table.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), table)
    for name in (layout.TASKS, layout.STATS, layout.CONTRACT, layout.OURS):
        if (dataset.root / name).is_file():
            shutil.copyfile(dataset.root / name, partial / name)
    info = read_json(dataset.root / layout.INFO)
    (partial / layout.INFO).write_text(json.dumps(info, indent=1))


def _write_data(dataset: LeRobotDataset, episodes: Sequence[int], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [dataset.index.data_files[dataset.index.data_file_of[episode]] for episode in episodes]
    with pq.ParquetWriter(path, pq.read_schema(files[0])) as writer:
        for file in files:
            writer.write_table(read_table(file, max_bytes=2**40))


def _groups(sizes: Sequence[int], limit_mb: float) -> Iterator[list[int]]:
    """Runs of files that stay together below a size, in order; a larger one is alone."""
    group: list[int] = []
    total = 0
    for number, size in enumerate(sizes):
        if group and total + size > limit_mb * 1e6:
            yield group
            group, total = [], 0
        group.append(number)
        total += size
    if group:
        yield group
