"""Batches from many files: each picture is the right one, whoever asks at the same time, within the memory given."""

import multiprocessing
import os
import pickle
import threading

import numpy as np
import pytest

from praxon.datasets import picture_loader
from praxon.datasets.picture_loader import PictureLoader
from praxon.datasets.picture_slots import PictureSlots
from praxon.datasets.video_decoder import VideoDecoder
from praxon.datasets.video_file import write_video
from praxon.errors import DatasetError

ONE = 64 * 64 * 3
COUNT = 50


@pytest.fixture(scope="module")
def films(film, tmp_path_factory):
    """Four files with different codings; picture n of file f shows 1000 f + n."""
    folder = tmp_path_factory.mktemp("films")
    codings = [{"g": 2}, {"g": 2}, {"g": 250, "bf": 3, "preset": "medium"}, {"encoder": "libx265", "g": 10}]
    files = []
    for place, coding in enumerate(codings):
        if coding.get("encoder"):
            coding["x265-params"] = "log-level=error:pools=none:frame-threads=1"
        files.append(film.encode(folder / f"{place}.mp4", range(1000 * place, 1000 * place + COUNT), **coding))
    return files


def ask(loader, films, file_of, numbers):
    out = np.zeros((len(numbers), 64, 64, 3), np.uint8)
    loader.read(films, 30, np.asarray(file_of), np.asarray(numbers), out)
    return out


@pytest.mark.parametrize("num_threads", [1, 2, 5])
@pytest.mark.parametrize("num_pictures", [0, 1, 20, 1000])
def test_every_picture_of_a_batch_is_the_one_asked_for(film, films, num_threads, num_pictures):
    whole = np.stack([film.in_order(path) for path in films])
    loader = PictureLoader(num_pictures * ONE, num_threads)
    rng = np.random.default_rng(0)
    for size in (1, 3, 60, 200, 0, 40):
        file_of, numbers = rng.integers(0, 4, size), rng.integers(0, COUNT, size)
        if size == 200:
            numbers = np.sort(numbers)
        assert np.array_equal(ask(loader, films, file_of, numbers), whole[file_of, numbers])
        assert loader.num_bytes <= num_pictures * ONE
    loader.close()
    assert loader.num_bytes == 0
    assert np.array_equal(ask(loader, films, [2], [49])[0], whole[2, 49])


def test_threads_that_share_a_loader_do_not_disturb_each_other(film, films):
    loader = PictureLoader(30 * ONE, 3)
    mistakes = []

    def hammer(seed):
        rng = np.random.default_rng(seed)
        try:
            for _ in range(15):
                file_of, numbers = rng.integers(0, 4, 12), rng.integers(0, COUNT, 12)
                found = [film.shown(picture) for picture in ask(loader, films, file_of, numbers)]
                if found != (1000 * file_of + numbers).tolist():
                    mistakes.append((found, file_of, numbers))
        except BaseException as error:
            mistakes.append(error)

    threads = [threading.Thread(target=hammer, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not mistakes
    assert loader.num_bytes <= 30 * ONE


def test_what_fits_is_decoded_once_and_what_was_passed_on_the_way_is_kept(films, monkeypatch):
    decoded = []
    rgb = VideoDecoder._rgb

    def counting(self, index, frame):
        decoded.append((index.path.name, frame.pts))
        return rgb(self, index, frame)

    monkeypatch.setattr(VideoDecoder, "_rgb", counting)
    loader = PictureLoader(1000 * ONE, 2)
    ask(loader, films, [2] * 6, [40, 40, 40, 3, 3, 40])
    passed = len(decoded)
    assert passed == len(set(decoded)) > 40  # all of one stretch between key frames, each once
    ask(loader, films, [2] * 41, range(41))
    assert len(decoded) == passed
    tight = PictureLoader(0, 1)
    decoded.clear()
    ask(tight, films, [2, 2, 2], [40, 40, 3])
    assert sorted(decoded) == [("2.mp4", 3), ("2.mp4", 40)]


def test_the_least_recently_used_give_way(films, monkeypatch):
    loader = PictureLoader(4 * ONE, 1)
    ask(loader, films, [0] * 4, [0, 2, 4, 6])
    ask(loader, films, [0], [0])
    ask(loader, films, [0], [8])  # 2, 4 or 6 goes, not 0
    monkeypatch.setattr(VideoDecoder, "pictures", None)  # from here on nothing can be decoded
    ask(loader, films, [0, 0], [0, 8])


def test_pictures_of_several_sizes_share_the_memory(film, films, tmp_path):
    small = np.stack([film.numbered(n)[:32] for n in range(40)])
    write_video(tmp_path / "small.mp4", small, 30)
    loader = PictureLoader(40 * ONE, 2)
    ask(loader, films, [0] * COUNT, range(COUNT))
    assert loader.num_bytes == 40 * ONE
    out = np.zeros((40, 32, 64, 3), np.uint8)
    loader.read([tmp_path / "small.mp4"], 30, np.zeros(40, int), np.arange(40), out)
    ask(loader, films, [0] * COUNT, range(COUNT))
    assert loader.num_bytes == 20 * ONE + 40 * ONE // 2
    assert np.abs(out.astype(int) - small).mean() < 6
    with pytest.raises(DatasetError, match="holds pictures of 32x64; 64x64 is needed"):
        ask(loader, [tmp_path / "small.mp4"], [0], [0])


def test_few_files_are_open_at_a_time(film, tmp_path, monkeypatch):
    monkeypatch.setattr(picture_loader, "OPEN_FILES", 5)
    pictures = np.stack([film.numbered(n) for n in range(3)])
    files = [tmp_path / f"{place}.mp4" for place in range(30)]
    for path in files:
        write_video(path, pictures, 30)
    loader = PictureLoader(0, 2)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(2):
        ask(loader, files, np.arange(30), np.ones(30, int))
    assert len(os.listdir("/proc/self/fd")) <= before + 5


def test_a_failure_is_one_sentence_and_the_loader_goes_on(film, films, tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("no film")
    cut = tmp_path / "cut.mp4"
    data = film.encode(cut, range(COUNT), container={"movflags": "faststart"}).read_bytes()
    cut.write_bytes(data[: len(data) * 3 // 4])
    damaged = tmp_path / "damaged.mp4"
    bad = bytearray(film.encode(damaged, range(COUNT), g=2, container={"movflags": "faststart"}).read_bytes())
    middle = (bad.index(b"mdat") + len(bad)) // 2
    bad[middle : middle + 2000] = bytes(2000)
    damaged.write_bytes(bytes(bad))
    files = [*films, text, cut, damaged, tmp_path / "nowhere.mp4"]
    loader = PictureLoader(20 * ONE, 3)
    for file_of, number, answer in [
        (4, 0, r"text\.mp4' cannot be read"),
        (5, 49, r"cut\.mp4' holds no picture 49"),
        (6, 25, r"damaged\.mp4' (holds no intact picture|cannot be decoded)"),
        (7, 0, r"nowhere\.mp4' cannot be read: No such file"),
        (0, COUNT, rf"0\.mp4' holds no picture {COUNT}"),
        (0, -1, r"0\.mp4' holds no picture -1"),
    ]:
        with pytest.raises(DatasetError, match=answer):
            ask(loader, files, [0, 1, file_of, 2], [1, 1, number, 1])
        assert [film.shown(p) for p in ask(loader, files, [0, 1, 2, 3], [7, 8, 9, 10])] == [7, 1008, 2009, 3010]
    with pytest.raises(DatasetError, match="are needed"):
        loader.read(films, 30, np.zeros(3, int), np.zeros(3, int), np.zeros((2, 64, 64, 3), np.uint8))
    for wrong in [(-1, 1), (0, 0)]:
        with pytest.raises(DatasetError, match="0 or more bytes"):
            PictureLoader(*wrong)


def test_files_with_other_decoder_settings_in_their_packets_share_decoders_safely(film, tmp_path):
    film.encode(tmp_path / "a.mp4", range(20), g=4, preset="veryfast")
    film.encode(tmp_path / "b.mp4", range(20, 50), g=10, bf=3, preset="medium")
    files = [film.joined(tmp_path, ["a", "b"]), tmp_path / "a.mp4"]
    loader = PictureLoader(0, 1)
    rng = np.random.default_rng(0)
    for _ in range(30):
        joined, plain = int(rng.integers(20, 50)), int(rng.integers(20))
        assert film.shown(ask(loader, files, [0], [joined])[0]) == joined
        assert film.shown(ask(loader, files, [1], [plain])[0]) == plain


def read_in_child(loader, films, queue):
    queue.put((loader.num_bytes, ask(loader, films, [1, 3], [5, 6])))


def test_a_loader_works_in_a_forked_process_and_after_pickling(film, films):
    loader = PictureLoader(100 * ONE, 2)
    ask(loader, films, [0, 1, 2, 3], [1, 2, 3, 4])
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=read_in_child, args=(loader, films, queue))
    child.start()
    _, found = queue.get(timeout=60)
    child.join(60)
    assert child.exitcode == 0
    assert [film.shown(picture) for picture in found] == [1005, 3006]
    copy = pickle.loads(pickle.dumps(loader))
    assert (copy.max_bytes, copy.num_threads, copy.num_bytes) == (100 * ONE, 2, 0)
    assert film.shown(ask(copy, films, [1], [5])[0]) == 1005


def test_slots_keep_the_newest_and_their_count_whatever_happens():
    slots = PictureSlots((1, 1, 3), 10 * 3)
    first = slots.number(500)
    assert (first, slots.number(7), slots.room) == (0, 500, 10)
    rng = np.random.default_rng(0)
    for _ in range(300):
        numbers = np.unique(rng.integers(0, 256, rng.integers(1, 11)))
        pictures = np.repeat(numbers.astype(np.uint8)[:, None, None, None], 3, axis=3)
        slots.put(numbers, pictures)
        out = np.zeros((len(numbers), 1, 1, 3), np.uint8)
        assert not len(slots.take(numbers, out))
        assert np.array_equal(out[:, 0, 0, 0], numbers)
        asked = rng.integers(0, 256, 30)
        out = np.full((30, 1, 1, 3), 99, np.uint8)
        missing = slots.take(asked, out)
        held = np.setdiff1d(np.arange(30), missing)
        assert np.array_equal(out[held, 0, 0, 2], asked[held])
        assert slots.num_bytes + 3 * slots.room == 30
    slots.put(np.arange(300, 325), np.arange(75, dtype=np.uint8).reshape(25, 1, 1, 3))  # more than there is room for
    assert slots.take(np.arange(300, 325), np.zeros((25, 1, 1, 3), np.uint8)).tolist() == list(range(15))
