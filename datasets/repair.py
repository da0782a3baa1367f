"""Repairing a dataset that a writer left when it was killed: whole episodes stay, nothing is deleted, nothing is guessed.

What is changed or taken out lies under ``<root>/.recovered/<n>`` afterwards.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from praxon.datasets import lerobot_format as layout
from praxon.datasets.check import Progress, check_dataset
from praxon.datasets.checks.counts import SPLIT
from praxon.datasets.checks.finding import ERROR, Finding, listed
from praxon.datasets.checks.folder import STATS_V2, Folder, Track, open_folder
from praxon.datasets.checks.leftovers import find_leftovers
from praxon.datasets.checks.values import Limits
from praxon.datasets.checks.videos import look_at
from praxon.datasets.lerobot_reader import MAX_STATISTICS_PICTURES, LeRobotDataset
from praxon.datasets.metadata_files import read_json
from praxon.datasets.repairs.journal import Journal, changing, resume
from praxon.datasets.repairs.renumber import Keeping, stage
from praxon.datasets.statistics import PictureStatistics, feature_statistics, to_json
from praxon.datasets.video_file import VideoReader
from praxon.errors import DatasetError

COUNTS = {"episode_count", "frame_count", "task_count", "video_count", "splits"}
LOST = {"data_missing", "data_unreadable", "video_missing", "video_unreadable", "video_truncated"}
SURPLUS = {"video_frames", "episode_rows"}
STATISTICS = {"statistics", "statistics_missing"}
OUTSIDE = {"leftover", "orphan", "temporary_images"}
REPAIRABLE = COUNTS | LOST | SURPLUS | STATISTICS | OUTSIDE | {"episode_table"}

MOST_PICTURES = 10**7
UNKNOWABLE = {
    "statistics": "there are none of values that are no numbers",
    "not_finite": "what was measured there is not known",
    "rate": "whether the stamps or the label is right, only who recorded it knows",
    "timestamp": "whether the times or the label is right, only who recorded it knows",
    "stamps_backwards": "when the frames were taken is not known",
    "video_frames": "which picture belongs to which frame is not known",
    "video_fps": "which picture belongs to which frame is not known",
    "video_range": "which picture belongs to which frame is not known",
    "video_overlap": "which of the episodes the pictures belong to is not known",
    "video_size": "whether the video or the label is right is not known",
    "episode_rows": "which rows belong to which episode is not known",
    "episode_index": "which rows belong to which episode is not known",
    "episode_table": "which rows belong to which episode is not known",
    "frame_index": "in which order the frames were taken is not known",
    "index": "in which order the frames were taken is not known",
    "task_index": "which instruction was given is not known",
    "tasks": "which instructions were given is not known",
    "joint_limits": "whether the values or the limits are right is not known",
}
"""Why no repair can mend a fault; those that are not here are of the same kind."""


@dataclass
class Repair:
    """What was done.

    Args:
        actions: sentences, in order.
        folder: where the originals are, relative to the dataset; ``None`` where nothing was changed.
        remaining: what a check finds now.
    """

    actions: list[str] = field(default_factory=list)
    folder: str | None = None
    remaining: list[Finding] = field(default_factory=list)


def repair_dataset(
    root: Path, limits: Limits | None = None, videos: bool = True, progress: Progress | None = None
) -> Repair:
    """Mend what can be mended.

    Args:
        root, limits, videos, progress: as for ``check_dataset``. Without ``videos`` damaged videos are not found.

    Returns:
        What was done; on a sound dataset, nothing.

    Raises:
        DatasetError: the folder has faults that no repair can know how to mend, and none that it can; or no episode is left;
            or the disk refuses. Nothing has been changed then, or the next repair goes on.
    """
    root = Path(root)
    done = Repair()
    if root.is_dir():
        for name in resume(root):
            done.actions.append(f"An earlier repair was cut off; its changes are finished ({name}).")
            done.folder = name
    found = check_dataset(root, limits, videos, progress)
    broken = [finding for finding in found if finding.name not in REPAIRABLE and _stops(finding)]
    if broken:
        raise DatasetError(f"Nothing was changed in '{root}': {refusal(broken)}")
    folder, _ = open_folder(root)
    assert folder is not None, "a folder that cannot be opened has a finding that stops"
    names = {finding.name for finding in found}
    if names & (COUNTS | LOST | SURPLUS | OUTSIDE | {"episode_table"}):
        _mend_structure(folder, found, done)
    # Of values that are no numbers there are no statistics.
    if "not_finite" not in names and names & (STATISTICS | COUNTS | LOST | SURPLUS | {"episode_table"}):
        _mend_statistics(root, done)
    done.remaining = check_dataset(root, limits, videos, progress) if done.actions else found
    return done


def refusal(findings: Sequence[Finding]) -> str:
    """One sentence: the first faults, and why they are not mended."""
    parts = []
    for finding in findings[:3]:
        why = UNKNOWABLE.get(finding.name, "what would be right is not known")
        parts.append(f"{finding.name}: {finding.sentence.rstrip('.')}; no repair mends this, as {why}")
    more = f" ({len(findings) - 3} more)" if len(findings) > 3 else ""
    return "; ".join(parts) + more + "."


def _stops(finding: Finding) -> bool:
    """Faults of values leave the files usable; those of structure make every further step a guess."""
    values = {"not_finite", "rate", "timestamp", "stamps_backwards", "joint_limits", "video_fps", "video_size"}
    return finding.severity == ERROR and finding.name not in values


# -- structure ----------------------------------------------------------------------------------------------


def _mend_structure(folder: Folder, found: Sequence[Finding], done: Repair) -> None:
    with changing(folder.root) as journal:
        said = list(_stage_structure(folder, found, journal))
        if journal.is_empty:
            return
    done.actions += said
    done.folder = journal.name


def _stage_structure(folder: Folder, found: Sequence[Finding], journal: Journal) -> Iterator[str]:
    episodes = folder.episodes
    if episodes is None:
        tables = [finding for finding in found if finding.name == "episode_table"]
        raise DatasetError(f"Nothing was changed in '{folder.root}': {refusal(tables)}")
    lost, damaged = _lost(folder, found)
    in_order = np.argsort(episodes.index, kind="stable")
    if (in_order != np.arange(len(in_order))).any() or len(np.unique(episodes.index)) != len(episodes):
        raise DatasetError(f"Nothing was changed in '{folder.root}': its table of episodes is not in order.")
    keeping = Keeping(
        folder,
        np.array([row for row in range(len(episodes)) if row not in lost], np.int64),
        frozenset({*_surplus(folder, found, "video_frames"), *damaged}),
        frozenset(_surplus(folder, found, "episode_rows")),
    )
    if not len(episodes) and not folder.bad_tables:
        raise DatasetError(
            f"Nothing was changed in '{folder.root}': it has no table of episodes, which LeRobot writes when recording ends; "
            f"the {folder.info['total_episodes']} episodes that info.json counts are in Parquet files without a footer."
        )
    if not len(keeping.rows):
        why = f"{len(folder.bad_tables)} of its tables of episodes and the files of the others cannot be read"
        raise DatasetError(f"Nothing was changed in '{folder.root}': no episode would be left, as {why}.")
    for name in folder.bad_tables:
        journal.set_aside(name)
        yield (
            f"'{name}' has no readable contents (a writer that is killed leaves a Parquet file without its footer); "
            "its episodes are lost unless their rows can be recovered from the file, which is kept."
        )
    stage(keeping, journal)
    for why, rows in sorted(_by_reason(lost).items()):
        yield f"Dropped {listed(episodes.index[rows].tolist())}: {why}."
    if bool(keeping.changes_numbers.any()):
        first = int(np.flatnonzero(keeping.changes_numbers)[0])
        yield f"Episodes from number {first} on were renumbered; index columns and ranges follow."
    for name in sorted(keeping.cut | keeping.trim):
        yield f"'{name}' was cut to the frames of its episodes."
    unlisted = folder.info["total_episodes"] - len(episodes)
    if unlisted > 0 and not folder.bad_tables:
        yield (
            f"{unlisted} episodes that info.json counts are in no table; a writer that is killed leaves their Parquet files "
            "without a footer. They are lost unless their rows can be recovered from the files, which are kept."
        )
    yield from _stage_leftovers(folder, keeping, journal)
    yield from _stage_info(folder, keeping, journal)


def _lost(folder: Folder, found: Sequence[Finding]) -> tuple[dict[int, str], set[str]]:
    """Rows of the table whose data or pictures cannot be read -> why; and videos of which only the beginning can."""
    episodes = folder.episodes
    assert episodes is not None
    bad = {finding.where: finding for finding in found if finding.name in LOST}
    lost: dict[int, str] = {}
    cut = set()
    for track in (episodes.data, *episodes.videos.values()):
        for number, name in enumerate(track.files):
            if name not in bad:
                continue
            rows = track.owners(number)
            if bad[name].name == "video_truncated" and len(rows) > 1:
                intact = _intact(folder, name)
                gone = [row for row in rows if round(float(track.to_s[row]) * folder.fps) > intact]
                cut |= {name} if len(gone) < len(rows) else set()
                rows = np.array(gone, np.int64)
            lost |= {int(row): bad[name].sentence.rstrip(".") for row in rows}
    return lost, cut


def _intact(folder: Folder, name: str) -> int:
    """How many pictures from the beginning of a damaged video can be decoded."""
    entry = next(folder.features[camera] for camera, track in _videos(folder).items() if name in track.files)
    try:
        VideoReader(folder.root / name, folder.fps).close()
        return len(look_at(folder.root / name, entry.shape[0], entry.shape[1], MOST_PICTURES).times)
    except DatasetError:
        return 0


def _videos(folder: Folder) -> dict[str, Track]:
    return {} if folder.episodes is None else folder.episodes.videos


def _by_reason(lost: dict[int, str]) -> dict[str, list[int]]:
    reasons: dict[str, list[int]] = {}
    for row, why in sorted(lost.items()):
        reasons.setdefault(why, []).append(row)
    return reasons


def _surplus(folder: Folder, found: Sequence[Finding], fault: str) -> Iterator[str]:
    """Files of an interrupted writer that go on behind their last listed episode.

    A recorder that adds to shared files and is killed before it lists the episode leaves rows and pictures of it there. Any
    other difference in length is a loss of frames somewhere, and cutting would hide it.
    """
    episodes = folder.episodes
    assert episodes is not None
    interrupted = not folder.whole or folder.info["total_episodes"] > len(episodes) or bool(folder.bad_tables)
    for finding in found:
        if finding.name != fault:
            continue
        name = finding.where
        if fault == "episode_rows":
            good = _rows_go_on(folder, name)
        else:
            good = interrupted and _pictures_go_on(folder, name)
        if not good:
            raise DatasetError(f"Nothing was changed in '{folder.root}': {refusal([finding])}")
        yield name


def _rows_go_on(folder: Folder, name: str) -> bool:
    """Whether a data file holds its episodes' rows, and behind them only rows of episodes that are not in the table."""
    episodes = folder.episodes
    assert episodes is not None
    owners = episodes.data.owners(episodes.data.files.index(name))
    wanted = np.repeat(episodes.index[owners], episodes.length[owners])
    try:
        with pq.ParquetFile(folder.root / name) as file:
            there = file.read(columns=["episode_index"])["episode_index"].to_numpy()
    except (OSError, pa.ArrowException, KeyError, ValueError):
        return False
    beyond = there[len(wanted) :]
    return len(beyond) > 0 and bool(
        (there[: len(wanted)] == wanted).all() and not np.isin(beyond, episodes.index).any()
    )


def _pictures_go_on(folder: Folder, name: str) -> bool:
    """Whether a video is the last of its camera and holds more pictures than its episodes have frames."""
    episodes = folder.episodes
    assert episodes is not None
    track = next(track for track in episodes.videos.values() if name in track.files)
    number = track.files.index(name)
    frames = int(episodes.length[track.owners(number)].sum())
    return bool(track.file_of[-1] == number) and VideoReader(folder.root / name, folder.fps).num_pictures > frames


def _stage_leftovers(folder: Folder, keeping: Keeping, journal: Journal) -> Iterator[str]:
    owned = folder.whole
    # With part of the table lost, everything that the rest of it does not name belonged to the lost episodes.
    folder.whole = True
    try:
        leftovers = find_leftovers(folder)
    finally:
        folder.whole = owned
    for what, paths in leftovers.items():
        for path in paths:
            journal.set_aside(path)
        if paths:
            kind = {
                "leftover": "half-written files",
                "orphan": "files of no episode",
                "temporary_images": "picture folders",
            }
            yield f"Moved {len(paths)} {kind[what]} aside: {', '.join(paths[:4])}{', ...' if len(paths) > 4 else ''}."


def _stage_info(folder: Folder, keeping: Keeping, journal: Journal) -> Iterator[str]:
    info = read_json(folder.root / layout.INFO)
    count = len(keeping.rows)
    wanted: dict[str, Any] = {"total_episodes": count, "total_frames": int(keeping.lengths.sum())}
    if folder.tasks is not None:
        wanted["total_tasks"] = len(folder.tasks)
    if folder.version != "v3.0":
        chunk = int(info.get("chunks_size", layout.FILES_PER_CHUNK))
        wanted |= {"total_videos": count * len(folder.cameras)} if "total_videos" in info else {}
        wanted |= {"total_chunks": -(-count // chunk)} if "total_chunks" in info else {}
    wanted["splits"] = _splits(info.get("splits"), info["total_episodes"], keeping)
    differing = {key: value for key, value in wanted.items() if info.get(key) != value}
    if differing:
        journal.write_text(layout.INFO, json.dumps(info | differing, indent=1, ensure_ascii=False))
        yield "info.json now says " + ", ".join(f"{key} {value}" for key, value in differing.items()) + "."
    yield from _stage_named_splits(folder, keeping, journal)


def _splits(splits: Any, total: int, keeping: Keeping) -> Any:
    """Ranges of episodes under their new numbers; one of all episodes stays one of all."""
    if not isinstance(splits, dict):
        return splits
    found = {}
    for name, said in splits.items():
        match = SPLIT.fullmatch(said) if isinstance(said, str) else None
        if match is None:
            found[name] = said
        elif (int(match[1]), int(match[2])) == (0, total):
            found[name] = f"0:{len(keeping.rows)}"
        else:
            first, last = (int(np.searchsorted(keeping.old_numbers, int(match[i]))) for i in (1, 2))
            found[name] = f"{first}:{max(first, last)}"
    return found


def _stage_named_splits(folder: Folder, keeping: Keeping, journal: Journal) -> Iterator[str]:
    """The lists of episodes in praxon.json."""
    path = folder.root / layout.OURS
    if not path.is_file():
        return
    ours = read_json(path)
    splits = ours.get("splits") or {}
    numbers = {int(old): number for number, old in enumerate(keeping.old_numbers)}
    new = {name: [numbers[i] for i in members if i in numbers] for name, members in splits.items()}
    if new != splits:
        journal.write_text(layout.OURS, json.dumps(ours | {"splits": new}, indent=1, sort_keys=True))
        yield f"The splits of {layout.OURS} name the episodes that are left."


# -- statistics ---------------------------------------------------------------------------------------------


def _mend_statistics(root: Path, done: Repair) -> None:
    """Compute the statistics anew from the data, where they are not those of the data."""
    with changing(root) as journal:
        name, text = _statistics_v3(root) if _is_v3(root) else _statistics_v2(root)
        path = root / name
        if path.is_file() and path.read_text(encoding="utf-8", errors="replace") == text:
            return
        journal.write_text(name, text)
    done.actions.append(f"The statistics in {name} were computed from the data.")
    done.folder = done.folder or journal.name


def _is_v3(root: Path) -> bool:
    return bool(read_json(root / layout.INFO).get("codebase_version") == layout.VERSION)


def _statistics_v3(root: Path) -> tuple[str, str]:
    dataset = LeRobotDataset(root)
    found = {
        feature.name: dataset.picture_statistics(feature.name)
        if layout.is_picture(feature)
        else feature_statistics(dataset.columns[feature.name])
        for feature in (*dataset.contract, *dataset.extra_features)
    }
    stored = [name for name in (layout.STAMP, *layout.INDEX_COLUMNS) if name in dataset.columns]
    found |= {name: feature_statistics(dataset.columns[name][:, None]) for name in stored}
    return layout.STATS, json.dumps(to_json(found), indent=1)


def _statistics_v2(root: Path) -> tuple[str, str]:
    """One line for each episode, as version 2.1 has them."""
    dataset = LeRobotDataset(root)
    lines = []
    for episode in range(dataset.num_episodes):
        where = dataset.episode_slice(episode)
        found = {
            name: feature_statistics(values[where] if values.ndim > 1 else values[where, None])
            for name, values in dataset.columns.items()
        }
        found |= _picture_statistics(dataset, where)
        lines.append(json.dumps({"episode_index": episode, "stats": to_json(found)}))
    return STATS_V2, "\n".join(lines) + "\n"


def _picture_statistics(dataset: LeRobotDataset, where: slice) -> dict[str, dict[str, np.ndarray]]:
    found = {}
    for feature in dataset.contract:
        if layout.is_picture(feature):
            statistics = PictureStatistics(feature.shape[-1])
            step = -(-(where.stop - where.start) // MAX_STATISTICS_PICTURES)
            statistics.add(dataset.frames(feature.name, np.arange(where.start, where.stop, step)))
            found[feature.name] = statistics.result()
    return found
