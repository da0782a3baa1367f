"""Recording one episode frame by frame: numbers are kept, pictures encoded as they come, so that memory stays small.

The episode counts from ``finish`` on. What is left of one that was not finished are files no episode names.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from praxon.datasets import lerobot_format as layout
from praxon.datasets.durable import part_of, put_in_place
from praxon.datasets.picture_files import encode_png
from praxon.datasets.video_file import VideoWriter
from praxon.errors import ContractError, DatasetError

if TYPE_CHECKING:
    from praxon.datasets.lerobot_writer import LeRobotWriter


class EpisodeRecorder:
    """The open episode of a writer; a context manager that finishes it, or drops it where an exception leaves.

    Args:
        writer: of the dataset; one episode may be open at a time.
        task: the instruction in words; the writer's own where None.

    Attributes:
        num_frames: added so far.
        is_open: frames can be added; not after ``finish`` or ``abort``.
    """

    def __init__(self, writer: "LeRobotWriter", task: str | None) -> None:
        self.num_frames = 0
        self._writer, self._task = writer, task
        self._columns: dict[str, list[Any]] = {feature.name: [] for feature in writer.features}
        self._stamps: list[int] = []
        self._videos: dict[str, VideoWriter] = {}
        self.is_open = True

    def add(self, frame: Mapping[str, np.ndarray], stamp_ns: int) -> None:
        """Add one frame.

        Args:
            frame: every feature of the contract and every extra one, in its shape and type.
            stamp_ns: true capture time [ns]; never before the last one.

        Raises:
            DatasetError: the frame is not what the contract says, or is earlier than the last; it is not added, the
                episode goes on. Or the disk refuses; the episode is dropped then.
        """
        self._require_open()
        self._check(frame, stamp_ns)
        try:
            for feature in self._writer.features:
                value = np.asarray(frame[feature.name])
                if not layout.is_picture(feature):
                    self._columns[feature.name].append(value.copy())
                elif self._writer.codec == layout.PNG:
                    self._columns[feature.name].append(encode_png(value))
                else:
                    self._video(feature.name, value).add(value)
            self._stamps.append(int(stamp_ns))
            self.num_frames += 1
        except BaseException:  # some features have this frame and others have not
            self.abort()
            raise

    def finish(self) -> int:
        """Put the episode into the dataset; it is on disk when this returns, with its index.

        Raises:
            DatasetError: there is no frame, or the disk refuses; the episode is dropped, the finished ones are safe.
        """
        self._require_open()
        if not self.num_frames:
            self.abort()
            raise DatasetError(f"Episode {self._writer.num_episodes} has no frames; nothing was written.")
        self.is_open = False
        try:
            for camera, video in self._videos.items():
                video.close()
                path = self._writer.root / self._writer.video_path(camera)
                put_in_place(part_of(path), path)
            columns = {
                name: values if values and isinstance(values[0], bytes) else np.stack(values)
                for name, values in self._columns.items()
                if values
            }
            return self._writer.commit(columns, np.array(self._stamps, np.int64), self._task)
        except OSError as error:
            raise DatasetError(
                f"Episode {self._writer.num_episodes} could not be written ({error.strerror or error}); "
                f"the {self._writer.num_episodes} finished episodes are safe."
            ) from error
        finally:
            self.abort()  # deletes what is not in its place, which is nothing when all went well

    def abort(self) -> None:
        """Drop the episode; nothing of it stays."""
        self.is_open = False
        for video in self._videos.values():
            video.discard()
        self._videos.clear()

    def __enter__(self) -> "EpisodeRecorder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.is_open:
            return
        if kind is None:
            self.finish()
        else:
            self.abort()

    def _require_open(self) -> None:
        if not self.is_open:
            raise DatasetError("This episode is over; open_episode() opens the next one.")

    def _check(self, frame: Mapping[str, np.ndarray], stamp_ns: int) -> None:
        here = f"Frame {self.num_frames} of episode {self._writer.num_episodes}"
        wanted = {feature.name for feature in self._writer.features}
        if set(frame) != wanted:
            raise DatasetError(
                f"{here} has the features {', '.join(sorted(frame))}; the contract says {', '.join(sorted(wanted))}."
            )
        for feature in self._writer.features:
            value = np.asarray(frame[feature.name])
            try:
                feature.check(value)
            except ContractError as error:
                raise DatasetError(f"{here}: {error}") from error
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise DatasetError(f"{here}: feature '{feature.name}' holds values that are not finite.")
        if not isinstance(stamp_ns, (int, np.integer)) or not -(2**63) <= stamp_ns < 2**63:
            raise DatasetError(f"{here} has the stamp {stamp_ns}; whole nanoseconds are expected.")
        if not isinstance(stamp_ns, (int, np.integer)) or isinstance(stamp_ns, bool):
            raise DatasetError(f"{here} has the stamp {stamp_ns!r}; whole nanoseconds are needed.")
        if self._stamps and stamp_ns < self._stamps[-1]:
            raise DatasetError(f"{here} has the stamp {stamp_ns} ns, before the last one, {self._stamps[-1]} ns.")

    def _video(self, camera: str, picture: np.ndarray) -> VideoWriter:
        video = self._videos.get(camera)
        if video is None:
            path = part_of(self._writer.root / self._writer.video_path(camera))
            path.parent.mkdir(parents=True, exist_ok=True)
            height, width = picture.shape[:2]
            video = self._videos[camera] = VideoWriter(path, self._writer.fps, height, width, self._writer.codec)
        return video
