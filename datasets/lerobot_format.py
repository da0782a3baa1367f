"""LeRobot's dataset layout, version 3.0: names of files, the feature table, and schemas, shared by writer and reader.

Source: the layout as read and written by lerobot 0.4 to 0.6 (``codebase_version`` v3.0). Besides it we keep
``meta/contract.yaml``, ``meta/praxon.json`` (columns beyond the contract, and where the data come from) and the column
``stamp_ns``, the true capture time; readers of the format ignore them.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from praxon.contract import Feature, PolicyContract
from praxon.errors import DatasetError

VERSION = "v3.0"
FILES_PER_CHUNK = 1000
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
INFO, STATS, TASKS, CONTRACT = "meta/info.json", "meta/stats.json", "meta/tasks.parquet", "meta/contract.yaml"
OURS = "meta/praxon.json"
NOTHING_OURS: dict[str, Any] = {"metadata": {}, "extra_features": []}
STAMP = "stamp_ns"

INDEX_COLUMNS = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
"""Columns that every dataset has, shape [1]."""


def place(root: Path, template: str, number: int, **names: str) -> Path:
    """Path of the ``number``-th file of a template: 1000 files per chunk folder."""
    chunk, file = divmod(number, FILES_PER_CHUNK)
    return root / template.format(chunk_index=chunk, file_index=file, **names)


def is_video(feature: Feature) -> bool:
    """Pictures are stored as MP4, everything else as Parquet columns."""
    return feature.kind == "image"


def frames_per_second(contract: PolicyContract) -> int:
    """The format wants an integer; a period without one is refused."""
    rate = 1 / contract.chunk.control_period_s
    if abs(rate - round(rate)) > 1e-6:
        raise DatasetError(
            f"A control period of {contract.chunk.control_period_s} s is {rate:.4f} frames per second; "
            "LeRobot's layout stores a whole number."
        )
    return round(rate)


def to_plain(features: Sequence[Feature]) -> list[dict[str, Any]]:
    """Features as JSON holds them; ``Feature(**entry)`` is the inverse."""
    return [{**asdict(f), "shape": list(f.shape), "names": list(f.names)} for f in features]


def feature_table(contract: PolicyContract, extra: Sequence[Feature] = ()) -> dict[str, dict[str, Any]]:
    """The ``features`` entry of info.json: the contract's features, those beyond it, and the index columns."""
    table: dict[str, dict[str, Any]] = {}
    for feature in (*contract, *extra):
        if is_video(feature):
            height, width, channels = feature.shape
            table[feature.name] = {
                "dtype": "video",
                "shape": [height, width, channels],
                "names": ["height", "width", "channels"],
                "info": {
                    "video.height": height,
                    "video.width": width,
                    "video.codec": "h264",
                    "video.pix_fmt": "yuv420p",
                    "video.fps": frames_per_second(contract),
                    "video.channels": channels,
                    "video.is_depth_map": False,
                    "has_audio": False,
                },
            }
        else:
            names = list(feature.names) or None
            table[feature.name] = {"dtype": feature.dtype, "shape": list(feature.shape), "names": names}
    table[STAMP] = {"dtype": "int64", "shape": [1], "names": None}
    return table | {name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in INDEX_COLUMNS.items()}


def data_schema(contract: PolicyContract, extra: Sequence[Feature] = ()) -> pa.Schema:
    """Columns of a data file in the order of the feature table: a scalar for shape [1], fixed-size lists otherwise.

    LeRobot casts each column to what its table says, and refuses a list of one where the shape is [1].
    """
    fields = []
    for name, entry in feature_table(contract, extra).items():
        if entry["dtype"] == "video":
            continue
        kind = pa.from_numpy_dtype(entry["dtype"])
        if entry["shape"] != [1]:
            for length in reversed(entry["shape"]):
                kind = pa.list_(kind, length)
        fields.append(pa.field(name, kind))
    return pa.schema(fields)


def to_arrow(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    """A column of type ``kind`` from one array per frame."""
    sizes = []
    while pa.types.is_fixed_size_list(kind):
        sizes.append(kind.list_size)
        kind = kind.value_type
    column = pa.array(np.ascontiguousarray(values).reshape(-1), kind)
    for size in reversed(sizes):
        column = pa.FixedSizeListArray.from_arrays(column, size)
    return column


def from_arrow(column: pa.Array) -> np.ndarray:
    """The inverse of ``to_arrow``, flat."""
    while pa.types.is_fixed_size_list(column.type):
        column = column.flatten()
    return column.to_numpy(zero_copy_only=False)
