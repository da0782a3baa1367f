"""Recording frame by frame: nothing bad gets in, nothing good is lost, and what the stamps say is kept."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from praxon.contract import Chunk, Feature, PolicyContract
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.lerobot_writer import LeRobotWriter
from praxon.datasets.timing import Timing, measure_timing
from praxon.datasets.video_file import VideoWriter
from praxon.errors import DatasetError

CAMERAS = ("observation.images.left", "observation.images.right")
CONTRACT = PolicyContract(
    "arm",
    "count",
    (
        Feature("observation.state", "vector", (2,)),
        *(Feature(name, "image", (64, 64, 3), dtype="uint8") for name in CAMERAS),
    ),
    Feature("action", "vector", (1,)),
    Chunk(control_period_s=1 / 30),
)
MS = 1_000_000


def frame(film, number):
    pictures = {name: film.numbered(number + 1000 * i) for i, name in enumerate(CAMERAS)}
    return {"observation.state": np.float32([number, -number]), "action": np.float32([number / 2]), **pictures}


def record(writer, film, start, stamps_ms, task=None):
    with writer.open_episode(task) as episode:
        for t, stamp in enumerate(stamps_ms):
            episode.add(frame(film, start + t), stamp * MS)


@pytest.mark.parametrize("codec", ["h264", "png", "h264_lossless"])
def test_frames_come_back_in_their_places(tmp_path, film, codec):
    root = tmp_path / "data"
    with LeRobotWriter(root, CONTRACT, "count", codec=codec) as writer:
        record(writer, film, 0, range(0, 330, 33))
        record(writer, film, 100, range(0, 165, 33), "count on")
    dataset = LeRobotDataset(root)
    numbers = [*range(10), *range(100, 105)]
    assert dataset.columns["observation.state"][:, 0].tolist() == numbers
    for i, name in enumerate(CAMERAS):
        pictures = dataset.frames(name, np.arange(15))
        assert [film.shown(picture) for picture in pictures] == [number + 1000 * i for number in numbers]
        if codec != "h264":
            assert all(np.array_equal(p, film.numbered(n + 1000 * i)) for p, n in zip(pictures, numbers, strict=True))
    assert [dataset.episode(e).task for e in range(2)] == ["count", "count on"]
    assert json.loads((root / "meta/info.json").read_text())["total_tasks"] == 2


def test_a_bad_frame_is_refused_and_the_episode_goes_on(tmp_path, film):
    with LeRobotWriter(tmp_path / "data", CONTRACT, "count") as writer, writer.open_episode() as episode:
        episode.add(frame(film, 0), 5 * MS)
        bad = {
            "not finite": frame(film, 1) | {"action": np.float32([np.nan])},
            "float64": frame(film, 1) | {"action": np.array([1.0])},
            r"\(32, 64, 3\)": frame(film, 1) | {CAMERAS[1]: np.zeros((32, 64, 3), np.uint8)},
            "the contract says": {"action": np.float32([1])},
        }
        for answer, wrong in bad.items():
            with pytest.raises(DatasetError, match=answer):
                episode.add(wrong, 40 * MS)
        with pytest.raises(DatasetError, match="before the last one"):
            episode.add(frame(film, 1), 4 * MS)
        episode.add(frame(film, 1), 40 * MS)
    dataset = LeRobotDataset(tmp_path / "data")
    assert dataset.columns["action"][:, 0].tolist() == [0, 0.5]
    assert [film.shown(picture) for picture in dataset.frames(CAMERAS[1], np.arange(2))] == [1000, 1001]


def test_an_episode_left_by_an_exception_leaves_nothing(tmp_path, film):
    root = tmp_path / "data"
    writer = LeRobotWriter(root, CONTRACT, "count")
    record(writer, film, 0, (0, 33))
    before = sorted(root.rglob("*"))
    with pytest.raises(RuntimeError), writer.open_episode() as episode:
        episode.add(frame(film, 7), 0)
        raise RuntimeError("the operator stumbled")
    assert sorted(root.rglob("*")) == before
    with pytest.raises(DatasetError, match="no frames"), writer.open_episode():
        pass
    record(writer, film, 50, (0, 33))
    assert LeRobotDataset(root).columns["observation.state"][:, 0].tolist() == [0, 1, 50, 51]


def test_an_episode_that_is_over_stays_so_and_one_is_open_at_a_time(tmp_path, film):
    writer = LeRobotWriter(tmp_path / "data", CONTRACT, "count")
    for end in ("finish", "abort"):
        episode = writer.open_episode()
        episode.add(frame(film, 0), 0)
        with pytest.raises(DatasetError, match="is still open"):
            writer.open_episode()
        with pytest.raises(DatasetError, match="is still open"):
            writer.add_episode({})
        getattr(episode, end)()
        for again in (episode.finish, lambda: episode.add(frame(film, 1), 1)):  # noqa: B023
            with pytest.raises(DatasetError, match="This episode is over"):
                again()
    assert LeRobotDataset(tmp_path / "data").num_frames == 1
    with writer:
        writer.open_episode().add(frame(film, 2), 0)
    assert not list((tmp_path / "data").rglob("*.part"))


@pytest.mark.parametrize("kind", [KeyboardInterrupt, DatasetError])
def test_an_episode_whose_features_may_have_parted_is_dropped(tmp_path, film, monkeypatch, kind):
    writer = LeRobotWriter(tmp_path / "data", CONTRACT, "count")
    record(writer, film, 0, (0, 33))
    episode = writer.open_episode()
    episode.add(frame(film, 7), 0)
    add = VideoWriter.add

    def interrupted(video, picture):
        add(video, picture)
        raise kind("between two cameras")

    with monkeypatch.context() as patched, pytest.raises(kind):
        patched.setattr(VideoWriter, "add", interrupted)
        episode.add(frame(film, 8), 1)
    with pytest.raises(DatasetError, match="This episode is over"):
        episode.finish()
    assert not list((tmp_path / "data").rglob("*.part"))
    record(writer, film, 50, (0, 33))
    assert LeRobotDataset(tmp_path / "data").columns["observation.state"][:, 0].tolist() == [0, 1, 50, 51]


@pytest.mark.parametrize("stamp", [float("nan"), 1.5, 2**63, "now"])
def test_a_stamp_that_is_no_time_is_refused_and_the_episode_goes_on(tmp_path, film, stamp):
    with LeRobotWriter(tmp_path / "data", CONTRACT, "count") as writer, writer.open_episode() as episode:
        with pytest.raises(DatasetError, match="whole nanoseconds"):
            episode.add(frame(film, 0), stamp)
        episode.add(frame(film, 1), np.int64(5))
    assert LeRobotDataset(tmp_path / "data").stamps_ns.tolist() == [5]


def test_an_added_frame_may_be_reused_by_the_caller(tmp_path, film):
    buffer = frame(film, 3)
    with LeRobotWriter(tmp_path / "data", CONTRACT, "count") as writer, writer.open_episode() as episode:
        for t in range(3):
            buffer["action"][:] = t
            episode.add(buffer, t)
    assert LeRobotDataset(tmp_path / "data").columns["action"][:, 0].tolist() == [0, 1, 2]


def test_a_recording_at_25_hz_says_so_whatever_its_label(tmp_path, film):
    with LeRobotWriter(tmp_path / "data", CONTRACT, "count") as writer:
        stamps = [0, 40, 80, 80, 120, 240, 280]  # one frame twice, two lost
        record(writer, film, 0, stamps)
    row = pq.read_table(tmp_path / "data/meta/episodes/chunk-000/file-000.parquet").to_pylist()[0]
    assert row["praxon/measured_rate_hz"] == pytest.approx(25)
    assert (row["praxon/gaps"], row["praxon/duplicates"]) == (1, 1)
    dataset = LeRobotDataset(tmp_path / "data")
    assert dataset.stamps_ns.tolist() == [stamp * MS for stamp in stamps]
    assert np.allclose(dataset.columns["timestamp"], np.arange(7) / 30)


def test_timing_by_hand():
    assert measure_timing(np.array([7]), 30) == Timing(30, 0, 0, 0.0)
    assert measure_timing(np.array([7, 7, 7]), 30) == Timing(30, 0, 2, 0.0)
    found = measure_timing(np.array([0, 100, 200, 351, 450]) * MS, 10)
    assert (found.rate_hz, found.gaps, found.duplicates) == (pytest.approx(10), 1, 0)
    assert found.longest_s == pytest.approx(0.151)


def test_two_writers_do_not_share_a_folder(tmp_path, film):
    first = LeRobotWriter(tmp_path / "data", CONTRACT, "count")
    record(first, film, 0, (0, 33))
    with pytest.raises(DatasetError, match="Another writer is at work"):
        LeRobotWriter(tmp_path / "data", CONTRACT, "count", resume=True)
    del first
    with LeRobotWriter(tmp_path / "data", CONTRACT, "count", resume=True) as second:
        record(second, film, 5, (0, 33))
    assert LeRobotDataset(tmp_path / "data").columns["observation.state"][:, 0].tolist() == [0, 1, 5, 6]
