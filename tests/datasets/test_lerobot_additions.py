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
from praxon.datasets.packing import pack
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


@pytest.mark.parametrize(
    "left", [(), ("contract.yaml",), ("contract.yaml", "tasks.parquet", "praxon.json", ".info.json.part")]
)
def test_a_writer_killed_before_its_first_episode_is_resumed(tmp_path, left):
    (tmp_path / "data/meta").mkdir(parents=True)
    for name in left:
        (tmp_path / "data/meta" / name).write_text("cut o")
    with open_writer(tmp_path / "data", resume=True, extra_features=(), metadata=None) as writer:
        writer.add_episode({name: values for name, values in episode(3, 1.0).items() if not name.startswith("next.")})
    assert LeRobotDataset(tmp_path / "data").extra_features == ()
    assert not list((tmp_path / "data").rglob("*.part"))


@pytest.mark.parametrize("name", ["tasks.parquet", "info.json"])
def test_a_disk_that_is_full_for_a_moment_spoils_no_later_episode(tmp_path, monkeypatch, name):
    root = tmp_path / "data"
    writer = open_writer(root)
    writer.add_episode(episode(3, 10.0))
    replace = os.replace

    def full(source, target):
        if str(target).endswith(name):
            raise OSError(28, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patched, pytest.raises(DatasetError, match="the 1 finished episodes are safe"):
        patched.setattr(os, "replace", full)
        writer.add_episode(episode(4, 20.0), task="new words")
    assert LeRobotDataset(root).num_episodes == writer.num_episodes == 1
    writer.add_episode(episode(5, 30.0), task="new words")
    dataset = LeRobotDataset(root)
    assert dataset.columns["observation.grip"][:, 0].tolist() == [10, 11, 12, 30, 31, 32, 33, 34]
    assert [dataset.episode(e).task for e in range(2)] == ["shapes", "new words"]


@pytest.mark.parametrize("name", ["../outside", "a/b", ".hidden", ""])
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path, name):
    with pytest.raises(DatasetError, match="named like folders"):
        open_writer(tmp_path / "data", extra_features=(Feature(name, "vector", (1,)),))
    assert not (tmp_path / "data").exists()


def test_an_episode_without_an_instruction_leaves_nothing(tmp_path):
    writer = open_writer(tmp_path / "data", task=None)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DatasetError, match="has no instruction"):
        writer.add_episode(episode(3, 0.0))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_packed_dataset_is_resumed(tmp_path):
    pack(LeRobotDataset(write(tmp_path / "data", 3)), tmp_path / "packed")
    with open_writer(tmp_path / "packed", resume=True) as writer:
        writer.add_episode(episode(8, 30.0))
    resumed, whole = LeRobotDataset(tmp_path / "packed"), LeRobotDataset(write(tmp_path / "whole", 4))
    for name, values in whole.columns.items():
        assert np.array_equal(resumed.columns[name], values)
    camera, every = "observation.images.front", np.arange(whole.num_frames)
    assert np.array_equal(resumed.frames(camera, every), whole.frames(camera, every))
    with pytest.raises(DatasetError, match="several episodes in a file"):
        pack(resumed, tmp_path / "again")


def test_a_dataset_without_a_finished_episode_says_so(tmp_path):
    open_writer(tmp_path / "data")
    with pytest.raises(DatasetError, match="holds no finished episode"):
        LeRobotDataset(tmp_path / "data")
