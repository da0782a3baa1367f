"""One episode as a viewer needs it: values and times in memory, pictures when they are asked for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from praxon.contract import Feature
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.source import Episode, Source


@dataclass(frozen=True)
class Recording:
    """One episode.

    Args:
        number: of the episode in its dataset.
        tasks: the instruction in words, one for all frames or one for each.
        times_s: (T,) since the first frame, rising [s].
        values: feature -> (T, *shape), everything that is not pictures.
        pictures: feature -> function from a frame to its picture (height, width, 3) uint8 RGB.
    """

    number: int
    tasks: tuple[str, ...]
    times_s: np.ndarray
    values: Mapping[str, np.ndarray]
    pictures: Mapping[str, Callable[[int], np.ndarray]]

    def __len__(self) -> int:
        return len(self.times_s)

    def task_at(self, frame: int) -> str:
        """The instruction at a frame."""
        return self.tasks[min(frame, len(self.tasks) - 1)]

    def frame_at(self, time_s: float) -> int:
        """The last frame that is not after ``time_s``."""
        return max(int(np.searchsorted(self.times_s, time_s, side="right")) - 1, 0)


class Recordings(Protocol):
    """Episodes to choose from."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Recording: ...


class SourceRecordings:
    """Episodes of a dataset, or of anything else that is read as a ``Source``, such as a recording before it is converted."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, number: int) -> Recording:
        """Episode ``number``."""
        source, episode = self._source, self._source.episode(number)
        features = (*source.contract, *source.extra_features)
        length = int(episode.frames[source.contract.action.name].shape[0])
        values = {f.name: np.asarray(_cut(episode.frames[f.name], 0, length)) for f in features if not is_picture(f)}
        pictures = {f.name: self._pictures(number, episode, f.name) for f in features if is_picture(f)}
        tasks = (episode.task,) if isinstance(episode.task, str) else tuple(episode.task)
        times_s = times(episode.stamps_ns, length, source.contract.chunk.control_period_s)
        return Recording(number, tasks, times_s, values, pictures)

    def _pictures(self, number: int, episode: Episode, name: str) -> Callable[[int], np.ndarray]:
        source = self._source
        if isinstance(source, LeRobotDataset):  # it keeps files open and pictures decoded
            start = source.episode_slice(number).start
            return lambda frame: shown(source.frames(name, np.array([start + frame]))[0])
        return lambda frame: shown(_cut(episode.frames[name], frame, frame + 1)[0])


def is_picture(feature: Feature) -> bool:
    """Whether a feature is shown as a picture and not as curves."""
    return feature.kind == "image"


def shown(picture: np.ndarray) -> np.ndarray:
    """Any picture as (height, width, 3) uint8: floats are taken as [0, 1], one channel as grey, a fourth is left out."""
    if picture.dtype != np.uint8:
        scale = 255 if np.issubdtype(picture.dtype, np.floating) else 1
        picture = np.clip(np.nan_to_num(picture) * scale, 0, 255).astype(np.uint8)
    if picture.ndim == 2:
        picture = picture[..., None]
    return np.ascontiguousarray(np.repeat(picture, 3, axis=2) if picture.shape[2] < 3 else picture[..., :3])


def times(stamps_ns: np.ndarray | None, length: int, period_s: float) -> np.ndarray:
    """(length,) since the first frame [s]: by the true capture stamps where they rise, else by the nominal period."""
    if stamps_ns is not None and len(stamps_ns) == length and (np.diff(stamps_ns) > 0).all():
        return (stamps_ns - stamps_ns[0]) / 1e9
    return np.arange(length) * period_s


def _cut(frames: Any, start: int, stop: int) -> np.ndarray:
    """Frames of an array, of a stored video or of anything that is read as it is sliced."""
    return np.asarray(frames.read(start, stop) if hasattr(frames, "read") else frames[start:stop])
