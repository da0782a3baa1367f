"""What a check says: one sentence under a name that stays the same from release to release."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ERROR, WARNING = "error", "warning"
LONGEST = 800
"""Of a sentence [characters]."""

MEANINGS: dict[str, tuple[str, str]] = {
    # The folder and what it says of itself.
    "info_missing": (ERROR, "there is no meta/info.json"),
    "info_unreadable": (ERROR, "meta/info.json is no JSON mapping"),
    "version": (ERROR, "the format's version is not one that is known"),
    "info_entries": (ERROR, "an entry of info.json is missing or malformed"),
    "template": (ERROR, "a path template leads out of the folder or has fields that the format does not know"),
    "contract": (ERROR, "contract.yaml or praxon.json cannot be read, or names other features than info.json"),
    "contract_missing": (
        WARNING,
        "a dataset that Praxon wrote has lost its contract.yaml: kinds, units and joint names",
    ),
    "tasks": (ERROR, "the table of tasks is missing, unreadable or not numbered from 0"),
    "task_count": (ERROR, "total_tasks is not the number of tasks"),
    "episode_count": (ERROR, "total_episodes is not the number of episodes in the table"),
    "no_episodes": (WARNING, "there is no finished episode"),
    "frame_count": (ERROR, "total_frames is not the sum of the episodes' lengths"),
    "video_count": (ERROR, "total_videos (v2.1) is not episodes times cameras"),
    "splits": (ERROR, "a split is malformed or names episodes that are not there"),
    "episode_table": (ERROR, "the table of episodes cannot be read or lacks a column"),
    "episode_order": (ERROR, "the table does not list episodes 0, 1, 2, ... in order"),
    "episode_range": (ERROR, "the episodes' ranges of frames have gaps, overlap, or are not as long as the episodes"),
    # Data files.
    "data_missing": (ERROR, "a data file is not there"),
    "data_unreadable": (ERROR, "a data file cannot be read to its end"),
    "implausible_size": (ERROR, "a file claims to unpack to absurdly more than its size"),
    "schema": (ERROR, "a column is missing, unknown, or of another type or shape than info.json says"),
    "episode_rows": (ERROR, "a data file has more or fewer rows than its episodes have frames"),
    "episode_index": (ERROR, "rows name another episode than the table of episodes does"),
    "frame_index": (ERROR, "frame_index does not count 0, 1, 2, ... within an episode"),
    "index": (ERROR, "index does not count all frames without gaps"),
    "timestamp": (ERROR, "timestamp is not frame_index / fps"),
    "task_index": (ERROR, "task_index points to no task, or to one that the episode does not have"),
    "not_finite": (ERROR, "values are NaN or infinite"),
    # Time.
    "rate": (ERROR, "the recording ran at another rate than fps says"),
    "stamps_backwards": (ERROR, "capture times go backwards"),
    "stamps_duplicate": (WARNING, "capture times repeat"),
    "stamps_gap": (WARNING, "capture times leave gaps of more than 1.5 periods"),
    # Videos and pictures.
    "video_missing": (ERROR, "a video file is not there"),
    "video_unreadable": (ERROR, "a video cannot be opened"),
    "video_truncated": (ERROR, "a video cannot be decoded to its last picture"),
    "video_frames": (ERROR, "a video holds more or fewer pictures than its episodes have frames"),
    "video_fps": (ERROR, "a video's pictures are spaced at another rate than fps"),
    "video_size": (ERROR, "a video's pictures are of another size than info.json says"),
    "video_codec": (WARNING, "a video's codec is not the one in info.json"),
    "video_pixels": (WARNING, "a video's pixel format is not the one in info.json"),
    "video_range": (ERROR, "an episode's from/to timestamps are not its pictures"),
    "video_overlap": (ERROR, "two episodes claim the same stretch of a video"),
    "picture_unreadable": (ERROR, "a picture stored as a file in a column cannot be decoded"),
    "picture_size": (ERROR, "a picture stored as a file in a column is of another size than info.json says"),
    "camera_frozen": (WARNING, "a camera shows the same picture for two seconds or more while the robot moves"),
    "camera_black": (WARNING, "a camera shows black for a second or more"),
    # Values.
    "constant_feature": (WARNING, "an observation or action has the same value in every frame"),
    "dead_component": (WARNING, "a component of the state never moves while the action of that name does"),
    "saturated": (WARNING, "a component rests at its extreme in many frames in mid-motion"),
    "joint_limits": (ERROR, "values lie outside the robot's joint limits"),
    "statistics": (ERROR, "stored statistics are not those of the data"),
    "statistics_missing": (WARNING, "there are no statistics; they are needed for training"),
    # What does not belong.
    "leftover": (WARNING, "a half-written or temporary file"),
    "orphan": (WARNING, "a data or video file that no episode refers to"),
    "temporary_images": (WARNING, "a folder of single pictures that a recorder had not yet encoded"),
}
"""Every name a finding may have, with its severity and meaning."""


@dataclass(frozen=True)
class Finding:
    """One fault.

    Args:
        name: a key of ``MEANINGS``.
        where: file, feature or episodes.
        sentence: what was found and what would be right.
    """

    name: str
    where: str
    sentence: str

    def __post_init__(self) -> None:
        # Names in a hostile dataset may be thousands of characters long.
        if len(self.sentence) > LONGEST:
            object.__setattr__(self, "sentence", f"{self.sentence[:LONGEST]} ...")

    @property
    def severity(self) -> str:
        """``error``: the data are not what they claim; ``warning``: they are usable, but somebody should look."""
        return MEANINGS[self.name][0]


def listed(numbers: Sequence[int] | np.ndarray, noun: str = "episode", most: int = 6) -> str:
    """'episode 3', 'episodes 3, 7', 'episodes 0, 1, 2, 3, 4, 5 and 12 more'."""
    shown = ", ".join(str(int(number)) for number in numbers[:most])
    more = f" and {len(numbers) - most} more" if len(numbers) > most else ""
    return f"{noun}{'s' if len(numbers) > 1 else ''} {shown}{more}"
