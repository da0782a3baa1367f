"""Episodes moved between files keep every bit where packets can be copied, and every picture in its place where not."""

import av
import numpy as np
import pytest

from praxon.datasets.video_file import (
    StoredVideo,
    VideoReader,
    append_videos,
    available_codecs,
    copy_video,
    write_video,
)
from praxon.errors import DatasetError

X265 = "log-level=error:pools=none:frame-threads=1"
CODECS = ["h264", "hevc", "av1", "h264_lossless"]


def numbers_of(film, path, fps=30):
    """The numbers shown, decoded in order by the library itself, and at the right times."""
    reader = VideoReader(path, fps)
    assert np.allclose(reader.times_s, np.arange(reader.num_pictures) / fps, rtol=0, atol=1e-4)
    whole = film.in_order(path)
    assert np.array_equal(reader.read_range(0, len(whole)), whole)
    return [film.shown(picture) for picture in whole]


@pytest.mark.parametrize("codec", CODECS)
def test_an_episode_at_a_key_frame_is_copied_bit_for_bit(film, tmp_path, codec):
    if codec not in available_codecs():
        pytest.skip(f"this build of PyAV cannot write {codec}")
    path, copy = tmp_path / "film.mp4", tmp_path / "copy.mp4"
    write_video(path, np.stack([film.numbered(n) for n in range(60)]), 30, codec)
    keys = np.flatnonzero(VideoReader(path, 30).index.keys)
    first = int(keys[len(keys) // 2])
    for video in (
        StoredVideo(path, 0, 60, 30),
        StoredVideo(path, first, 60 - first, 30),
        StoredVideo(path, first, 7, 30),
    ):
        assert copy_video(video, copy)
        assert np.array_equal(film.in_order(copy), video.read())
        assert numbers_of(film, copy) == list(range(video.first, video.first + video.num_pictures))


@pytest.mark.parametrize(
    "options",
    [
        {"encoder": "libx264", "g": 12, "bf": 3, "preset": "medium"},
        {"encoder": "libx264", "g": 12, "bf": 3, "preset": "medium", "x264-params": "open-gop=1"},
        {"encoder": "libx265", "g": 12, "x265-params": f"{X265}:open-gop=1:bframes=4"},
        {"encoder": "libsvtav1", "g": 12, "preset": 10, "crf": 20},
    ],
)
def test_every_stretch_of_a_film_with_reordered_pictures_keeps_its_pictures(film, tmp_path, options):
    path, copy = tmp_path / "film.mp4", tmp_path / "copy.mp4"
    film.encode(path, range(60), **options)
    copied = 0
    for first, count in [(0, 60), *((first, count) for first in (0, 11, 12, 24) for count in (1, 2, 5, 12, 17))]:
        video = StoredVideo(path, first, count, 30)
        if copy_video(video, copy):
            copied += 1
            assert np.array_equal(film.in_order(copy), video.read())
        assert numbers_of(film, copy) == list(range(first, first + count))
        assert VideoReader(copy, 30).codec == VideoReader(path, 30).codec
    assert 0 < copied < 21


def test_episodes_of_many_files_are_joined_and_each_is_found_again(film, tmp_path):
    videos, numbers = [], []
    for place, count in enumerate((7, 1, 12, 30)):
        path = tmp_path / f"{place}.mp4"
        numbers.append(list(range(100 * place, 100 * place + count)))
        write_video(path, np.stack([film.numbered(n) for n in numbers[-1]]), 30)
        videos.append(StoredVideo(path, 0, count, 30))
    both = tmp_path / "both.mp4"
    assert append_videos(videos, both)
    assert numbers_of(film, both) == [n for some in numbers for n in some]
    first = 0
    for place, video in enumerate(videos):
        found = StoredVideo(both, first, video.num_pictures, 30)
        assert np.array_equal(found.read(), video.read())
        assert copy_video(found, tmp_path / "back.mp4")  # and taken apart again
        assert np.array_equal(film.in_order(tmp_path / "back.mp4"), film.in_order(tmp_path / f"{place}.mp4"))
        first += video.num_pictures


def test_joining_again_and_again_keeps_the_clock(film, tmp_path):
    """Files joined from joined files once had other clocks, and the third could not be added."""
    one = tmp_path / "0.mp4"
    write_video(one, np.stack([film.numbered(n) for n in range(10)]), 30)
    videos = [StoredVideo(one, 0, 10, 30)]
    for turn in range(1, 6):
        path = tmp_path / f"{turn}.mp4"
        assert append_videos([*videos, StoredVideo(one, 0, 10, 30)], path)
        videos = [StoredVideo(path, 0, 10 * (turn + 1), 30)]
    assert numbers_of(film, path) == list(range(10)) * 6


def test_different_codings_are_encoded_again_and_other_sizes_and_rates_refused(film, tmp_path):
    def stored(name, numbers, fps=30, codec="h264", crop=64):
        path = tmp_path / f"{name}.mp4"
        write_video(path, np.stack([film.numbered(n)[:crop] for n in numbers]), fps, codec)
        return StoredVideo(path, 0, len(numbers), fps)

    a, b = stored("a", range(10)), stored("b", range(10, 30), codec="h264_lossless")
    assert not append_videos([a, b], tmp_path / "both.mp4")
    assert numbers_of(film, tmp_path / "both.mp4") == list(range(30))
    assert not append_videos([b, a], tmp_path / "exact.mp4", "h264_lossless")
    assert np.array_equal(film.in_order(tmp_path / "exact.mp4"), np.concatenate([b.read(), a.read()]))
    with pytest.raises(DatasetError, match="64x64 at 20 per second, 64x64 at 30 per second"):
        append_videos([a, stored("c", range(10), fps=20)], tmp_path / "no.mp4")
    with pytest.raises(DatasetError, match="32x64 at 30 per second, 64x64"):
        append_videos([a, stored("d", range(10), crop=32)], tmp_path / "no.mp4")
    for nothing in ([], [StoredVideo(a.path, 0, 0, 30)]):
        with pytest.raises(DatasetError, match="without pictures"):
            append_videos(nothing, tmp_path / "no.mp4")
    with pytest.raises(DatasetError, match="while it is being read"):
        append_videos([a], a.path)
    with pytest.raises(DatasetError, match="no picture 10"):
        copy_video(StoredVideo(a.path, 5, 6, 30), tmp_path / "no.mp4")
    assert not (tmp_path / "no.mp4").exists()
    assert numbers_of(film, a.path) == list(range(10))


def test_parts_that_bring_decoder_settings_of_their_own_do_not_spoil_parts_that_do_not(film, tmp_path):
    """FFmpeg's joined files hold settings in their packets; they would replace those of the head for what follows."""
    film.encode(tmp_path / "a.mp4", range(20), g=4, preset="veryfast")
    film.encode(tmp_path / "b.mp4", range(20, 50), g=10, bf=3, preset="medium")
    joined = film.joined(tmp_path, ["a", "b"])
    parts = [StoredVideo(joined, 20, 30, 30), StoredVideo(tmp_path / "a.mp4", 0, 20, 30)]
    append_videos(parts, tmp_path / "both.mp4")
    assert numbers_of(film, tmp_path / "both.mp4") == [*range(20, 50), *range(20)]
    assert append_videos([StoredVideo(joined, 20, 30, 30), StoredVideo(joined, 0, 20, 30)], tmp_path / "turned.mp4")
    assert numbers_of(film, tmp_path / "turned.mp4") == [*range(20, 50), *range(20)]


def test_a_damaged_source_leaves_no_file(film, tmp_path):
    path = tmp_path / "film.mp4"
    write_video(path, np.stack([film.numbered(n) for n in range(30)]), 30)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 9 // 10])
    assert VideoReader(path, 30).num_pictures < 30
    with pytest.raises(DatasetError, match="no picture"):
        copy_video(StoredVideo(path, 0, 30, 30), tmp_path / "copy.mp4")
    assert not (tmp_path / "copy.mp4").exists()
    assert copy_video(StoredVideo(path, 0, 10, 30), tmp_path / "copy.mp4")


def test_equal_copies_are_equal_files(film, tmp_path):
    path = tmp_path / "film.mp4"
    write_video(path, np.stack([film.numbered(n) for n in range(12)]), 30)
    for name in "ab":
        copy_video(StoredVideo(path, 0, 12, 30), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with av.open(str(tmp_path / "a")) as container:
        assert container.streams.video[0].frames == 12
