"""Datasets: what is written is read back, in LeRobot's layout, to the bit, through kills and damage."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas
import pyarrow.parquet as pq
import pytest

from praxon.contract import Chunk, Feature, PolicyContract
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.lerobot_writer import LeRobotWriter
from praxon.errors import ContractError, DatasetError

JOINTS = ("joint_a", "joint_b")
CONTRACT = PolicyContract(
    robot="arm",
    task="count",
    observations=(Feature("observation.state", "joint_position", (2,), JOINTS, unit="rad"),),
    action=Feature("action", "joint_position", (2,), JOINTS, unit="rad"),
    chunk=Chunk(control_period_s=0.05),
)
CAMERA = Feature("observation.images.front", "image", (32, 48, 3), dtype="uint8", source="front")
FILMED = PolicyContract(
    CONTRACT.robot, CONTRACT.task, (*CONTRACT.observations, CAMERA), CONTRACT.action, CONTRACT.chunk
)


def episode(length, start=0.0, contract=CONTRACT):
    """State and action of frame t are start + t and -(start + t); pictures are grey, six steps brighter every frame."""
    numbers = start + np.arange(length, dtype=np.float32)
    frames = {"observation.state": np.stack([numbers, numbers + 0.5], 1), "action": -np.stack([numbers, numbers], 1)}
    if contract is FILMED:
        grey = (40 + 6 * np.arange(length)).astype(np.uint8)
        frames[CAMERA.name] = np.broadcast_to(grey[:, None, None, None], (length, 32, 48, 3)).copy()
    return frames


def write(root, lengths=(5, 3, 7), contract=CONTRACT):
    with LeRobotWriter(root, contract, "count up", "arm") as writer:
        for i, length in enumerate(lengths):
            writer.add_episode(episode(length, 100.0 * i, contract))
    return root


@pytest.fixture
def root(tmp_path):
    return write(tmp_path / "data")


def test_round_trip(root):
    dataset = LeRobotDataset(root)
    assert dataset.contract == CONTRACT
    assert (dataset.num_episodes, dataset.num_frames) == (3, 15)
    assert list(dataset.episode_lengths) == [5, 3, 7]
    for i, length in enumerate((5, 3, 7)):
        for name, values in episode(length, 100.0 * i).items():
            assert np.array_equal(dataset.columns[name][dataset.episode_slice(i)], values)
    assert list(dataset.columns["index"]) == list(range(15))
    assert list(dataset.columns["frame_index"]) == [0, 1, 2, 3, 4, 0, 1, 2, 0, 1, 2, 3, 4, 5, 6]
    assert dataset.columns["timestamp"][4] == np.float32(0.2)
    assert list(dataset.columns["stamp_ns"][:3]) == [0, 50_000_000, 100_000_000]


def test_statistics_against_the_data(root):
    dataset = LeRobotDataset(root)
    values = np.concatenate([episode(n, 100.0 * i)["action"] for i, n in enumerate((5, 3, 7))]).astype(np.float64)
    found = dataset.statistics["action"]
    assert np.allclose(found["mean"], values.mean(0))
    assert np.allclose(found["std"], values.std(0))
    assert np.allclose(found["q99"], np.quantile(values, 0.99, axis=0))
    stored = json.loads((root / "meta" / "stats.json").read_text())
    assert np.allclose(stored["action"]["mean"], found["mean"])
    assert stored["action"]["count"] == [15]
    assert set(stored) == {
        "observation.state",
        "action",
        "stamp_ns",
        "timestamp",
        "frame_index",
        "episode_index",
        "index",
        "task_index",
    }


def test_the_layout_is_lerobots(root):
    info = json.loads((root / "meta" / "info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert (info["fps"], info["total_episodes"], info["total_frames"], info["total_tasks"]) == (20, 3, 15, 1)
    assert info["features"]["action"] == {"dtype": "float32", "shape": [2], "names": list(JOINTS)}
    assert info["features"]["timestamp"] == {"dtype": "float32", "shape": [1], "names": None}
    tasks = pandas.read_parquet(root / "meta" / "tasks.parquet")
    assert tasks.index.name == "task"
    assert tasks.loc["count up"].task_index == 0
    entry = pq.read_table(root / "meta" / "episodes" / "chunk-000" / "file-001.parquet").to_pylist()[0]
    assert (entry["episode_index"], entry["length"], entry["tasks"]) == (1, 3, ["count up"])
    assert (entry["dataset_from_index"], entry["dataset_to_index"]) == (5, 8)
    assert (entry["data/chunk_index"], entry["data/file_index"]) == (0, 1)


def test_same_episodes_same_bytes(tmp_path):
    first, second = (write(tmp_path / name, contract=FILMED) for name in "ab")
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(second) for path in second.rglob("*") if path.is_file())
    assert all((first / path).read_bytes() == (second / path).read_bytes() for path in files)
    assert LeRobotDataset(first).digest() == LeRobotDataset(second).digest()


def test_picture_i_is_frame_i(tmp_path):
    dataset = LeRobotDataset(write(tmp_path / "film", (30, 20), FILMED))
    indices = np.array([[0, 29, 30], [49, 7, 31]])
    pictures = dataset.frames(CAMERA.name, indices)
    assert pictures.shape == (2, 3, 32, 48, 3)
    number = np.round((pictures.mean((2, 3, 4)) - 40) / 6)
    assert np.array_equal(number, [[0, 29, 0], [19, 7, 1]])
    assert np.abs(pictures.astype(float) - pictures.mean((2, 3, 4), keepdims=True)).max() <= 3
    assert dataset.statistics[CAMERA.name]["mean"].shape == (3, 1, 1)


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        (lambda f: f.pop("action"), "the contract says action, observation.state"),
        (lambda f: f.update(extra=f["action"]), "extra"),
        (lambda f: f.update(action=f["action"][:-1]), "unequal"),
        (lambda f: f.update(action=f["action"].astype(np.float64)), "float64"),
        (lambda f: f.update(action=f["action"][:, :1]), "(1,)"),
        (lambda f: f["action"].__setitem__((2, 0), np.nan), "not finite"),
    ],
)
def test_a_wrong_episode_is_refused_and_nothing_is_written(tmp_path, change, answer):
    writer = LeRobotWriter(tmp_path / "data", CONTRACT, "count up")
    writer.add_episode(episode(4))
    before = sorted((tmp_path / "data").rglob("*"))
    frames = episode(4)
    change(frames)
    with pytest.raises(DatasetError) as error:
        writer.add_episode(frames)
    assert answer in str(error.value)
    assert sorted((tmp_path / "data").rglob("*")) == before
    with pytest.raises(DatasetError, match="go back in time"):
        writer.add_episode(episode(3), np.array([0, 5, 4]))


def test_a_folder_that_holds_something_is_left_alone(root):
    before = LeRobotDataset(root).digest()
    with pytest.raises(DatasetError, match="already holds something"):
        LeRobotWriter(root, CONTRACT, "count up")
    assert LeRobotDataset(root).digest() == before


@pytest.mark.parametrize(
    ("damage", "answer"),
    [
        (lambda r: shutil.rmtree(r), "There is no dataset"),
        (lambda r: (r / "meta" / "contract.yaml").write_text("robot: arm"), "no usable contract"),
        (lambda r: (r / "data/chunk-000/file-001.parquet").unlink(), "file-001.parquet"),
        (lambda r: os.truncate(r / "data/chunk-000/file-002.parquet", 200), "file-002.parquet"),
        (
            lambda r: shutil.copy(r / "data/chunk-000/file-000.parquet", r / "data/chunk-000/file-001.parquet"),
            "holds 5 frames",
        ),
        (lambda r: edit_info(r, codebase_version="v4.0"), "version v4.0; v3.0, v2.1, v2.0 can be read"),
        (lambda r: edit_info(r, codebase_version="v2.1"), "episodes.jsonl' cannot be read: No such file"),
        (lambda r: edit_info(r, total_frames=16), "info.json says 16"),
        (lambda r: (r / "meta" / "info.json").write_text("{"), "info.json"),
    ],
)
def test_damage_is_named(root, damage, answer):
    damage(root)
    with pytest.raises(DatasetError) as error:
        LeRobotDataset(root)
    assert answer in str(error.value)


def edit_info(root, **changes):
    path = root / "meta" / "info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_other_joint_names_are_refused_listing_both_sides(root):
    state = Feature("observation.state", "joint_position", (2,), ("joint_b", "joint_a"), unit="rad")
    swapped = PolicyContract("arm", "count", (state,), CONTRACT.action, CONTRACT.chunk)
    with pytest.raises(ContractError) as error:
        LeRobotDataset(root).require(swapped)
    assert "[joint_b, joint_a]" in str(error.value)
    assert "[joint_a, joint_b]" in str(error.value)


WRITER = """
import sys; sys.path.insert(0, {tests!r})
from pathlib import Path
from test_lerobot import *
writer = LeRobotWriter(Path({root!r}), FILMED, "count up")
for i in range(10_000):
    writer.add_episode(episode(6, 10.0 * i, FILMED))
    print(i, flush=True)
"""


def test_a_killed_writer_loses_no_finished_episode(tmp_path):
    root = tmp_path / "data"
    code = WRITER.format(tests=os.path.dirname(__file__), root=str(root))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if int(line) == 11:
            time.sleep(0.013)
            os.kill(process.pid, signal.SIGKILL)
            break
    reported = 11 + len(process.stdout.read().splitlines())
    process.wait()
    dataset = LeRobotDataset(root)
    assert dataset.num_episodes >= reported + 1
    for i in range(dataset.num_episodes):
        frames = episode(6, 10.0 * i)
        assert np.array_equal(dataset.columns["action"][dataset.episode_slice(i)], frames["action"])
    pictures = dataset.frames(CAMERA.name, np.arange(dataset.num_frames))
    assert np.array_equal(np.round((pictures.mean((1, 2, 3)) - 40) / 6), np.tile(np.arange(6), dataset.num_episodes))


def test_a_full_disk_is_one_sentence_and_keeps_what_was_finished(tmp_path, monkeypatch):
    writer = LeRobotWriter(tmp_path / "data", CONTRACT, "count up")
    writer.add_episode(episode(4))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DatasetError, match="No space left on device.*1 finished episodes are safe"):
        writer.add_episode(episode(4))
    assert LeRobotDataset(tmp_path / "data").num_episodes == 1
    assert not list((tmp_path / "data").rglob("*.part"))
