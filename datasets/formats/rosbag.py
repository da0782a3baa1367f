"""MCAP and rosbag2 recordings: each bag becomes an episode, its topics chosen by the contract and aligned by stamp.

A frame is what the policy node would have seen at one tick. Ticks begin at the first command, because commands are what a
controller sends at its ticks, and follow at the contract's rate; those before the first message of every feature are
skipped, never filled. What is late, missing or out of order is counted in the metadata.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from praxon.contract import Feature, PolicyContract
from praxon.datasets import alignment
from praxon.datasets.formats._bag import Bag, find_bags, looks_like_bags
from praxon.datasets.formats._bag_pictures import BagPictures
from praxon.datasets.formats._bag_report import report_feature, report_topic
from praxon.datasets.formats._bag_streams import Recording, Wanted, collect, describe_topics, wanted_features
from praxon.datasets.formats._ros_types import Decoder
from praxon.datasets.source import Episode, Frames
from praxon.errors import DatasetError, nearest

TASK_KEYS = ("task", "prompt", "instruction", "lerobot.operator_prompt")
"""Entries of a bag's custom_data that may hold the instruction, in the order of preference."""
MAX_TICKS = 10_000_000
MANY = 10
"""From this many messages on, a stream is one that goes on all the time."""


def recognises(path: Path) -> bool:
    """Whether ``path`` looks like a bag or a folder of bags; never raises."""
    return looks_like_bags(Path(path))


def open_source(
    path: Path,
    contract: PolicyContract | str | Path | None = None,
    topics: Mapping[str, str] | None = None,
    tolerance_s: float | None = None,
    time: str = "header",
    align: str | Mapping[str, str] = "hold",
    robot: str | None = None,
    task: str | None = None,
) -> "RosbagSource":
    """Bags as episodes.

    Args:
        path: a bag (a folder with metadata.yaml, or one .mcap or .db3 file), or a folder of bags.
        contract: what to read and at which rate, or the path of its YAML; required.
        topics: feature -> topic, where that is not the one the policy node reads: ``joint_states``,
            ``objects/<source>/pose``, ``cameras/<source>/image`` (or ``.../image/compressed``), and for the action the
            only ``.../joint_trajectory``. Longer names that end so will do where there is only one. A topic given for the
            action may also hold JointStates, those of the leading arm of a teleoperated pair.
        tolerance_s: age from which a value is stale [s]; the contract's maximum observation age where None.
        time: 'header' stamps, or the time of 'receive'.
        align: 'hold', 'asof', 'drop' or 'live' (datasets/alignment.py), or feature -> one of these. Ticks without a value
            for some feature are left out; 'hold' always has one, and counts those that are stale.
        robot: name of the robot; the contract's where None.
        task: the instruction; from each bag's custom_data where None.

    Raises:
        DatasetError: a setting, file or topic is missing or wrong; the whole of every bag is looked at.
        ContractError: the contract cannot be read.
    """
    bags = find_bags(Path(path))
    if contract is None:
        counts = Counter(stored.topic for stored, _ in bags[0].messages())
        raise DatasetError(
            f"Recordings need a contract that says which topics to read and how often (contract=<contract.yaml>); "
            f"'{bags[0].name}' has {describe_topics(counts)}."
        )
    if not isinstance(contract, PolicyContract):
        contract = PolicyContract.load(Path(contract))
    names = [feature.name for feature in contract]
    policies = dict.fromkeys(names, align) if isinstance(align, str) else {**dict.fromkeys(names, "hold"), **align}
    _require_known("align names the feature", policies, names)
    _require_known("align is", policies.values(), alignment.POLICIES)
    _require_known("time is", [time], ("header", "receive"))
    tolerance_s = contract.max_observation_age_s if tolerance_s is None else tolerance_s
    if not tolerance_s >= 0:
        raise DatasetError(f"tolerance_s is {tolerance_s}; an age in seconds, not negative, would do.")
    wanted = wanted_features(contract, topics or {})
    return RosbagSource(bags, contract, wanted, policies, tolerance_s, time == "receive", robot, task)


@dataclass(frozen=True)
class Aligned:
    """One recording on its ticks.

    Args:
        recording: what was read.
        rows: feature -> (T,) which of its usable messages each frame holds.
        stamps_ns: (T,) of the joints' messages, the measured times of the frames; they repeat where joints came slower.
    """

    recording: Recording
    rows: dict[str, np.ndarray]
    stamps_ns: np.ndarray


class RosbagSource:
    """A ``Source``; see ``open_source``. ``metadata['bags']`` has a report on each bag."""

    def __init__(
        self,
        bags: list[Bag],
        contract: PolicyContract,
        wanted: list[Wanted],
        policies: Mapping[str, str],
        tolerance_s: float,
        by_receipt: bool,
        robot: str | None,
        task: str | None,
    ) -> None:
        self.contract = contract
        self.extra_features: tuple[Feature, ...] = ()
        self.robot_type: str | None = robot or contract.robot
        self.splits: dict[str, list[int]] = {}
        self._bags, self._wanted, self._policies = bags, wanted, policies
        self._tolerance_ns, self._by_receipt = tolerance_s * 1e9, by_receipt
        self._decoder = Decoder()
        self._tasks: list[str] = []
        self._latest: tuple[int, Aligned] | None = None
        joints = [feature for feature in contract.observations if feature.kind == "joint_position"]
        self._reference = (joints or list(contract))[0].name
        reports = []
        for i, bag in enumerate(bags):
            aligned, report = self._align(bag)
            self._latest = i, aligned
            self._tasks.append(task or _task_of(bag))
            reports.append(report)
        self.metadata: dict[str, Any] = {
            "format": "rosbag",
            "time": "receive" if by_receipt else "header",
            "align": dict(policies),
            "tolerance_s": tolerance_s,
            "bags": reports,
        }

    def __len__(self) -> int:
        return len(self._bags)

    def warnings(self) -> list[str]:
        """What of the recordings is lost, left out or late, a sentence each; all figures are in ``metadata['bags']``."""
        found = []
        for report in self.metadata["bags"]:
            here, frames = f"Recording '{report['name']}'", report["frames"]
            found += [f"{here}: {phrase}." for phrase in report["recovered"]]
            if report["left_out_ticks"]:
                found.append(
                    f"{here}: {report['left_out_ticks']} ticks lack a value and are left out; {frames} are kept."
                )
            found += [
                f"{here}: in {each['stale_ticks']} of {frames} frames {name} is older than {self._tolerance_ns / 1e9:g} s "
                f"(up to {each['largest_age_s']:.2f} s); align=asof leaves them out."
                for name, each in report["features"].items()
                if each["stale_ticks"]
            ]
        return found

    def episode(self, index: int) -> Episode:
        """One bag; its pictures are decoded as they are sliced."""
        if self._latest is None or self._latest[0] != index:
            self._latest = index, self._align(self._bags[index])[0]
        aligned = self._latest[1]
        frames: dict[str, Frames] = {}
        for feature in self.contract:
            series, rows = aligned.recording.series[feature.name], aligned.rows[feature.name]
            if feature.kind == "image":
                frames[feature.name] = BagPictures(self._bags[index], self._decoder, series, rows, feature)
            else:
                frames[feature.name] = np.stack(series.values)[rows].astype(feature.dtype)
        return Episode(frames, aligned.stamps_ns, self._tasks[index])

    # -- alignment --------------------------------------------------------------------------------

    def _align(self, bag: Bag) -> tuple[Aligned, dict[str, Any]]:
        recording = collect(bag, self._wanted, self._decoder, self._by_receipt)
        tracks = {name: self._track(bag, name, recording) for name in recording.series}
        _require_common_clock(bag, recording, tracks)
        period_s = self.contract.chunk.control_period_s
        start_ns = int(tracks[self.contract.action.name].stamps_ns[0])
        first_ns = max(start_ns, *(int(track.stamps_ns[0]) for track in tracks.values()))
        last_ns = max(int(track.stamps_ns[-1]) for track in tracks.values())
        if (last_ns - first_ns) / 1e9 > MAX_TICKS * period_s:
            raise DatasetError(
                f"Recording '{bag.name}' has stamps over {(last_ns - first_ns) / 1e9:.0f} s, more than {MAX_TICKS} ticks; "
                "time=receive takes the times of receipt."
            )
        ticks = alignment.ticks_between(start_ns, first_ns, last_ns, period_s)
        places = {name: self._pick(name, tracks, ticks) for name in tracks}
        complete = np.all([found != alignment.NONE for found in places.values()], axis=0)
        if not complete.any():
            raise DatasetError(
                f"Recording '{bag.name}' has no tick at which all of {', '.join(places)} have a value; "
                f"values missing: {', '.join(f'{name} {(found < 0).sum()} of {len(ticks)}' for name, found in places.items())}."
            )
        kept = {name: found[complete] for name, found in places.items()}
        report: dict[str, Any] = {
            "name": bag.name,
            "messages": recording.num_messages,
            "recovered": [*bag.recovered],
            "frames": int(complete.sum()),
            "skipped_ticks": math.ceil((first_ns - start_ns) / (period_s * 1e9)),
            "left_out_ticks": int((~complete).sum()),
            "topics": {name: report_topic(clock) for name, clock in recording.clocks.items()},
            "features": {
                name: report_feature(recording.series[name], track, places[name], ticks, complete, self._tolerance_ns)
                for name, track in tracks.items()
            },
        }
        if bag.promised not in (None, recording.num_messages):
            report["recovered"].append(f"metadata.yaml promises {bag.promised} messages")
        rows = {name: tracks[name].rows[found] for name, found in kept.items()}
        stamps_ns = tracks[self._reference].stamps_ns[kept[self._reference]]
        return Aligned(recording, rows, stamps_ns), report

    def _track(self, bag: Bag, name: str, recording: Recording) -> alignment.Track:
        series = recording.series[name]
        track = alignment.make_track(np.array(series.stamps_ns, np.int64), np.array(series.received_ns, np.int64))
        if not len(track.stamps_ns):
            causes = series.dropped + track.dropped
            counted = ", ".join(f"{count} {cause}" for cause, count in causes.items())
            hint = f" {series.sentence}" if series.sentence else " time=receive takes the times of receipt."
            raise DatasetError(
                f"Recording '{bag.name}' has no usable message for '{name}' on {series.topic.name} ({counted}).{hint}"
            )
        return track

    def _pick(self, name: str, tracks: Mapping[str, alignment.Track], ticks: np.ndarray) -> np.ndarray:
        policy = self._policies[name]
        if policy == "live" and name not in (self._reference, self.contract.action.name):
            return alignment.pick_nearest(tracks[name], tracks[self._reference], ticks, self._tolerance_ns)
        # Commands and the reference itself: the newest there is.
        policy = "hold" if policy == "live" else policy
        period_ns = self.contract.chunk.control_period_s * 1e9
        return alignment.pick(tracks[name], ticks, policy, period_ns, self._tolerance_ns)


def _require_common_clock(bag: Bag, recording: Recording, tracks: Mapping[str, alignment.Track]) -> None:
    """Streams that go on all the time must overlap in time; one that was latched once may be older."""
    going = {name: track.stamps_ns for name, track in tracks.items() if len(track.stamps_ns) >= MANY}
    if len(going) < 2:
        return
    late, early = max(going, key=lambda name: going[name][0]), min(going, key=lambda name: going[name][-1])
    if going[late][0] > going[early][-1]:
        apart_s = (going[late][0] - going[early][-1]) / 1e9
        topics = [recording.series[name].topic.name for name in (early, late)]
        raise DatasetError(
            f"Recording '{bag.name}' has stamps on {topics[0]} that end {apart_s:.3f} s before those on {topics[1]} begin, so "
            "their clocks do not agree; time=receive takes the times of receipt."
        )


def _task_of(bag: Bag) -> str:
    custom = bag.custom_data
    for key in TASK_KEYS:
        if custom.get(key):
            return custom[key]
    raise DatasetError(
        f"Recording '{bag.name}' does not say what was to be done: its custom_data has {', '.join(custom) or 'no entries'}, "
        f"none of {', '.join(TASK_KEYS)}; give the instruction as task=<text>."
    )


def _require_known(what: str, given: Any, known: Any) -> None:
    for each in given:
        if each not in known:
            raise DatasetError(f"{what} '{each}'.{nearest(str(each), known)} Known: {', '.join(known)}.")
