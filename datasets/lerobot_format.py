"""LeRobot's dataset layout, version 3.0: names of files, the feature table, and schemas, shared by writer and reader.

Source: the layout as read and written by lerobot 0.4 to 0.6 (``codebase_version`` v3.0). Besides it we keep
``meta/contract.yaml``, ``meta/praxon.json`` (columns beyond the contract, where the data come from, named splits) and the
column ``stamp_ns``, the true capture time; readers of the format ignore them.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path, PurePosixPath
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
NOTHING_OURS: dict[str, Any] = {"metadata": {}, "extra_features": [], "splits": {}}
STAMP = "stamp_ns"
PNG = "png"
"""The codec that stores pictures as PNG files inside Parquet, without loss; all others are video codecs."""

INDEX_COLUMNS = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
"""Columns that every dataset has, shape [1]."""
PICTURE_FILE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""How a picture lies in a Parquet column."""


def place(root: Path, template: str, number: int, **names: str) -> Path:
    """Path of the ``number``-th file of a template: 1000 files per chunk folder."""
    chunk, file = divmod(number, FILES_PER_CHUNK)
    return root / template.format(chunk_index=chunk, file_index=file, **names)


def location(prefix: str, number: int) -> dict[str, int]:
    """Where the ``number``-th file is, as an episode's entry says it."""
    chunk, file = divmod(number, FILES_PER_CHUNK)
    return {f"{prefix}/chunk_index": chunk, f"{prefix}/file_index": file}


def is_folder_name(name: str) -> bool:
    """Whether a feature of this name can have a folder of its own: videos lie in folders named after their cameras."""
    return bool(name) and name == PurePosixPath(name).name and not name.startswith(".") and not {"\\", "\0"} & set(name)


def is_picture(feature: Feature) -> bool:
    """Pictures are stored as MP4 or PNG, everything else as numbers in Parquet columns."""
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


def feature_table(
    contract: PolicyContract, extra: Sequence[Feature] = (), codec: str = "h264"
) -> dict[str, dict[str, Any]]:
    """The ``features`` entry of info.json: the contract's features, those beyond it, and the index columns."""
    table: dict[str, dict[str, Any]] = {}
    for feature in (*contract, *extra):
        if is_picture(feature):
            table[feature.name] = _picture_entry(feature, frames_per_second(contract), codec)
        else:
            names = list(feature.names) or None
            table[feature.name] = {"dtype": feature.dtype, "shape": list(feature.shape), "names": names}
    table[STAMP] = {"dtype": "int64", "shape": [1], "names": None}
    return table | {name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in INDEX_COLUMNS.items()}


def _picture_entry(feature: Feature, fps: int, codec: str) -> dict[str, Any]:
    height, width, channels = feature.shape
    entry: dict[str, Any] = {"shape": [height, width, channels], "names": ["height", "width", "channels"]}
    if codec == PNG:
        return {"dtype": "image", **entry}
    info = {
        "video.height": height,
        "video.width": width,
        "video.codec": codec.partition("_")[0],
        "video.pix_fmt": "gbrp" if codec.endswith("_lossless") else "yuv420p",
        "video.fps": fps,
        "video.channels": channels,
        "video.is_depth_map": False,
        "has_audio": False,
    }
    return {"dtype": "video", **entry, "info": info}


def data_schema(table: dict[str, dict[str, Any]]) -> pa.Schema:
    """Columns of a data file in the order of the feature table: a scalar for shape [1], a fixed-size list for vectors.

    LeRobot casts each column to what its table says, and refuses a list of one where the shape is [1].
    """
    fields = []
    for name, entry in table.items():
        if entry["dtype"] == "video":
            continue
        if entry["dtype"] == "image":
            fields.append(pa.field(name, PICTURE_FILE))
            continue
        kind = pa.from_numpy_dtype(entry["dtype"])
        if entry["shape"] != [1]:
            if len(entry["shape"]) == 1:
                kind = pa.list_(kind, entry["shape"][0])
            else:
                # LeRobot's loader misreads nested lists of fixed size from the second row group on.
                for _ in entry["shape"]:
                    kind = pa.list_(kind)
        fields.append(pa.field(name, kind))
    pictures = {name: {"_type": "Image"} for name, entry in table.items() if entry["dtype"] == "image"}
    if not pictures:
        return pa.schema(fields)
    # LeRobot's loader decodes a column as pictures only where this says so; it then wants every other column told too.
    told = {name: _huggingface(entry) for name, entry in table.items() if entry["dtype"] != "video"}
    return pa.schema(fields, {"huggingface": json.dumps({"info": {"features": told | pictures}})})


def _huggingface(entry: dict[str, Any]) -> Any:
    kind: dict[str, Any] = {"dtype": entry["dtype"], "_type": "Value"}
    if entry["shape"] != [1]:
        vector = len(entry["shape"]) == 1
        for length in reversed(entry["shape"]):
            kind = {"feature": kind, "length": length if vector else -1, "_type": "List"}
    return kind


def to_arrow(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    """A column of type ``kind``, as ``data_schema`` has it, from one array per frame (T, *shape)."""
    values = np.ascontiguousarray(values)
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1), kind.value_type), kind.list_size)
    if not pa.types.is_list(kind):
        return pa.array(values.reshape(-1), kind)
    column = pa.array(values.reshape(-1))
    for axis in reversed(range(1, values.ndim)):
        count = int(np.prod(values.shape[:axis]))
        column = pa.ListArray.from_arrays(np.arange(count + 1, dtype=np.int32) * values.shape[axis], column)
    return column


def tasks_table(tasks: Sequence[str]) -> pa.Table:
    """Tasks as pandas would write them: the instruction is the index. Readers find it by this metadata."""
    column = {"pandas_type": "int64", "numpy_type": "int64", "metadata": None}
    index = {"pandas_type": "unicode", "numpy_type": "object", "metadata": None}
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            {"name": "task_index", "field_name": "task_index", **column},
            {"name": "task", "field_name": "task", **index},
        ],
        "pandas_version": "2.0.0",
    }
    table = pa.table(
        {"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(list(tasks), pa.string())}
    )
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})
