"""What a dataset may hold beside vectors of a contract, and writing that goes on after a kill."""

import os
import signal
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from praxon.contract import Chunk, Feature, PolicyContract
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.lerobot_writer import LeRobotWriter
from praxon.errors import DatasetError

CONTRACT = PolicyContract(
    "arm",
    "shapes",
    (
        Feature("observation.grip", "vector", (1,)),
        Feature("observation.matrix", "vector", (2, 3)),
        Feature("observation.images.front", "image", (32, 48, 3), dtype="uint8", source="front"),
    ),
    Feature("action", "vector", (2,)),
    Chunk(control_period_s=0.05),
)
EXTRA = (Feature("next.reward", "vector", (1,)), Feature("next.success", "vector", (1,), dtype="bool"))


def episode(length, start):
    numbers = start + np.arange(length, dtype=np.float32)
    grey = (40 + 6 * np.arange(length)).astype(np.uint8)
    return {
        "observation.grip": numbers[:, None],
        "observation.matrix": numbers[:, None, None] + np.arange(6, dtype=np.float32).reshape(2, 3) / 8,
        "observation.images.front": np.broadcast_to(grey[:, None, None, None], (length, 32, 48, 3)).copy(),
        "action": np.stack([numbers, -numbers], 1),
        "next.reward": -numbers[:, None],
        "next.success": (np.arange(length) == length - 1)[:, None],
    }


def open_writer(root, **changes):
    settings = {"extra_features": EXTRA, "metadata": {"seed": 7}} | changes
    return LeRobotWriter(root, settings.pop("contract", CONTRACT), settings.pop("task", "shapes"), "arm", **settings)


def write(root, count):
    with open_writer(root) as writer:
        for i in range(count):
            writer.add_episode(episode(5 + i, 10.0 * i))
    return root


def test_every_shape_and_extra_column_comes_back(tmp_path):
    dataset = LeRobotDataset(write(tmp_path / "data", 2))
    for i in range(2):
        for name, values in episode(5 + i, 10.0 * i).items():
            if name in dataset.columns:
                found = dataset.columns[name][dataset.episode_slice(i)]
                assert found.dtype == values.dtype
                assert np.array_equal(found, values)
    assert dataset.extra_features == EXTRA
    assert dataset.metadata == {"seed": 7}
    assert dataset.statistics["next.success"]["mean"] == pytest.approx(2 / 11)
    assert dataset.statistics["observation.matrix"]["max"].shape == (2, 3)


def test_columns_have_the_types_lerobot_casts_from(tmp_path):
    """A scalar where the table says shape [1]: a list of one is refused by LeRobot's loader. Nested lists for matrices."""
    root = write(tmp_path / "data", 1)
    schema = pq.read_schema(root / "data/chunk-000/file-000.parquet")
    assert schema.field("observation.grip").type == pa.float32()
    assert schema.field("next.success").type == pa.bool_()
    assert schema.field("observation.matrix").type == pa.list_(pa.list_(pa.float32()))
    assert schema.field("action").type == pa.list_(pa.float32(), 2)


@pytest.mark.parametrize("name", ["index", "action", "stamp_ns"])
def test_extra_features_need_names_of_their_own(tmp_path, name):
    with pytest.raises(DatasetError, match="names of their own"):
        open_writer(tmp_path / "data", extra_features=[Feature(name, "vector", (1,))])
    assert not (tmp_path / "data").exists()


def test_pictures_are_no_extra_features(tmp_path):
    with pytest.raises(DatasetError, match="Pictures belong in the contract"):
        open_writer(tmp_path / "data", extra_features=[Feature("view", "image", (8, 8, 3), dtype="uint8")])


def test_a_resumed_writer_leaves_the_bytes_of_one_that_was_never_interrupted(tmp_path):
    whole = write(tmp_path / "whole", 4)
    parts = write(tmp_path / "parts", 2)
    with open_writer(parts, resume=True) as writer:
        assert (writer.num_episodes, writer.num_frames) == (2, 11)
        for i in (2, 3):
            writer.add_episode(episode(5 + i, 10.0 * i))
    assert LeRobotDataset(parts).digest() == LeRobotDataset(whole).digest()


KILLED = """
import sys; sys.path.insert(0, {tests!r})
from pathlib import Path
from test_lerobot_additions import *
writer = open_writer(Path({root!r}))
for i in range(10_000):
    writer.add_episode(episode(5 + i, 10.0 * i))
    print(i, flush=True)
"""


def test_a_killed_writer_is_resumed_to_the_bytes_of_a_whole_one(tmp_path):
    code = KILLED.format(tests=os.path.dirname(__file__), root=str(tmp_path / "killed"))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if int(line) == 3:
            os.kill(process.pid, signal.SIGKILL)
            break
    process.stdout.close()
    process.wait()
    killed = LeRobotDataset(tmp_path / "killed")
    # The statistics were never written: those of pictures come from the pictures.
    mean = killed.frames("observation.images.front", np.arange(killed.num_frames)).mean() / 255
    assert killed.statistics["observation.images.front"]["mean"].mean() == pytest.approx(mean)
    count = max(8, killed.num_episodes + 1)
    with open_writer(tmp_path / "killed", resume=True) as writer:
        for i in range(killed.num_episodes, count):
            writer.add_episode(episode(5 + i, 10.0 * i))
    whole = LeRobotDataset(write(tmp_path / "whole", count))
    assert LeRobotDataset(tmp_path / "killed").digest() == whole.digest()


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ({"task": "other"}, "task"),
        ({"metadata": {"seed": 8}}, "metadata"),
        ({"extra_features": EXTRA[:1]}, "extra features"),
        ({"contract": CONTRACT.with_chunk(control_period_s=0.1)}, "contract"),
    ],
)
def test_only_a_dataset_of_the_same_kind_is_continued(tmp_path, change, answer):
    root = write(tmp_path / "data", 1)
    before = LeRobotDataset(root).digest()
    with pytest.raises(DatasetError, match=f"cannot be continued: .*{answer}.* differ"):
        open_writer(root, resume=True, **change)
    assert LeRobotDataset(root).digest() == before


def test_resume_does_not_take_over_a_folder_of_something_else(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DatasetError, match="already holds something"):
        open_writer(tmp_path, resume=True)
