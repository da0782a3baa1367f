"""Check every promise that a dataset makes; --repair mends what a killed writer left.

LeRobot v3.0 and v2.1, by whomever it was written, one episode to a file or many. The exit status is 1 where there is an
error, 0 where there are at most warnings. A repair keeps whole episodes and deletes nothing: what it changes or takes out
lies in <folder>/.recovered afterwards; on a sound dataset it does nothing.
Example: praxon data check runs/lift/dataset
Example: praxon data check runs/lift/dataset --repair

findings:
  info_missing         error    there is no meta/info.json
  info_unreadable      error    meta/info.json is no JSON mapping
  version              error    the format's version is not one that is known
  info_entries         error    an entry of info.json is missing or malformed
  template             error    a path template leads out of the folder or has fields that the format does not know
  contract             error    contract.yaml or praxon.json cannot be read, or names other features than info.json
  contract_missing     warning  a dataset that Praxon wrote has lost its contract.yaml: kinds, units and joint names
  tasks                error    the table of tasks is missing, unreadable or not numbered from 0
  task_count           error    total_tasks is not the number of tasks
  episode_count        error    total_episodes is not the number of episodes in the table
  no_episodes          warning  there is no finished episode
  frame_count          error    total_frames is not the sum of the episodes' lengths
  video_count          error    total_videos (v2.1) is not episodes times cameras
  splits               error    a split is malformed or names episodes that are not there
  episode_table        error    the table of episodes cannot be read or lacks a column
  episode_order        error    the table does not list episodes 0, 1, 2, ... in order
  episode_range        error    the episodes' ranges of frames have gaps, overlap, or are not as long as the episodes
  data_missing         error    a data file is not there
  data_unreadable      error    a data file cannot be read to its end
  implausible_size     error    a file claims to unpack to absurdly more than its size
  schema               error    a column is missing, unknown, or of another type or shape than info.json says
  episode_rows         error    a data file has more or fewer rows than its episodes have frames
  episode_index        error    rows name another episode than the table of episodes does
  frame_index          error    frame_index does not count 0, 1, 2, ... within an episode
  index                error    index does not count all frames without gaps
  timestamp            error    timestamp is not frame_index / fps
  task_index           error    task_index points to no task, or to one that the episode does not have
  not_finite           error    values are NaN or infinite
  rate                 error    the recording ran at another rate than fps says
  stamps_backwards     error    capture times go backwards
  stamps_duplicate     warning  capture times repeat
  stamps_gap           warning  capture times leave gaps of more than 1.5 periods
  video_missing        error    a video file is not there
  video_unreadable     error    a video cannot be opened
  video_truncated      error    a video cannot be decoded to its last picture
  video_frames         error    a video holds more or fewer pictures than its episodes have frames
  video_fps            error    a video's pictures are spaced at another rate than fps
  video_size           error    a video's pictures are of another size than info.json says
  video_codec          warning  a video's codec is not the one in info.json
  video_pixels         warning  a video's pixel format is not the one in info.json
  video_range          error    an episode's from/to timestamps are not its pictures
  video_overlap        error    two episodes claim the same stretch of a video
  picture_unreadable   error    a picture stored as a file in a column cannot be decoded
  picture_size         error    a picture stored as a file in a column is of another size than info.json says
  camera_frozen        warning  a camera shows the same picture for two seconds or more while the robot moves
  camera_black         warning  a camera shows black for a second or more
  constant_feature     warning  an observation or action has the same value in every frame
  dead_component       warning  a component of the state never moves while the action of that name does
  saturated            warning  a component rests at its extreme in many frames in mid-motion
  joint_limits         error    values lie outside the robot's joint limits
  statistics           error    stored statistics are not those of the data
  statistics_missing   warning  there are no statistics; they are needed for training
  leftover             warning  a half-written or temporary file
  orphan               warning  a data or video file that no episode refers to
  temporary_images     warning  a folder of single pictures that a recorder had not yet encoded
"""

from pathlib import Path
from typing import Any

import numpy as np

from praxon.commands._hydra import Config
from praxon.commands._run import progress_bar, require
from praxon.commands.data._tables import console, keep_json, table
from praxon.contract import PolicyContract
from praxon.datasets import lerobot_format as layout
from praxon.datasets.check import Progress, check_dataset
from praxon.datasets.checks.finding import ERROR, Finding
from praxon.datasets.lerobot_index import read_features, read_info
from praxon.datasets.repair import refusal, repair_dataset
from praxon.errors import ConfigError, ContractError, DatasetError, RobotError
from praxon.robots.spec import RobotSpec

Limits = dict[str, tuple[np.ndarray, np.ndarray]]


def run(config: Config) -> dict[str, Any]:
    """Check, and repair where asked; returns the findings."""
    require(config.dataset is not None, "No dataset was given; praxon data check <folder> names one.")
    root = Path(str(config.dataset))
    limits = joint_limits(root, config.robot)
    result: dict[str, Any] = {"dataset": str(root)}
    with progress_bar("check", 100, percent=True) as advance:
        if config.repair:
            done = repair_dataset(root, limits, config.videos, _shown(advance))
            found = done.remaining
            result |= {"repaired": done.actions, "originals": done.folder}
        else:
            found = check_dataset(root, limits, config.videos, _shown(advance))
        advance(completed=100, note="")
    if config.repair:
        for action in result["repaired"]:
            console.print(action, markup=False, highlight=False)
        kept = (
            f"The originals are in '{root / result['originals']}'."
            if result["originals"]
            else "Nothing was to be mended."
        )
        console.print(kept, markup=False, highlight=False)
    errors = [finding for finding in found if finding.severity == ERROR]
    result |= {
        "errors": len(errors),
        "warnings": len(found) - len(errors),
        "findings": [
            {"name": each.name, "severity": each.severity, "where": each.where, "sentence": each.sentence}
            for each in found
        ],
    }
    _show(found, root)
    keep_json(config.json, result)
    if errors:
        names = ", ".join(dict.fromkeys(finding.name for finding in errors))
        warnings = len(found) - len(errors)
        counted = f"{len(errors)} error{'s' * (len(errors) != 1)} and {warnings} warning{'s' * (warnings != 1)}"
        why = f" What is left: {refusal(errors)}" if config.repair else ""
        raise DatasetError(f"The dataset '{root}' has {counted}: {names}.{why}")
    return result


def joint_limits(root: Path, robot: str | None) -> Limits:
    """Limits of every feature that holds joint positions of a robot we know.

    Args:
        root: folder of the dataset.
        robot: name of the robot's config; what the dataset says where None.
    """
    try:
        info = read_info(root)
        features = read_features(info)
    except (DatasetError, KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return {}  # the check will say so
    joints: set[str] = {name for name in ("observation.state", "action") if name in features}
    named = robot or info.get("robot_type")
    try:
        contract = PolicyContract.load(root / layout.CONTRACT)
        named = robot or contract.robot
        joints = {feature.name for feature in contract if feature.kind == "joint_position"}
    except ContractError:
        pass  # written by others
    spec = _robot(str(named), required=robot is not None)
    if spec is None:
        return {}
    lower, upper = (np.array([getattr(joint.limits, side) for joint in spec.joints]) for side in ("lower", "upper"))
    return {name: (lower, upper) for name in joints if name in features and features[name].names == spec.joint_names}


def _robot(name: str, required: bool) -> RobotSpec | None:
    from praxon.sim.factory import make_robot

    try:
        return make_robot(name)
    except (ConfigError, RobotError):
        if required:
            raise
        return None


def _shown(advance: Any) -> Progress:
    return lambda done, total, name: advance(completed=100 * done / max(total, 1), note=name)


def _show(found: list[Finding], root: Path) -> None:
    if found:
        rows = [[finding.severity, finding.name, finding.sentence] for finding in found]
        table(f"{root}: {len(found)} findings", ["severity", "finding", "what was found"], rows)
    else:
        console.print(f"'{root}' is sound.", markup=False, highlight=False)
