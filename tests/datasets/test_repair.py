"""Repair: what a killed writer left becomes a sound dataset of its whole episodes, and nothing that was there is lost."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from praxon.contract import Chunk, Feature, PolicyContract
from praxon.datasets.check import check_dataset
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.lerobot_writer import LeRobotWriter
from praxon.datasets.packing import pack
from praxon.datasets.repair import repair_dataset
from praxon.errors import DatasetError

FPS, LENGTHS = 10, (6, 8, 7, 5)
FRONT = "observation.images.front"
CONTRACT = PolicyContract(
    "arm",
    "count",
    (
        Feature("observation.state", "vector", (2,), ("episode", "frame")),
        Feature(FRONT, "image", (32, 48, 3), dtype="uint8"),
    ),
    Feature("action", "vector", (2,), ("episode", "frame")),
    Chunk(control_period_s=1 / FPS),
)


def frames(episode, length):
    """State and action say which episode and frame they are of; the picture is as bright as both say."""
    numbers = np.stack([np.full(length, episode), np.arange(length)], 1).astype(np.float32)
    pictures = np.empty((length, 32, 48, 3), np.uint8)
    pictures[:, :, :24] = 40 + 40 * episode
    pictures[:, :, 24:] = (40 + 20 * np.arange(length))[:, None, None, None]
    return {"observation.state": numbers, FRONT: pictures, "action": -numbers}


def record(root, lengths=LENGTHS, **settings):
    with LeRobotWriter(root, CONTRACT, "count", "arm", **settings) as writer:
        writer.splits = {"some": [0, 2, 3]}
        for episode, length in enumerate(lengths):
            writer.add_episode(frames(episode, length))
    return root


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return record(tmp_path_factory.mktemp("clean") / "data")


@pytest.fixture(scope="module")
def packed(clean, tmp_path_factory):
    """All episodes in one data file and one video."""
    out = tmp_path_factory.mktemp("packed") / "data"
    pack(LeRobotDataset(clean), out)
    return out


@pytest.fixture
def copy(clean, tmp_path):
    return Path(shutil.copytree(clean, tmp_path / "data"))


@pytest.fixture
def shared(packed, tmp_path):
    return Path(shutil.copytree(packed, tmp_path / "data"))


def contents(root):
    """How often each content is there, wherever it lies."""
    files = [path for path in root.rglob("*") if path.is_file()]
    return Counter(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)


def require_episodes(root, episodes):
    """The dataset holds exactly these of the recorded episodes, in order, pictures with their rows."""
    dataset = LeRobotDataset(root)
    assert dataset.episode_lengths.tolist() == [LENGTHS[episode] for episode in episodes]
    assert dataset.columns["index"].tolist() == list(range(dataset.num_frames))
    for number, episode in enumerate(episodes):
        where = dataset.episode_slice(number)
        assert dataset.columns["observation.state"][where].tolist() == [[episode, t] for t in range(LENGTHS[episode])]
        assert set(dataset.columns["episode_index"][where]) == {number}
        pictures = dataset.frames(FRONT, np.arange(where.start, where.stop)).astype(int)
        left, right = pictures[:, :, 4:20].mean((1, 2, 3)), pictures[:, :, 28:44].mean((1, 2, 3))
        assert np.abs(left - 40 - 40 * episode).max() < 6
        assert np.abs(right - 40 - 20 * np.arange(LENGTHS[episode])).max() < 6


def mend(root, episodes):
    """Repair; then the dataset is sound and whole, all that was there is somewhere, and a second repair does nothing."""
    before = contents(root)
    done = repair_dataset(root)
    assert done.actions
    assert done.remaining == []
    assert check_dataset(root) == []
    require_episodes(root, episodes)
    assert not before - contents(root)
    after = contents(root)
    again = repair_dataset(root)
    assert (again.actions, again.folder, contents(root)) == ([], None, after)
    return done


def info(root, **changes):
    path = root / "meta/info.json"
    said = json.loads(path.read_text())
    path.write_text(json.dumps(said | changes))


def truncate(path, share=0.7):
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def table_of(root, number=0):
    return root / f"meta/episodes/chunk-000/file-{number:03d}.parquet"


def data_of(root, number=0):
    return root / f"data/chunk-000/file-{number:03d}.parquet"


def video_of(root, number=0):
    return root / f"videos/{FRONT}/chunk-000/file-{number:03d}.mp4"


def test_a_sound_dataset_is_left_as_it_is(clean, packed):
    for root in (clean, packed):
        before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
        done = repair_dataset(root)
        assert (done.actions, done.folder, done.remaining) == ([], None, [])
        assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_an_episode_that_info_does_not_know_yet(copy):
    info(copy, total_episodes=3, total_frames=21, splits={"train": "0:3"})
    (copy / "meta/stats.json").unlink()
    mend(copy, [0, 1, 2, 3])
    said = json.loads((copy / "meta/info.json").read_text())
    assert (said["total_episodes"], said["total_frames"], said["splits"]) == (4, 26, {"train": "0:4"})


def test_leftovers_and_orphans_are_moved_not_deleted(copy):
    data_of(copy, 4).with_name(".file-004.parquet.part").write_bytes(b"PAR1 and no end")
    shutil.copy(video_of(copy, 3), video_of(copy, 4))
    (copy / f"images/{FRONT}/episode-000004").mkdir(parents=True)
    (copy / f"images/{FRONT}/episode-000004/frame-000000.png").write_bytes(b"png")
    done = mend(copy, [0, 1, 2, 3])
    kept = copy / done.folder / "originals"
    assert (kept / "data/chunk-000/.file-004.parquet.part").read_bytes() == b"PAR1 and no end"
    assert (kept / video_of(copy, 4).relative_to(copy)).is_file()
    assert (kept / f"images/{FRONT}/episode-000004/frame-000000.png").is_file()


def test_an_unreadable_last_file_takes_its_episode_along_and_nothing_is_renumbered(copy):
    truncate(data_of(copy, 3))
    before = data_of(copy, 2).stat().st_mtime_ns
    done = mend(copy, [0, 1, 2])
    assert not any("renumbered" in action for action in done.actions)
    assert data_of(copy, 2).stat().st_mtime_ns == before
    assert json.loads((copy / "meta/praxon.json").read_text())["splits"] == {"some": [0, 2]}


@pytest.mark.parametrize("what", ["data", "video", "missing video"])
def test_a_lost_file_in_the_middle(what, copy):
    if what == "data":
        truncate(data_of(copy, 1))
    elif what == "video":
        truncate(video_of(copy, 1), 0.8)
    else:
        video_of(copy, 1).unlink()
    done = mend(copy, [0, 2, 3])
    assert any("renumbered" in action for action in done.actions)
    assert json.loads((copy / "meta/praxon.json").read_text())["splits"] == {"some": [0, 1, 2]}


def test_a_lost_table_of_episodes(copy):
    truncate(table_of(copy, 1))
    done = mend(copy, [0, 2, 3])
    assert any("without its footer" in action for action in done.actions)


def test_the_rest_of_a_shared_video_is_kept(shared):
    """Its third episode cannot be decoded to the end; the first two can."""
    path = video_of(shared)
    with open(path, "rb+") as file:
        file.seek(int(0.8 * path.stat().st_size))
        file.truncate()
    mend(shared, [0, 1])


def test_an_episode_of_shared_files_that_was_not_listed_yet(shared):
    """As LeRobot's recorder leaves it when it is killed after an episode's frames and before its entry."""
    table = pq.ParquetFile(table_of(shared)).read()
    pq.write_table(table.slice(0, 3), table_of(shared))
    done = mend(shared, [0, 1, 2])
    assert sum("was cut to the frames" in action for action in done.actions) == 2


def test_episodes_in_several_shared_files(clean, tmp_path):
    root = tmp_path / "data"
    pack(LeRobotDataset(clean), root, data_mb=2.5e-6 * data_of(clean).stat().st_size, video_mb=1)
    assert len(list((root / "data").rglob("*.parquet"))) > 1
    truncate(data_of(root, 0))
    lost = pq.ParquetFile(table_of(root)).read().to_pylist()
    mend(root, [row["episode_index"] for row in lost if row["data/file_index"] != 0])


def old_version(clean, root):
    """The same in version 2.1."""
    (root / "meta").mkdir(parents=True)
    for episode in range(len(LENGTHS)):
        for source, target in (
            (data_of(clean, episode), root / f"data/chunk-000/episode_{episode:06d}.parquet"),
            (video_of(clean, episode), root / f"videos/chunk-000/{FRONT}/episode_{episode:06d}.mp4"),
        ):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    rows = [{"episode_index": i, "tasks": ["count"], "length": length} for i, length in enumerate(LENGTHS)]
    (root / "meta/episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "meta/tasks.jsonl").write_text('{"task_index": 0, "task": "count"}\n')
    said = json.loads((clean / "meta/info.json").read_text()) | {
        "codebase_version": "v2.1",
        "total_videos": 4,
        "total_chunks": 1,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    }
    (root / "meta/info.json").write_text(json.dumps(said))
    return root


@pytest.mark.parametrize(("lost", "left"), [(3, [0, 1, 2]), (1, [0, 2, 3])])
def test_version_2(clean, lost, left, tmp_path):
    root = old_version(clean, tmp_path / "data")
    mend(root, [0, 1, 2, 3])  # its statistics are missing
    truncate(root / f"data/chunk-000/episode_{lost:06d}.parquet")
    mend(root, left)
    said = json.loads((root / "meta/info.json").read_text())
    assert (said["total_episodes"], said["total_videos"]) == (3, 3)


# -- refusals ---------------------------------------------------------------------------------------------


def nan(root):
    table = pq.ParquetFile(data_of(root, 1)).read()
    values = table["action"].to_pylist()
    values[3] = [float("nan"), 0.0]
    place = table.schema.get_field_index("action")
    kind = table.schema.field(place).type
    pq.write_table(table.set_column(place, table.schema.field(place), pa.array(values, kind)), data_of(root, 1))


def swap(root):
    other = root / "other"
    video_of(root, 1).rename(other)
    video_of(root, 2).rename(video_of(root, 1))
    other.rename(video_of(root, 2))


@pytest.mark.parametrize(
    ("plant", "sentence"),
    [
        (swap, "which picture belongs to which frame is not known"),
        (lambda root: info(root, fps=12), "Nothing was changed"),
        (lambda root: (root / "meta/info.json").unlink(), "info_missing"),
        (lambda root: (root / "meta/tasks.parquet").unlink(), "which instructions were given is not known"),
        (lambda root: [truncate(data_of(root, i)) for i in range(4)], "no episode would be left"),
        (lambda root: [truncate(table_of(root, i)) for i in range(4)], "no episode would be left"),
    ],
)
def test_what_no_repair_can_know_is_refused(plant, sentence, copy):
    plant(copy)
    before = contents(copy)
    with pytest.raises(DatasetError, match=sentence):
        repair_dataset(copy)
    assert contents(copy) == before
    assert not (copy / ".recovered").exists()


def test_values_that_cannot_be_known_stay_while_the_rest_is_mended(copy):
    nan(copy)
    (copy / "data/.half.part").write_bytes(b"half")
    done = repair_dataset(copy)
    assert [finding.name for finding in done.remaining] == ["not_finite"]
    assert len(done.actions) == 1


@pytest.mark.parametrize("link", ["data", "meta", ".recovered", "videos"])
def test_nothing_is_written_through_a_link_out_of_the_folder(link, copy, tmp_path):
    outside = tmp_path / "outside"
    if link == ".recovered":
        outside.mkdir()
    else:
        (copy / link).rename(outside)
    (copy / link).symlink_to(outside)
    half = copy / ("data" if link == ".recovered" else link) / "x.part"
    half.write_bytes(b"half")
    before = contents(outside)
    if check_dataset(copy):
        with pytest.raises(DatasetError, match="leads out of"):
            repair_dataset(copy)
    assert contents(outside) == before


@pytest.mark.parametrize(
    "plan", [{"aside": {"../a": "b"}, "place": {}}, {"aside": {}, "place": {"a": "/b"}}, {"aside": []}]
)
def test_a_plan_that_leads_out_of_the_folder(plan, copy, tmp_path):
    (tmp_path / "a").write_text("outside")
    (copy / ".recovered/1").mkdir(parents=True)
    (copy / ".recovered/1/plan.json").write_text(json.dumps(plan))
    with pytest.raises(DatasetError):
        repair_dataset(copy)
    assert (tmp_path / "a").read_text() == "outside"


# -- kills ------------------------------------------------------------------------------------------------

KILLED = """
import sys
sys.path.insert(0, {folder!r})
import test_repair as t
writer = t.LeRobotWriter(t.Path({root!r}), t.CONTRACT, "count", "arm", resume=True)
print("ready", flush=True)
while True:
    with writer.open_episode() as episode:
        number = writer.num_episodes
        data = t.frames(number % 4, t.LENGTHS[number % 4])
        for i in range(t.LENGTHS[number % 4]):
            episode.add({{name: values[i] for name, values in data.items()}}, i * 100_000_000)
    print(number, flush=True)
"""


@pytest.mark.parametrize("after_s", [0.02, 0.05, 0.11])
def test_a_recorder_that_is_killed(after_s, tmp_path):
    root = tmp_path / "data"
    code = KILLED.format(folder=str(Path(__file__).parent), root=str(root))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        assert process.stdout.readline() == "0\n"  # one episode is finished
        time.sleep(after_s)
        os.kill(process.pid, signal.SIGKILL)
        finished = 1 + len(process.stdout.read().split())
    before = contents(root)
    assert check_dataset(root)  # at least, there are no statistics
    repair_dataset(root)
    assert check_dataset(root) == []
    assert not before - contents(root)
    dataset = LeRobotDataset(root)
    # The last one may have been finished without having been told.
    assert dataset.num_episodes in (finished, finished + 1)
    for episode in range(dataset.num_episodes):
        where = dataset.episode_slice(episode)
        assert dataset.columns["observation.state"][where].tolist() == [
            [episode % 4, t] for t in range(LENGTHS[episode % 4])
        ]
    assert repair_dataset(root).actions == []


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


def test_a_repair_that_is_killed_at_any_rename_is_finished_by_the_next(clean, tmp_path, monkeypatch):
    renames = 0
    real = os.rename

    def counted(source, target):
        nonlocal renames
        if renames == last:
            raise Killed
        renames += 1
        real(source, target)

    monkeypatch.setattr(os, "rename", counted)
    for last in range(100):
        root = Path(shutil.copytree(clean, tmp_path / str(last)))
        truncate(video_of(root, 1), 0.8)
        before = contents(root)
        renames = 0
        try:
            repair_dataset(root)
            break
        except Killed:
            assert not before - contents(root)
        last = -1
        assert repair_dataset(root).remaining == []
        require_episodes(root, [0, 2, 3])
        assert not before - contents(root)
    assert renames > 10
