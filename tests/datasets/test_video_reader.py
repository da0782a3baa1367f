"""Every picture of every kind of file is the one that decoding the whole file in order gives, and shows its own number."""

import os
import pickle
from fractions import Fraction

import av
import numpy as np
import pytest

from praxon.datasets.video_file import StoredVideo, VideoReader
from praxon.errors import DatasetError

FAST = {"preset": "veryfast"}
X265 = "log-level=error:pools=none:frame-threads=1"
KINDS = {
    "h264, key frames only": {"encoder": "libx264", "g": 1, **FAST},
    "h264, every 2nd": {"encoder": "libx264", "g": 2, **FAST},
    "h264, every 30th, B-frames": {"encoder": "libx264", "g": 30, "bf": 3, "preset": "medium"},
    "h264, every 250th, B-frames": {"encoder": "libx264", "g": 250, "bf": 8, "preset": "medium"},
    "h264, open": {"encoder": "libx264", "g": 12, "bf": 3, "preset": "medium", "x264-params": "open-gop=1"},
    "hevc, every 2nd": {"encoder": "libx265", "g": 2, "preset": "ultrafast", "x265-params": X265},
    "hevc, open, B-frames": {"encoder": "libx265", "g": 12, "x265-params": f"{X265}:open-gop=1:bframes=4"},
    "av1, every 2nd": {"encoder": "libsvtav1", "g": 2, "preset": 12, "crf": 20},
    "av1, every 30th": {"encoder": "libsvtav1", "g": 30, "preset": 10, "crf": 20},
    "mpeg4": {"encoder": "mpeg4", "g": 12, "bf": 2, "q": 2, "b": 4_000_000},
}
COUNT = 140


@pytest.fixture(scope="module", params=KINDS)
def kind(request, film, tmp_path_factory):
    settings = KINDS[request.param]
    try:
        av.Codec(settings["encoder"], "w")
    except av.FFmpegError:
        pytest.skip(f"this build of PyAV has no {settings['encoder']}")
    path = film.encode(tmp_path_factory.mktemp("film") / "film.mp4", range(COUNT), **settings)
    return path, film.in_order(path)


def test_pictures_in_any_order_are_those_of_decoding_in_order(kind, film):
    path, whole = kind
    assert [film.shown(picture) for picture in whole] == list(range(COUNT))
    reader = VideoReader(path, 30)
    assert (reader.num_pictures, reader.num_listed, reader.height, reader.width) == (COUNT, COUNT, 64, 64)
    assert reader.is_constant_rate
    assert reader.rate == pytest.approx(30, rel=1e-6)
    assert np.allclose(reader.times_s, np.arange(COUNT) / 30, rtol=0, atol=1e-4)
    rng = np.random.default_rng(0)
    for number in [0, COUNT - 1, *rng.integers(0, COUNT, 30), *range(20, 50), *range(50, 40, -1)]:
        assert np.array_equal(reader.read(int(number)), whole[number]), number
    for start, stop in [(0, COUNT), (COUNT - 1, COUNT), (5, 5), *np.sort(rng.integers(0, COUNT + 1, (15, 2)))]:
        assert np.array_equal(reader.read_range(int(start), int(stop)), whole[start:stop]), (start, stop)


def test_a_stretch_of_a_file_is_an_array_that_is_read_as_it_is_sliced(kind):
    path, whole = kind
    video = StoredVideo(path, 31, 40, 30)
    assert (video.shape, video.dtype, len(video)) == ((40, 64, 64, 3), np.uint8, 40)
    assert np.array_equal(video.read(), whole[31:71])
    assert np.array_equal(video[3:7], whole[34:38])
    assert np.array_equal(video[-2:], whole[69:71])
    assert np.array_equal(np.stack(list(video)), whole[31:71])
    assert pickle.loads(pickle.dumps(video)) == video
    for start, stop in [(-1, 3), (0, 41), (41, 41)]:
        with pytest.raises(DatasetError, match="which has 0 to 39"):
            video.read(start, stop)
    with pytest.raises(DatasetError, match="no picture 140"):
        StoredVideo(path, 120, 40, 30).read()


@pytest.mark.parametrize(
    ("ticks", "time_base", "fps"),
    [
        ([n * 3003 for n in range(30)], Fraction(1, 90000), 30000 / 1001),
        ([round(n * 1000 / 30) for n in range(30)], Fraction(1, 1000), 30),
        ([n * 512 for n in range(30)], Fraction(1, 12800), 25),
    ],
)
def test_numbers_are_times_whatever_the_clock_of_the_file(film, tmp_path, ticks, time_base, fps):
    path = film.encode(tmp_path / "film.mp4", range(30), ticks=ticks, time_base=time_base, g=5, bf=2)
    reader = VideoReader(path, fps)
    assert [film.shown(reader.read(number)) for number in range(30)] == list(range(30))
    assert reader.is_constant_rate
    assert reader.rate == pytest.approx(fps, rel=1e-3)


def test_pictures_that_an_edit_list_hides_are_needed_but_not_counted(film, tmp_path):
    """Stamps begin at -5: the container tells readers to show nothing before 0."""
    path = film.encode(
        tmp_path / "film.mp4", range(30), ticks=range(-5, 25), g=12, bf=2, container={"avoid_negative_ts": "disabled"}
    )
    whole = film.in_order(path)
    assert [film.shown(picture) for picture in whole] == list(range(5, 30))
    reader = VideoReader(path, 30)
    assert (reader.num_pictures, reader.num_listed) == (25, 25)
    for number in (0, 24, 3, 12):
        assert np.array_equal(reader.read(number), whole[number])
    assert np.array_equal(reader.read_range(0, 25), whole)


@pytest.mark.parametrize("fps", [0, -30, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(film, tmp_path, fps):
    path = film.encode(tmp_path / "film.mp4", range(3))
    with pytest.raises(DatasetError, match="positive rate"):
        VideoReader(path, fps).read(0)


def test_files_in_fragments_are_read_as_others(film, tmp_path):
    path = film.encode(tmp_path / "film.mp4", range(40), g=8, bf=0, container={"movflags": "frag_keyframe+empty_moov"})
    reader = VideoReader(path, 30)
    assert (reader.num_pictures, reader.num_listed) == (40, 40)
    assert [film.shown(reader.read(number)) for number in (39, 0, 17, 18)] == [39, 0, 17, 18]


def test_a_gap_is_no_picture_and_shows_in_the_rate(film, tmp_path):
    """Pictures 0 to 4 and 10 to 14 of a grid of 20 per second: what is between is not the nearest of what is there."""
    numbers = [*range(5), *range(10, 15)]
    path = film.encode(tmp_path / "film.mp4", numbers, fps=20, ticks=numbers, g=4)
    reader = VideoReader(path, 20)
    assert [film.shown(reader.read(number)) for number in numbers] == numbers
    assert not reader.is_constant_rate
    for number in (-1, 5, 7, 9, 15):
        with pytest.raises(DatasetError, match=f"no picture {number} of 20 per second"):
            reader.read(number)
    with pytest.raises(DatasetError, match="10 pictures from 0.000 to 0.700 s"):
        reader.read_range(3, 8)


def test_a_recording_at_25_that_is_called_30_has_no_picture_where_the_times_part(film, tmp_path):
    path = film.encode(tmp_path / "film.mp4", range(50), fps=25)
    reader = VideoReader(path, 30)
    assert reader.rate == pytest.approx(25)
    assert film.shown(reader.read(30)) == 25
    with pytest.raises(DatasetError, match="no picture 60"):
        reader.read(60)


def test_a_picture_in_the_middle_of_two_is_found_within_half_a_frame(film, tmp_path):
    """Stored at 10 per second, asked at 20: odd numbers are exactly half a stored frame, one whole asked frame, away."""
    path = film.encode(tmp_path / "film.mp4", range(10), fps=10)
    reader = VideoReader(path, 20)
    assert [film.shown(reader.read(number)) for number in range(0, 20, 2)] == list(range(10))
    with pytest.raises(DatasetError, match="no picture 3"):
        reader.read(3)


def test_files_joined_by_the_library_decode_from_any_key_frame(film, tmp_path):
    """The concat demuxer stores each part's own decoder settings in its packets; parts here have different ones."""
    film.encode(tmp_path / "a.mp4", range(20), g=4, preset="veryfast")
    film.encode(tmp_path / "b.mp4", range(20, 50), g=10, bf=3, preset="medium")
    film.encode(tmp_path / "c.mp4", range(50, 60), g=2, preset="slow")
    path = film.joined(tmp_path, ["a", "b", "c"])
    whole = film.in_order(path)
    assert [film.shown(picture) for picture in whole] == list(range(60))
    reader = VideoReader(path, 30)
    for number in np.random.default_rng(1).integers(0, 60, 80):
        assert np.array_equal(reader.read_range(number, number + 1)[0], whole[number]), number


def test_what_is_no_video_is_said_in_one_sentence(film, tmp_path):
    good = film.encode(tmp_path / "good.mp4", range(10)).read_bytes()
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(good)
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4000), np.float32), "fltp", "mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    broken = {
        "text": b"This is a text file.\n" * 50,
        "empty": b"",
        "list": f"ffconcat version 1.0\nfile '{secret}'\n".encode(),
        "playlist": f"#EXTM3U\n#EXTINF:1,\n{secret}\n".encode(),
        "no_moov": good[: good.index(b"moov") - 4],
        "head_only": good[:200],
        "picture": b"\x89PNG\r\n\x1a\n" + bytes(200),
        "sound": (tmp_path / "sound.mp4").read_bytes(),
    }
    for name, content in broken.items():
        path = tmp_path / f"{name}.mp4"
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=rf"^The video '.*{name}\.mp4' .*\.$"):
            VideoReader(path, 30)
    with pytest.raises(DatasetError, match="No such file"):
        VideoReader(tmp_path / "nowhere.mp4", 30)
    with pytest.raises(DatasetError, match="cannot be read"):
        VideoReader(tmp_path, 30)


@pytest.mark.parametrize("encoder", ["libx264", "libx265", "libsvtav1"])
def test_of_a_file_cut_off_the_whole_pictures_are_read_and_the_others_named(film, tmp_path, encoder):
    options = {"x265-params": X265} if encoder == "libx265" else {"preset": 12} if encoder == "libsvtav1" else {}
    path = tmp_path / "film.mp4"
    film.encode(path, range(60), encoder=encoder, g=10, container={"movflags": "faststart"}, **options)
    data = path.read_bytes()
    head = data.index(b"mdat")
    for size in np.linspace(head + (len(data) - head) * 0.5, len(data) - 1, 7).astype(int):
        path.write_bytes(data[:size])
        reader = VideoReader(path, 30)
        assert 0 < reader.num_pictures < reader.num_listed == 60
        there = np.round(reader.times_s * 30).astype(
            int
        )  # with B-frames the last ones stored are not the last ones shown
        assert [film.shown(reader.read(int(number))) for number in there] == there.tolist()
        for number in np.setdiff1d(np.arange(60), there):
            with pytest.raises(DatasetError, match=rf"no picture {number} .*it holds {len(there)} pictures"):
                reader.read(int(number))


def test_damaged_bytes_end_in_a_picture_or_a_sentence(film, tmp_path):
    """Half of the cases hit the head, where all places and times are; no case may crash, hang or read beyond the file."""
    rng = np.random.default_rng(0)
    good = film.encode(tmp_path / "good.mp4", range(20), g=4, bf=2, container={"movflags": "faststart"}).read_bytes()
    head = good.index(b"mdat")
    path = tmp_path / "film.mp4"
    outcomes, sentences = set(), []
    for case in range(200):
        data = bytearray(good)
        places = rng.integers(0, head if case % 2 else len(data), rng.integers(1, 20))
        data[slice(None)] = bytes(data)
        for place in places:
            data[place] = rng.integers(256)
        if case % 5 == 0:
            data = data[: rng.integers(len(data))]
        path.write_bytes(data)
        try:
            reader = VideoReader(path, 30)
            assert reader.num_pictures <= len(data)
            for number in (0, 19, 7):
                assert reader.read(number).shape == (reader.height, reader.width, 3)
            outcomes.add("read")
        except DatasetError as error:
            outcomes.add("refused")
            sentences.append(str(error))
    assert outcomes == {"read", "refused"}
    assert all(str(path) in sentence and "\n" not in sentence for sentence in sentences)


def test_a_file_that_changed_is_looked_at_again_and_one_that_shrank_is_named(film, tmp_path):
    path = film.encode(tmp_path / "film.mp4", range(30))
    assert StoredVideo(path, 0, 5, 30).shape == (5, 64, 64, 3)
    reader = VideoReader(path, 30)
    film.encode(tmp_path / "new.mp4", range(100, 110))
    os.replace(tmp_path / "new.mp4", path)
    assert film.shown(StoredVideo(path, 0, 5, 30).read()[0]) == 100
    assert film.shown(reader.read(0)) == 0  # the one that was opened
    reader = VideoReader(path, 30)
    reader.read(0)
    os.truncate(path, 100)
    with pytest.raises(DatasetError, match="shorter since"):
        reader.read(9)
    reader.close()
    with pytest.raises(DatasetError, match="has been closed"):
        reader.read(0)
