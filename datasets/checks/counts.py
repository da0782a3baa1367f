"""Checks of what info.json and the table of episodes say: counts, splits, order and ranges."""

import re
from collections.abc import Iterator

import numpy as np

from praxon.datasets import lerobot_format as layout
from praxon.datasets.checks.finding import Finding, listed
from praxon.datasets.checks.folder import Folder

SPLIT = re.compile(r"\s*(\d{1,15})\s*:\s*(\d{1,15})\s*")


def check_counts(folder: Folder) -> Iterator[Finding]:
    """Totals, splits and the episode table against one another."""
    info, episodes = folder.info, folder.episodes
    if folder.tasks is not None and info["total_tasks"] != len(folder.tasks):
        sentence = f"total_tasks is {info['total_tasks']}; the table of tasks has {len(folder.tasks)}."
        yield Finding("task_count", layout.INFO, sentence)
    if episodes is None:
        return
    count = len(episodes)
    if count == 0 and info["total_episodes"] == 0:
        yield Finding("no_episodes", layout.INFO, "The dataset holds no finished episode.")
    ordered = bool((episodes.index == np.arange(count)).all())
    # Where part of the table cannot be read, the rest is bound to disagree; that says nothing more.
    if folder.whole:
        if info["total_episodes"] != count:
            sentence = f"total_episodes is {info['total_episodes']}; the table of episodes has {count}."
            yield Finding("episode_count", layout.INFO, sentence)
        frames = int(episodes.length.sum())
        if info["total_frames"] != frames and info["total_episodes"] == count:
            sentence = f"total_frames is {info['total_frames']}; the episodes have {frames} frames together."
            yield Finding("frame_count", layout.INFO, sentence)
        videos = info.get("total_videos")
        wanted = count * len(folder.cameras)
        if folder.version != "v3.0" and videos is not None and videos != wanted and info["total_episodes"] == count:
            yield Finding("video_count", layout.INFO, f"total_videos is {str(videos)[:40]}; {wanted} are expected.")
        if not ordered:
            first = int(np.flatnonzero(episodes.index != np.arange(count))[0])
            sentence = f"Row {first} of the table of episodes is episode {episodes.index[first]}; {first} is expected."
            yield Finding("episode_order", episodes.tables[episodes.table_of[first]], sentence)
        if info["total_episodes"] == count:
            yield from _check_splits(info.get("splits"), count)
            for name, members in folder.splits.items():
                outside = sorted(set(members) - set(range(count)))
                if outside:
                    sentence = f"Split '{name[:40]}' names {listed(outside)}; there are {count}."
                    yield Finding("splits", layout.OURS, sentence)
    if ordered or not folder.whole:
        yield from _check_ranges(folder)


def _check_splits(splits: object, count: int) -> Iterator[Finding]:
    if splits is None:
        return
    if not isinstance(splits, dict):
        yield Finding("splits", layout.INFO, f"splits is {str(splits)[:40]!r}; named ranges of episodes are expected.")
        return
    for name, said in splits.items():
        match = SPLIT.fullmatch(said) if isinstance(said, str) else None
        if match is None or not int(match[1]) <= int(match[2]) <= count:
            sentence = f"Split '{name[:40]}' is {str(said)[:40]!r}; a range inside '0:{count}' is expected."
            yield Finding("splits", layout.INFO, sentence)


def _check_ranges(folder: Folder) -> Iterator[Finding]:
    episodes = folder.episodes
    assert episodes is not None
    empty = np.flatnonzero(episodes.length <= 0)
    if len(empty):
        who = listed(episodes.index[empty])
        yield Finding("episode_range", who, f"The table of episodes gives {who} no frames; every episode has some.")
        return
    own = np.flatnonzero(episodes.stop - episodes.start != episodes.length)
    if len(own):
        row = int(own[0])
        sentence = (
            f"Episode {episodes.index[row]} has {episodes.length[row]} frames by its length and "
            f"{episodes.stop[row] - episodes.start[row]} by its range; the same is expected ({len(own)} such episodes)."
        )
        yield Finding("episode_range", listed(episodes.index[own]), sentence)
    elif folder.whole:
        follows = np.concatenate([[0], episodes.stop[:-1]]) if len(episodes) else episodes.start
        torn = np.flatnonzero(episodes.start != follows)
        if len(torn):
            row = int(torn[0])
            sentence = (
                f"Episode {episodes.index[row]} begins at frame {episodes.start[row]}; the one before it ends at "
                f"{follows[row]} ({len(torn)} such places)."
            )
            yield Finding("episode_range", listed(episodes.index[torn]), sentence)
