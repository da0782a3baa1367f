"""Pictures by number: each the same as when the whole file is decoded, in any order, within the memory given."""

import os

import av
import numpy as np
import pytest

from praxon.contract import Chunk, Feature, PolicyContract
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.lerobot_writer import LeRobotWriter
from praxon.datasets.statistics import PictureStatistics, feature_statistics
from praxon.datasets.video_file import VideoReader, write_video
from praxon.errors import DatasetError


def noise(count):
    return np.random.default_rng(count).integers(0, 256, (count, 16, 32, 3), np.uint8)


@pytest.mark.parametrize(("count", "fps"), [(1, 20), (2, 30), (7, 50), (40, 7)])
def test_any_order_gives_what_decoding_in_order_gives(tmp_path, count, fps):
    path = tmp_path / "film.mp4"
    write_video(path, noise(count), fps)
    with av.open(str(path)) as container:
        in_order = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(in_order) == count
    reader = VideoReader(path, fps)
    assert reader.num_pictures == count
    rng = np.random.default_rng(0)
    for number in [0, count - 1, *rng.integers(0, count, 60), *range(count), *range(count)[::-1]]:
        assert np.array_equal(reader.read(int(number)), in_order[number])


def test_a_picture_that_is_not_there_is_named_and_the_reader_goes_on(tmp_path):
    path = tmp_path / "film.mp4"
    write_video(path, noise(6), 20)
    reader = VideoReader(path, 20)
    first = reader.read(0)
    for number in (6, 7, 100):
        with pytest.raises(DatasetError, match=f"picture {number}"):
            reader.read(number)
    assert np.array_equal(reader.read(0), first)


def test_a_damaged_video_is_named(tmp_path):
    path = tmp_path / "film.mp4"
    write_video(path, noise(30), 20)
    os.truncate(path, path.stat().st_size // 2)
    reader = VideoReader(path, 20)
    reader.read(0)
    with pytest.raises(DatasetError, match=r"29.*film|film.*29"):
        reader.read(29)
    os.truncate(path, 40)
    with pytest.raises(DatasetError, match=r"film\.mp4' cannot be read"):
        VideoReader(path, 20)


def test_statistics_from_counts_are_those_of_the_pixels():
    pictures = np.random.default_rng(1).integers(0, 50, (5, 4, 6, 3), np.uint8) ** 2 % 251
    statistics = PictureStatistics()
    statistics.add(pictures[:2])
    statistics.add(pictures[2:])
    found = statistics.result()
    for name, value in feature_statistics(pictures.reshape(-1, 3) / 255).items():
        if name != "count":
            assert found[name].shape == (3, 1, 1)
            assert np.allclose(found[name].reshape(3), value, rtol=0, atol=1e-12)
    assert found["count"].tolist() == [5]


def test_frames_outside_the_dataset_and_short_videos_are_refused(tmp_path):
    front = Feature("observation.images.front", "image", (16, 32, 3), dtype="uint8", source="front")
    contract = PolicyContract("arm", "film", (front,), Feature("action", "vector", (1,)), Chunk())
    root = tmp_path / "data"
    with LeRobotWriter(root, contract, "film") as writer:
        for length in (5, 8):
            writer.add_episode({front.name: noise(length), "action": np.zeros((length, 1), np.float32)})
    dataset = LeRobotDataset(root)
    for index in (-1, 13):
        with pytest.raises(DatasetError, match="has 0 to 12"):
            dataset.frames(front.name, np.array([index]))
    assert dataset.frames(front.name, np.zeros((0, 2), np.int64)).shape == (0, 2, 16, 32, 3)
    videos = root / "videos" / front.name / "chunk-000"
    os.replace(videos / "file-000.mp4", videos / "file-001.mp4")
    dataset = LeRobotDataset(root)
    with pytest.raises(DatasetError, match="holds 5 pictures|no picture 7"):
        dataset.frames(front.name, np.array([12]))
