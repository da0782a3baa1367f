"""Pictures of many video files for whole batches: from memory where they are held, the others decoded side by side."""

import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from praxon.datasets.picture_slots import PictureSlots
from praxon.datasets.video_decoder import VideoDecoder
from praxon.datasets.video_index import VideoBytes, VideoIndex, read_index
from praxon.errors import DatasetError

OPEN_FILES = 64
IDLE_DECODERS = 32
RUNS_PER_THREAD = 4
"""A batch is cut into at least so many pieces per thread where key frames allow, so that all finish together."""


@dataclass(frozen=True)
class _Film:
    """A file that has been seen: its index, and the number of its first picture among all of its size."""

    index: VideoIndex
    first: int


@dataclass(frozen=True)
class _Run:
    """Rising pictures of one file that are decoded in one go, and their places in the batch."""

    film: _Film
    pictures: np.ndarray
    places: np.ndarray


class PictureLoader:
    """Reads batches; may be shared by threads, forked and pickled (the copy begins with nothing in memory).

    Args:
        max_bytes: of decoded pictures kept [bytes]; shared equally where files have pictures of several sizes.
        num_threads: that decode side by side, the caller's own included; one per available processor where None.
    """

    def __init__(self, max_bytes: int, num_threads: int | None = None) -> None:
        if max_bytes < 0 or (num_threads is not None and num_threads < 1):
            raise DatasetError(
                f"A picture loader needs 0 or more bytes and 1 or more threads; got {max_bytes}, {num_threads}."
            )
        self.max_bytes = max_bytes
        self.num_threads = num_threads or len(os.sched_getaffinity(0))
        self._begin()

    def _begin(self) -> None:
        """A forked process begins anew too: it has none of the threads, and locks that they held would stay locked."""
        self._process = os.getpid()
        self._films: dict[Path, _Film] = {}
        self._slots: dict[tuple[int, ...], PictureSlots] = {}
        self._lock = threading.Lock()
        self._files: OrderedDict[Path, VideoBytes] = OrderedDict()
        self._idle: OrderedDict[Hashable, list[VideoDecoder]] = OrderedDict()
        self._helpers = ThreadPoolExecutor(self.num_threads - 1, "pictures") if self.num_threads > 1 else None

    def __reduce__(self) -> tuple[type["PictureLoader"], tuple[int, int]]:
        return PictureLoader, (self.max_bytes, self.num_threads)

    @property
    def num_bytes(self) -> int:
        """Of decoded pictures held now [bytes]."""
        with self._lock:
            return sum(slots.num_bytes for slots in self._slots.values())

    def read(
        self, files: Sequence[Path], fps: float, file_of: np.ndarray, numbers: np.ndarray, out: np.ndarray
    ) -> None:
        """Fill ``out`` with the pictures shown at ``numbers`` / ``fps`` seconds.

        Args:
            files: the files that are used, and any others.
            fps: pictures per second.
            file_of: (N,) place in ``files``.
            numbers: (N,) which picture of that file.
            out: (N, height, width, 3) uint8, written.

        Raises:
            DatasetError: a file or picture is missing, damaged or of another size; nothing in ``out`` can be relied on.
        """
        if self._process != os.getpid():
            self._begin()
        file_of, numbers = np.asarray(file_of).reshape(-1), np.asarray(numbers).reshape(-1)
        if out.dtype != np.uint8 or out.ndim != 4 or not len(out) == len(file_of) == len(numbers):
            raise DatasetError(
                f"{len(numbers)} pictures of {len(file_of)} files were asked into {out.dtype}{out.shape}; "
                f"uint8 (N, height, width, 3) and N of each are needed."
            )
        if not len(out):
            return
        used, used_of = np.unique(file_of, return_inverse=True)
        films = self._seen([Path(files[place]) for place in used.tolist()], out.shape[1:])
        pictures = _locate(films, used_of, numbers, fps)
        keys = np.array([film.first for film in films])[used_of] + pictures
        slots = self._slots[out.shape[1:]]
        with self._lock:
            missing = slots.take(keys, out)
        if not len(missing):
            return
        wanted, once = np.unique(keys[missing], return_index=True)
        places = missing[once]
        self._decode(films, used_of[places], pictures[places], places, out)
        with self._lock:
            slots.put(wanted, out[places])
        if len(places) < len(missing):
            source = places[np.searchsorted(wanted, keys[missing])]
            copies = source != missing
            out[missing[copies]] = out[source[copies]]

    def close(self) -> None:
        """End the threads and forget everything; reading again begins anew."""
        if self._helpers is not None:
            self._helpers.shutdown()
        self._begin()

    # -- files ------------------------------------------------------------------------------------

    def _seen(self, paths: Sequence[Path], shape: tuple[int, ...]) -> list[_Film]:
        """Films of these files, which must all have pictures of ``shape``; new ones are looked through side by side."""
        unknown = deque(path for path in paths if path not in self._films)

        def look() -> None:
            while unknown:
                try:
                    path = unknown.popleft()
                except IndexError:
                    return
                index, context = read_index(path)
                self._give(index.parameters, VideoDecoder(context))
                with self._lock:
                    if path not in self._films:
                        slots = self._slots_of((index.height, index.width, 3))
                        self._films[path] = _Film(index, slots.number(index.num_pictures))

        self._together(look, len(unknown))
        films = [self._films[path] for path in paths]
        for film in films:
            if (film.index.height, film.index.width, 3) != shape:
                raise DatasetError(
                    f"The video '{film.index.path}' holds pictures of {film.index.height}x{film.index.width}; "
                    f"{'x'.join(map(str, shape[:2]))} is needed."
                )
        return films

    def _slots_of(self, shape: tuple[int, ...]) -> PictureSlots:
        if shape not in self._slots:
            share = self.max_bytes // (len(self._slots) + 1)
            for slots in self._slots.values():
                slots.resize(share)
            self._slots[shape] = PictureSlots(shape, share)
        return self._slots[shape]

    def _open(self, path: Path) -> VideoBytes:
        with self._lock:
            file = self._files.get(path)
            if file is None:
                file = self._files[path] = VideoBytes(path)
                if len(self._files) > OPEN_FILES:
                    self._files.popitem(last=False)  # closed when the last thread that reads it is done
            else:
                self._files.move_to_end(path)
            return file

    # -- decoding ---------------------------------------------------------------------------------

    def _decode(
        self, films: Sequence[_Film], film_of: np.ndarray, pictures: np.ndarray, places: np.ndarray, out: np.ndarray
    ) -> None:
        """Decode pictures (rising within each file, all of one file together) into their places."""
        longest = -(-len(places) // (RUNS_PER_THREAD * self.num_threads)) if self.num_threads > 1 else len(places)
        edges = np.flatnonzero(np.diff(film_of)) + 1
        runs: deque[_Run] = deque()
        for chosen in np.split(np.arange(len(places)), edges):
            film = films[film_of[chosen[0]]]
            for part in film.index.pieces(pictures[chosen], longest):
                runs.append(_Run(film, pictures[chosen][part], places[chosen][part]))

        def decode() -> None:
            while runs:
                try:
                    run = runs.popleft()
                except IndexError:
                    return
                index = run.film.index
                decoder = self._borrow(index)
                keep = self._keeper(run.film)
                for place, picture in decoder.pictures(index, self._open(index.path), run.pictures, keep):
                    out[run.places[place]] = picture
                self._give(index.parameters, decoder)  # after an error it is not used again

        self._together(decode, len(runs))

    def _keeper(self, film: _Film) -> Callable[[int, np.ndarray], None] | None:
        """Keeps pictures that were decoded on the way, while nothing has to give way for them."""
        slots = self._slots[film.index.height, film.index.width, 3]

        def keep(number: int, picture: np.ndarray) -> None:
            with self._lock:
                if slots.room:
                    slots.put(np.array([film.first + number]), picture[None])

        return keep if slots.room else None

    def _together(self, work: Callable[[], None], jobs: int) -> None:
        """Let several threads take jobs until none is left; the first error of any is raised when all have stopped."""
        helpers = [self._helpers.submit(work) for _ in range(min(jobs, self.num_threads) - 1)] if self._helpers else []
        try:
            work()
        finally:
            errors = [helper.exception() for helper in helpers if not helper.cancel()]
        for error in errors:
            if error is not None:
                raise error

    def _borrow(self, index: VideoIndex) -> VideoDecoder:
        with self._lock:
            idle = self._idle.get(index.parameters)
            if idle:
                return idle.pop()
        return VideoDecoder.of(index)

    def _give(self, parameters: Hashable, decoder: VideoDecoder) -> None:
        with self._lock:
            self._idle.setdefault(parameters, []).append(decoder)
            self._idle.move_to_end(parameters)
            while sum(map(len, self._idle.values())) > IDLE_DECODERS:
                oldest = next(iter(self._idle))
                self._idle[oldest].pop()
                if not self._idle[oldest]:
                    del self._idle[oldest]


def _locate(films: Sequence[_Film], film_of: np.ndarray, numbers: np.ndarray, fps: float) -> np.ndarray:
    """Which picture of its file each number is."""
    if all(film.index.is_on_grid(fps) for film in films):
        counts = np.array([film.index.num_pictures for film in films])[film_of]
        if np.all((numbers >= 0) & (numbers < counts)):
            return numbers
    pictures = np.empty(len(numbers), np.int64)
    for place, film in enumerate(films):
        chosen = film_of == place
        pictures[chosen] = film.index.locate(numbers[chosen], fps)
    return pictures
