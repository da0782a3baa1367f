"""Checking a LeRobot dataset: every promise of the format (v3.0 and v2.1), and that its contents are plausible.

The check works on broken data: it reads the files itself, one after another, and goes on behind a fault as far as that
makes sense. A fault is named once, not again by all that follows from it.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

from praxon.datasets import lerobot_format as layout
from praxon.datasets.checks.counts import check_counts
from praxon.datasets.checks.finding import Finding, listed
from praxon.datasets.checks.folder import (
    STATS_V2,
    Folder,
    is_file,
    open_folder,
    read_lines,
    read_statistics,
    statistics_of,
)
from praxon.datasets.checks.leftovers import check_leftovers
from praxon.datasets.checks.pictures import CameraCheck, Stretch, cells, picture_size
from praxon.datasets.checks.rows import Block, DataFile, FileFault, index_faults, not_finite
from praxon.datasets.checks.stamps import StampCheck
from praxon.datasets.checks.values import (
    Limits,
    Summary,
    check_statistics,
    check_values,
    component,
    is_gripper,
    quantiles_of,
)
from praxon.datasets.checks.videos import brightness_fault, check_camera
from praxon.errors import DatasetError

Progress = Callable[[int, int, str], None]
MOVED_SHARE = 0.1
"""Of a component's range in the dataset: how far it must go for a camera to have something to show. Fingers may be too small."""


def check_dataset(
    root: Path, limits: Limits | None = None, videos: bool = True, progress: Progress | None = None
) -> list[Finding]:
    """Everything that is wrong with the dataset in ``root``; none of it for a sound one.

    Args:
        root: folder of the dataset.
        limits: feature -> (lower, upper) for each component [its unit].
        videos: decode every picture; without, only whether the files are there.
        progress: called with (files done, files in all, name of the next).

    Raises:
        DatasetError: there is no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise DatasetError(f"There is no folder '{root}'; the folder of a dataset is expected.")
    folder, found = open_folder(root)
    if folder is None:
        return found
    return merged([*found, *_Check(folder, limits or {}, videos, progress).findings()])


def merged(found: list[Finding]) -> list[Finding]:
    """Findings without those that say the same of the same place."""
    known: dict[tuple[str, str], Finding] = {}
    for finding in found:
        known.setdefault((finding.name, finding.where), finding)
    return list(known.values())


class _Check:
    """One pass over a folder.

    Args:
        folder, limits, videos, progress: as above.
    """

    def __init__(self, folder: Folder, limits: Limits, videos: bool, progress: Progress | None) -> None:
        self._folder, self._limits, self._videos, self._progress = folder, limits, videos, progress
        self._summaries: dict[str, Summary] = {}
        self._stamps = StampCheck(folder.fps)
        # Where the counts disagree, a writer was cut off; its statistics are of other episodes, and that says nothing more.
        self._complete = folder.whole and len(folder.episodes or ()) == folder.info["total_episodes"]
        self._faulty: set[str] = set()  # columns whose faults have been told
        self._done = 0
        self._stored: dict[str, dict[str, np.ndarray]] = {}
        self._stored_by_episode: dict[int, dict[str, dict[str, np.ndarray]]] = {}
        self._cameras: dict[str, CameraCheck] = {}
        self._brightness: dict[str, np.ndarray] = {}

    def findings(self) -> Iterator[Finding]:
        """All of them."""
        folder = self._folder
        yield from check_counts(folder)
        yield from check_leftovers(folder)
        if folder.episodes is None or not len(folder.episodes):
            return
        unreadable = list(self._read_statistics())
        yield from unreadable
        for name, entry in folder.features.items():
            if entry.dtype == "image":
                self._cameras[name] = CameraCheck(name, folder.fps, self._moves)
                self._brightness[name] = np.zeros(2)
        for number, name in enumerate(folder.episodes.data.files):
            self._advance(name)
            yield from self._check_data(number, name)
        for finding in self._stamps.findings():
            self._faulty |= {"timestamp"} if finding.name in ("timestamp", "rate") else set()
            yield finding
        yield from check_values(folder, self._summaries, self._limits)
        if self._complete and self._stored and not unreadable:
            sound = {name: each for name, each in self._summaries.items() if name not in self._faulty}
            # Statistics of ours are exact; others merge approximate quantiles.
            yield from check_statistics(folder, sound, self._stored, folder.contract is not None)
        for name, camera in self._cameras.items():
            yield from camera.findings()
            total, count = self._brightness[name]
            if self._complete and count and name in self._stored:
                yield from brightness_fault(name, self._stored[name], total / count / 255)
        for camera_name in folder.cameras:
            stored = self._stored.get(camera_name)
            yield from check_camera(folder, camera_name, self._moves, stored, self._videos, self._advance)

    # -- data -------------------------------------------------------------------------------------

    def _check_data(self, number: int, name: str) -> Iterator[Finding]:
        folder, episodes = self._folder, self._folder.episodes
        assert episodes is not None
        rows = episodes.data.owners(number)
        lengths = episodes.length[rows]
        try:
            with DataFile(folder, name) as file:
                faults = file.schema_faults()
                for column, sentence in faults.items():
                    self._complete = False
                    yield Finding("schema", f"{column} in {name}", f"Column '{column}' of '{name}': {sentence}.")
                wanted = sum(int(length) for length in lengths)
                if (lengths <= 0).any():
                    self._complete = False
                    return  # told by episode_range
                if file.num_rows != wanted:
                    self._complete = False
                    who = listed(episodes.index[rows])
                    sentence = f"The data file '{name}' has {file.num_rows} rows; {who} have {wanted} frames."
                    yield Finding("episode_rows", name, sentence)
                    return
                names = [
                    key
                    for key, entry in folder.features.items()
                    if entry.dtype not in ("video", "string")
                    and key not in faults
                    and (self._videos or entry.dtype != "image")
                ]
                first = np.cumsum(episodes.length) - episodes.length if folder.trusted else episodes.start
                for block in file.blocks(rows, lengths, names):
                    for finding in index_faults(folder, name, block, first[block.rows]):
                        self._faulty.add(finding.name)
                        yield finding
                    yield from self._check_block(name, block)
        except FileFault as fault:
            self._complete = False
            yield Finding(fault.name, name, str(fault))

    def _check_block(self, name: str, block: Block) -> Iterator[Finding]:
        episodes = self._folder.episodes
        assert episodes is not None
        for key in block.columns:
            for row, values in block.each(key):
                number = int(episodes.index[row])
                yield from not_finite(key, values, number, name)
                flat = values.reshape(len(values), -1)
                known = quantiles_of(self._stored.get(key), flat.shape[1])
                self._summaries.setdefault(key, Summary()).add(flat, known)
                yield from self._episode_statistics(number, key, flat)
        stamps = dict(block.each(layout.STAMP)) if layout.STAMP in block.columns else {}
        for row, timestamp in block.each("timestamp") if "timestamp" in block.columns else ():
            stamp = stamps[row].reshape(-1) if row in stamps else None
            self._stamps.add(int(episodes.index[row]), timestamp.reshape(-1), stamp)
        for key, column in block.pictures.items():
            yield from self._check_pictures(key, block, column)

    def _check_pictures(self, name: str, block: Block, column: pa.Array) -> Iterator[Finding]:
        """Pictures stored as PNG or JPEG files in a column."""
        episodes = self._folder.episodes
        assert episodes is not None
        size = self._folder.features[name].shape[:2]
        files = _picture_bytes(column)
        start = 0
        for row, length in zip(block.rows, block.lengths, strict=True):
            grids = []
            for frame in range(int(length)):
                data = files[start + frame].as_py()
                declared = picture_size(data) if data else None
                picture = None
                if declared == size:
                    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
                if picture is None:
                    where = f"Picture {frame} of '{name}' in episode {episodes.index[row]}"
                    self._complete = False
                    if declared is not None and declared != size:
                        sentence = f"{where} is {declared[0]}x{declared[1]}; info.json says {size[0]}x{size[1]}."
                        yield Finding("picture_size", name, sentence)
                    else:
                        yield Finding("picture_unreadable", name, f"{where} cannot be decoded.")
                    break
                grids.append(cells(picture))
            else:
                pictures = np.stack(grids)
                self._brightness[name] += pictures.astype(np.float64).mean(1).sum(), len(pictures)
                self._cameras[name].add(int(row), int(episodes.index[row]), pictures, 0.0)
            start += int(length)

    def _moves(self, row: int, stretch: Stretch) -> bool:
        """Whether the robot moves in a stretch of an episode; its data are read again, which is rarely asked for."""
        folder, episodes = self._folder, self._folder.episodes
        assert episodes is not None
        names = [key for key, summary in self._summaries.items() if folder.is_joint(key) and summary.finite]
        number = int(episodes.data.file_of[row])
        rows = episodes.data.owners(number)
        if not names:
            return False
        try:
            with DataFile(folder, episodes.data.files[number]) as file:
                for block in file.blocks(rows, episodes.length[rows], names):
                    for name in names if row in block.rows else ():
                        values = dict(block.each(name))[row][stretch.start : stretch.stop]
                        summary = self._summaries[name]
                        moved = np.ptp(values.reshape(len(values), -1).astype(np.float64), axis=0)
                        share = moved / np.maximum(summary.high - summary.low, 1e-12)
                        entry = folder.features[name]
                        if any(
                            share[i] > MOVED_SHARE and not is_gripper(component(entry, i)) for i in range(len(share))
                        ):
                            return True
        except FileFault:
            return False
        return False

    # -- statistics ---------------------------------------------------------------------------------

    def _read_statistics(self) -> Iterator[Finding]:
        folder = self._folder
        by_episode = folder.version != "v3.0" and is_file(folder.root / STATS_V2)
        name = STATS_V2 if by_episode else layout.STATS
        path = folder.root / name
        if not is_file(path):
            yield Finding("statistics_missing", name, f"There is no {name}; a policy cannot be trained without.")
            return
        try:
            if by_episode:
                for line in read_lines(path):
                    number, stats = line.get("episode_index"), line.get("stats")
                    if type(number) is not int:
                        raise DatasetError(f"A line of '{path}' names no episode.")
                    self._stored_by_episode[number] = statistics_of(stats, path)
                missing = [i for i in map(int, folder.episodes.index) if i not in self._stored_by_episode]  # type: ignore[union-attr]
                if missing and folder.whole:
                    raise DatasetError(f"'{path}' has no statistics of {listed(missing)}.")
            else:
                self._stored = read_statistics(path)
        except DatasetError as error:
            self._stored, self._stored_by_episode = {}, {}
            yield Finding("statistics", name, str(error))

    def _episode_statistics(self, number: int, name: str, values: np.ndarray) -> Iterator[Finding]:
        known = self._stored_by_episode.get(number, {}).get(name)
        if known is None:
            return
        one = Summary()
        one.add(values, {})
        for fault in check_statistics(self._folder, {name: one}, {name: known}, False):
            yield Finding("statistics", f"{name} in episode {number}", f"Episode {number}: {fault.sentence}")

    def _advance(self, name: str) -> None:
        episodes = self._folder.episodes
        if self._progress is not None and episodes is not None:
            tracks = episodes.videos.values() if self._videos else ()
            total = len(episodes.data.files) + sum(len(track.files) for track in tracks)
            self._progress(self._done, total, name)
        self._done += 1


def _picture_bytes(column: pa.Array) -> pa.Array:
    """The files themselves, whichever way a column wraps them."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    return column.field("bytes") if pa.types.is_struct(column.type) else column
