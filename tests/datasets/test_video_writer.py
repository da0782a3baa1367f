"""What is written is what is read: pictures in order, at their times, in bounded memory, the same bytes every time."""

import os
import subprocess
import sys

import av
import numpy as np
import pytest

from praxon.datasets import video_writer
from praxon.datasets.video_file import CODECS, StoredVideo, VideoReader, VideoWriter, available_codecs, write_video
from praxon.errors import DatasetError


@pytest.fixture(params=CODECS)
def codec(request):
    if request.param not in available_codecs():
        pytest.skip(f"this build of PyAV cannot write {request.param}")
    return request.param


@pytest.mark.parametrize("fps", [10, 30, 50.0, 29.97, 30000 / 1001, 12.5])
def test_picture_n_is_shown_at_n_over_fps(film, tmp_path, fps):
    write_video(tmp_path / "film.mp4", np.stack([film.numbered(n) for n in range(40)]), fps)
    reader = VideoReader(tmp_path / "film.mp4", fps)
    assert np.allclose(reader.times_s, np.arange(40) / fps, rtol=0, atol=1e-4)
    assert [film.shown(picture) for picture in reader.read_range(0, 40)] == list(range(40))


def test_every_codec_gives_the_pictures_back_and_the_same_bytes_again(film, tmp_path, codec):
    pictures = np.stack([film.numbered(n) for n in range(30)])
    for name in "ab":
        write_video(tmp_path / name, pictures, 30, codec)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    reader = VideoReader(tmp_path / "a", 30)
    assert reader.codec == codec.removesuffix("_lossless")
    found = reader.read_range(0, 30)
    assert [film.shown(picture) for picture in found] == list(range(30))
    assert np.abs(found.astype(int) - pictures).mean() < 6
    key_distance = np.diff(np.flatnonzero(reader.index.keys))
    assert key_distance.max() <= 2


def test_lossless_gives_back_every_bit_of_every_size(tmp_path):
    if "h264_lossless" not in available_codecs():
        pytest.skip("this build of PyAV cannot write h264_lossless")
    rng = np.random.default_rng(0)
    for height, width in [(16, 32), (17, 33), (1, 1), (64, 48)]:
        pictures = rng.integers(0, 256, (7, height, width, 3), np.uint8)
        write_video(tmp_path / "film.mp4", pictures, 20, "h264_lossless")
        assert np.array_equal(VideoReader(tmp_path / "film.mp4", 20).read_range(0, 7), pictures)


def test_one_by_one_is_the_same_as_all_at_once_and_readers_see_no_half(film, tmp_path):
    pictures = np.stack([film.numbered(n) for n in range(9)])
    write_video(tmp_path / "all.mp4", pictures, 30)
    with VideoWriter(tmp_path / "each.mp4", 30, 64, 64) as writer:
        for picture in pictures:
            writer.add(picture)
        assert writer.num_pictures == 9
    assert (tmp_path / "each.mp4").read_bytes() == (tmp_path / "all.mp4").read_bytes()
    write_video(tmp_path / "flipped.mp4", pictures[:, ::-1, :, ::-1], 30)
    assert VideoReader(tmp_path / "flipped.mp4", 30).num_pictures == 9


def test_arrays_on_disk_are_read_a_block_at_a_time(film, tmp_path):
    class OnDisk:
        shape, asked = (100, 64, 64, 3), []

        def __getitem__(self, key):
            self.asked.append((key.start, key.stop))
            return np.stack([film.numbered(n) for n in range(*key.indices(100))])

    write_video(tmp_path / "film.mp4", OnDisk(), 30)
    block = video_writer.BLOCK_PICTURES
    assert OnDisk.asked == [(start, start + block) for start in range(0, 100, block)]
    found = StoredVideo(tmp_path / "film.mp4", 0, 100, 30)
    assert [film.shown(picture) for picture in found] == list(range(100))
    write_video(tmp_path / "again.mp4", found, 30)
    assert film.shown(VideoReader(tmp_path / "again.mp4", 30).read(99)) == 99


def test_an_exception_leaves_no_file(film, tmp_path):
    with pytest.raises(KeyError), VideoWriter(tmp_path / "film.mp4", 30, 64, 64) as writer:
        writer.add(film.numbered(0))
        raise KeyError
    for wrong in (np.zeros((64, 62, 3), np.uint8), np.zeros((64, 64, 3), np.float32), np.zeros((64, 64), np.uint8)):
        with (
            pytest.raises(DatasetError, match="Picture 1 of .*is needed"),
            VideoWriter(tmp_path / "film.mp4", 30, 64, 64) as writer,
        ):
            writer.add(film.numbered(0))
            writer.add(wrong)
    with pytest.raises(DatasetError, match="no picture"), VideoWriter(tmp_path / "film.mp4", 30, 64, 64):
        pass
    with pytest.raises(DatasetError, match="no picture"):
        write_video(tmp_path / "film.mp4", np.zeros((0, 64, 64, 3), np.uint8), 30)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_said_with_what_can(tmp_path, monkeypatch):
    pictures = np.zeros((2, 16, 32, 3), np.uint8)
    with pytest.raises(DatasetError, match=r"as 'vp7' here; available: h264"):
        write_video(tmp_path / "film.mp4", pictures, 30, "vp7")
    monkeypatch.setitem(CODECS, "h264", video_writer.Codec("no_such_encoder", "yuv420p"))
    with pytest.raises(DatasetError, match=r"as 'h264' here; available: (?!h264,)"):
        write_video(tmp_path / "film.mp4", pictures, 30)
    monkeypatch.undo()
    with pytest.raises(DatasetError, match="15x32 cannot be stored as video; even numbers"):
        write_video(tmp_path / "film.mp4", pictures[:, 1:], 30)
    with pytest.raises(DatasetError, match=r"shape \(2, 16, 32\)"):
        write_video(tmp_path / "film.mp4", pictures[..., 0], 30)
    for fps in (0, -1, float("nan"), float("inf")):
        with pytest.raises(DatasetError, match="positive number of pictures per second"):
            write_video(tmp_path / "film.mp4", pictures, fps)
    with pytest.raises(DatasetError, match=r"nowhere/film\.mp4' could not be written: No such file"):
        write_video(tmp_path / "nowhere" / "film.mp4", pictures, 30)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_sentence_and_leaves_no_file(film, tmp_path, monkeypatch):
    writer = VideoWriter(tmp_path / "film.mp4", 30, 64, 64)
    writer.add(film.numbered(0))

    class Full:
        def mux(self, packets):
            raise av.error.OSError(28, "No space left on device")

        def close(self):
            pass

    monkeypatch.setattr(writer, "_container", Full())
    with pytest.raises(DatasetError, match="could not be written: No space left on device"):
        writer.close()
    assert not list(tmp_path.iterdir())


def test_what_an_encoder_breaks_on_is_refused(tmp_path):
    """x265 writes beyond its memory below one coding unit of 64 pixels."""
    if "hevc" not in available_codecs():
        pytest.skip("no HEVC encoder in this build")
    with pytest.raises(DatasetError, match="64 pixels on one side"):
        write_video(tmp_path / "a.mp4", np.zeros((3, 48, 48, 3), np.uint8), 10, "hevc")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc fills memory on request")
def test_what_is_written_does_not_depend_on_what_lay_in_memory(tmp_path, codec):
    """An encoder that reads memory nobody has written gives other files once in a while: the same promise, provoked."""
    code = (
        "import sys, numpy as np; from pathlib import Path; from praxon.datasets.video_file import write_video\n"
        "rng = np.random.default_rng(0)\n"
        "write_video(Path(sys.argv[1]), rng.integers(0, 255, (12, 64, 64, 3)).astype(np.uint8), 30, sys.argv[2])\n"
    )
    for fill in ("1", "254"):
        command = [sys.executable, "-c", code, str(tmp_path / fill), codec]
        subprocess.run(command, env={**os.environ, "MALLOC_PERTURB_": fill}, check=True, timeout=60)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "254").read_bytes()


def test_encoders_leave_the_scheduling_of_this_process_alone(tmp_path):
    """As root SVT-AV1 would make it, and all threads that are begun later, a real-time process."""

    def scheduling():
        return {
            (os.sched_getscheduler(int(thread)), os.sched_getparam(int(thread)).sched_priority)
            for thread in os.listdir("/proc/self/task")
        }

    before = scheduling()
    pictures = np.zeros((3, 64, 64, 3), np.uint8)
    for codec in available_codecs():
        with VideoWriter(tmp_path / f"{codec}.mp4", 20, 64, 64, codec) as writer:
            for picture in pictures:
                writer.add(picture)
                assert scheduling() == before
    assert scheduling() == before
