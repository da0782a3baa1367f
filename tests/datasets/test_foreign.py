"""Datasets that we did not write: several episodes to a file, no contract, version 2.1; built here by the format's description."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from praxon.datasets.columns import Storage
from praxon.datasets.lerobot_index import check_template
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.errors import DatasetError

LENGTHS = (5, 3, 7, 4)
TASKS = ("pick", "place")
SIDE = 64


def episode_table(episode, start):
    """State and action of frame t of episode e are 100 e + t; the task changes in the middle of episode 2."""
    length = LENGTHS[episode]
    t = np.arange(length)
    number = (100.0 * episode + t).astype(np.float32)
    task = (t >= 4).astype(np.int64) if episode == 2 else np.full(length, episode % 2)
    png = [cv2.imencode(".png", np.full((SIDE, SIDE, 3), 10 * episode + i, np.uint8))[1].tobytes() for i in t]
    return pa.table(
        {
            "observation.state": pa.array(np.stack([number, -number], 1).tolist(), pa.list_(pa.float32())),
            "observation.images.wrist": pa.array([{"bytes": data, "path": None} for data in png]),
            "action": pa.FixedSizeListArray.from_arrays(pa.array(number), 1),
            "next.reward": pa.array(number / 2),
            "note": pa.array(["text"] * length),
            "timestamp": pa.array((t / 10).astype(np.float32)),
            "frame_index": pa.array(t),
            "episode_index": pa.array(np.full(length, episode)),
            "index": pa.array(start + t),
            "task_index": pa.array(task),
        }
    )


def features(video):
    scalar = {"shape": [1], "names": None}
    picture = {"shape": [3, SIDE, SIDE], "names": ["channels", "height", "width"]}
    table = {
        "observation.state": {"dtype": "float32", "shape": [2], "names": {"motors": ["a", "b"]}},
        "observation.images.wrist": {"dtype": "image", **picture},
        "action": {"dtype": "float32", "names": None, "shape": [1]},
        "next.reward": {"dtype": "float32", **scalar},
        "note": {"dtype": "string", **scalar},
        "timestamp": {"dtype": "float32", **scalar},
    }
    table |= {name: {"dtype": "int64", **scalar} for name in ("frame_index", "episode_index", "index", "task_index")}
    return table | ({"observation.images.top": {"dtype": "video", **picture}} if video else {})


def info(version, **changes):
    whole = {
        "codebase_version": version,
        "robot_type": "so100",
        "total_episodes": 4,
        "total_frames": 19,
        "total_tasks": 2,
        "chunks_size": 1000,
        "fps": 10,
        "splits": {"train": "0:3", "test": "3:4"},
        "features": features(video=True),
    }
    return whole | changes


def write_json(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))


@pytest.fixture
def v3(tmp_path, film):
    """Two data files of two episodes each; all pictures of the camera 'top' in two videos of one and three episodes."""
    root = tmp_path / "v3"
    template = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    videos = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
    write_json(root / "meta/info.json", info("v3.0", data_path=template, video_path=videos))
    starts = np.cumsum([0, *LENGTHS])
    tables = [episode_table(e, int(starts[e])) for e in range(4)]
    (root / "data/chunk-000").mkdir(parents=True)
    for file in range(2):
        pq.write_table(
            pa.concat_tables(tables[2 * file : 2 * file + 2]), root / template.format(chunk_index=0, file_index=file)
        )
    rows = []
    for e, length in enumerate(LENGTHS):
        film_start = 0 if e == 0 else int(starts[e] - starts[1])
        rows.append(
            {
                "episode_index": e,
                "tasks": [TASKS[e % 2]],
                "length": length,
                "data/chunk_index": 0,
                "data/file_index": e // 2,
                "dataset_from_index": int(starts[e]),
                "dataset_to_index": int(starts[e + 1]),
                "videos/observation.images.top/chunk_index": 0,
                "videos/observation.images.top/file_index": int(e > 0),
                "videos/observation.images.top/from_timestamp": film_start / 10,
                "videos/observation.images.top/to_timestamp": (film_start + length) / 10,
            }
        )
    (root / "meta/episodes/chunk-000").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), root / "meta/episodes/chunk-000/file-000.parquet")
    pandas.DataFrame({"task_index": [0, 1]}, index=pandas.Index(TASKS, name="task")).to_parquet(
        root / "meta/tasks.parquet"
    )
    folder = root / "videos/observation.images.top/chunk-000"
    folder.mkdir(parents=True)
    film.encode(folder / "file-000.mp4", range(5), fps=10, g=2)
    film.encode(folder / "file-001.mp4", range(5, 19), fps=10, g=4)
    return root


@pytest.fixture
def v2(tmp_path, film):
    root = tmp_path / "v2"
    template = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
    videos = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
    write_json(root / "meta/info.json", info("v2.1", data_path=template, video_path=videos, chunks_size=2))
    starts = np.cumsum([0, *LENGTHS])
    lines = {"episodes": [], "tasks": [json.dumps({"task_index": i, "task": text}) for i, text in enumerate(TASKS)]}
    for e, length in enumerate(LENGTHS):
        path = root / template.format(episode_chunk=e // 2, episode_index=e)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(episode_table(e, int(starts[e])), path)
        lines["episodes"].append(json.dumps({"episode_index": e, "tasks": [TASKS[e % 2]], "length": length}))
        path = root / videos.format(episode_chunk=e // 2, episode_index=e, video_key="observation.images.top")
        path.parent.mkdir(parents=True, exist_ok=True)
        film.encode(path, range(starts[e], starts[e + 1]), fps=10, g=2)
    for name, texts in lines.items():
        (root / "meta" / f"{name}.jsonl").write_text("\n".join(texts) + "\n")
    return root


@pytest.mark.parametrize("version", ["v3", "v2"])
def test_every_value_and_picture_is_where_it_belongs(version, request, film):
    dataset = LeRobotDataset(request.getfixturevalue(version))
    assert (dataset.num_episodes, dataset.num_frames, dataset.fps) == (4, 19, 10)
    assert list(dataset.episode_lengths) == list(LENGTHS)
    number = np.concatenate([100.0 * e + np.arange(n) for e, n in enumerate(LENGTHS)])
    assert np.array_equal(dataset.columns["observation.state"], np.stack([number, -number], 1))
    assert np.array_equal(dataset.columns["action"], number[:, None])
    assert np.array_equal(dataset.columns["next.reward"], number[:, None] / 2)
    order = np.random.default_rng(0).permutation(19)
    assert [film.shown(picture) for picture in dataset.frames("observation.images.top", order)] == order.tolist()
    grey = np.concatenate([10 * e + np.arange(n) for e, n in enumerate(LENGTHS)])
    assert np.array_equal(dataset.frames("observation.images.wrist", order)[:, 0, 0, 0], grey[order])
    assert dataset.splits == {"train": [0, 1, 2], "test": [3]}
    assert dataset.left_out == {"note": "text"}


def test_the_inferred_contract_says_what_the_format_says(v3):
    contract = LeRobotDataset(v3).contract
    assert (contract.robot, contract.task, contract.chunk.control_period_s) == ("so100", "several", 0.1)
    assert contract.feature("observation.state").names == ("a", "b")
    assert contract.feature("observation.images.top").shape == (SIDE, SIDE, 3)
    assert [feature.name for feature in LeRobotDataset(v3).extra_features] == ["next.reward"]


def test_an_episode_keeps_the_instructions_of_its_frames(v3):
    dataset = LeRobotDataset(v3)
    assert [dataset.episode(e).task for e in (0, 1, 3)] == ["pick", "place", "place"]
    assert dataset.episode(2).task == ["pick"] * 4 + ["place"] * 3
    assert dataset.episode(0).stamps_ns is None


def test_columns_beyond_the_budget_lie_on_disk(v3, tmp_path, monkeypatch):
    monkeypatch.setenv("PRAXON_SPILL", str(tmp_path / "spill"))
    small, large = LeRobotDataset(v3, memory_bytes=100), LeRobotDataset(v3)
    assert isinstance(small.columns["observation.state"], np.memmap)
    assert all(np.array_equal(small.columns[name], values) for name, values in large.columns.items())
    assert np.array_equal(
        small.frames("observation.images.wrist", np.arange(19)), large.frames("observation.images.wrist", np.arange(19))
    )
    assert list((tmp_path / "spill").iterdir()) == []  # the file has no name: it cannot be left behind


def test_what_is_mapped_from_disk_needs_no_memory_of_its_own(tmp_path):
    """200 MB of columns under a limit of 100 MB beyond what the libraries take."""
    code = """
import resource, sys
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from pathlib import Path
from praxon.datasets.columns import Storage, read_columns
paths = []
for i in range(10):
    paths.append(Path(sys.argv[1]) / f"{i}.parquet")
    values = np.arange(i * 2_500_000, (i + 1) * 2_500_000, dtype=np.float64)
    pq.write_table(pa.table({"x": values}), paths[-1], use_dictionary=False)
    del values
used = int(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1])
found = read_columns(paths, [2_500_000] * 10, {"x": (np.dtype("f8"), ())}, Storage(1000))["x"]
assert isinstance(found, np.memmap) and found[12_345_678] == 12_345_678
now = int(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1])
assert now - used < 100_000, (used, now)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        env={"PRAXON_SPILL": str(tmp_path)},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "template",
    [
        "../{chunk_index}.parquet",
        "/etc/{chunk_index}",
        "data/{chunk_index.__class__}",
        "data/{chunk_index!r}",
        "data/{chunk_index:>9999999}",
        "data/{other}",
        "a/../../{chunk_index}",
        "data\\..\\{chunk_index}",
        "",
    ],
)
def test_a_path_template_that_leads_elsewhere_is_refused(template, v3):
    with pytest.raises(ValueError, match="path template"):
        check_template(template, {"chunk_index", "file_index"})
    said = json.loads((v3 / "meta/info.json").read_text()) | {"data_path": template}
    write_json(v3 / "meta/info.json", said)
    with pytest.raises(DatasetError, match="path template"):
        LeRobotDataset(v3)


def change_features(root: Path, **changes):
    said = json.loads((root / "meta/info.json").read_text())
    for name, change in changes.items():
        said["features"][name.replace("__", ".")].update(change)
    write_json(root / "meta/info.json", said)


@pytest.mark.parametrize(
    ("damage", "answer"),
    [
        (lambda r: change_features(r, action={"dtype": "int64"}), "info.json says int64"),
        (lambda r: change_features(r, action={"shape": [3]}), "info.json makes it"),
        (lambda r: change_features(r, action={"shape": [10**9]}), "info.json makes it"),
        (lambda r: change_features(r, action={"dtype": "object"}), "has dtype 'object'"),
        (lambda r: write_json(r / "meta/info.json", info("v3.0")), "no entry 'data_path'"),
        (lambda r: (r / "meta/tasks.parquet").write_bytes(b"PAR1"), "tasks.parquet' cannot be read"),
    ],
)
def test_what_does_not_fit_is_named(v3, damage, answer):
    damage(v3)
    with pytest.raises(DatasetError, match=answer):
        LeRobotDataset(v3)


def test_a_file_that_claims_far_more_than_it_holds_is_not_read(tmp_path, v3):
    """A run-length encoded column of a billion equal values is a few hundred bytes."""
    path = v3 / "data/chunk-000/file-000.parquet"
    with pq.ParquetWriter(path, pa.schema([("observation.state", pa.int64())]), compression="zstd") as writer:
        for _ in range(4):
            writer.write_table(pa.table({"observation.state": pa.array(np.zeros(10_000_000, np.int64))}))
    with pytest.raises(DatasetError, match=r"claims 40000000 rows|holds 40000000 frames"):
        LeRobotDataset(v3)


def test_arrays_beyond_memory_share_few_files_and_keep_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("PRAXON_SPILL", str(tmp_path))
    storage = Storage(0)
    before = len(os.listdir("/proc/self/fd"))
    arrays = [storage.allocate((i + 1, 3), np.dtype(("f8", "u1", "i4")[i % 3])) for i in range(300)]
    assert len(os.listdir("/proc/self/fd")) - before < 10
    for i, array in enumerate(arrays):
        array[:] = i % 256
    assert all((array == i % 256).all() and array.shape == (i + 1, 3) for i, array in enumerate(arrays))


def test_a_disk_without_room_for_what_does_not_fit_in_memory_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("PRAXON_SPILL", str(tmp_path))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DatasetError, match="No space left on device"):
        Storage(0).allocate((10,), np.dtype("f8"))
