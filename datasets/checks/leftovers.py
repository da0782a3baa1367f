"""Checks of what lies in a dataset's folder without belonging to it: half-written files, orphans, unencoded pictures."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from praxon.datasets.checks.finding import Finding
from praxon.datasets.checks.folder import Folder

RECOVERED = ".recovered"
"""Where a repair puts what it takes out."""
PLAN, PLACING = "plan.json", "placing.json"
"""A repair's plan while it moves files, before and after the old ones are aside."""
OTHERS = {RECOVERED, ".git", ".cache", "__pycache__"}
SUFFIXES = (".parquet", ".mp4", ".mkv", ".avi")
EPISODE = re.compile(r"episode[-_](\d{1,9})")
HALF = (".part", ".tmp")


def find_leftovers(folder: Folder) -> dict[str, list[str]]:
    """Finding's name -> relative paths: files, and whole folders of temporary pictures or videos."""
    found: dict[str, list[str]] = {"leftover": [], "orphan": [], "temporary_images": []}
    owned = _owned(folder)
    for path, folders, files in os.walk(folder.root):
        here = Path(path).relative_to(folder.root)
        parts = here.parts
        if len(parts) == 2 and parts[0] == "images" and parts[1] in folder.features:
            found["temporary_images"] += _unencoded(folder, here, sorted(folders))
            folders.clear()
            continue
        if len(parts) == 1 and parts[0].startswith("tmp") and files and all(name.endswith(SUFFIXES) for name in files):
            folders.clear()  # LeRobot encodes an episode's video in a folder of this name
            found["leftover"].append(here.as_posix())
            continue
        folders[:] = sorted(name for name in folders if name not in OTHERS)
        for name in sorted(files):
            file = (here / name).as_posix()
            if name.endswith(HALF):
                found["leftover"].append(file)
            elif owned is not None and parts[:1] in (("data",), ("videos",)) and name.endswith(SUFFIXES):
                found["orphan"] += [file] if file not in owned else []
    return found


def check_leftovers(folder: Folder) -> Iterator[Finding]:
    """One finding for each kind."""
    what = {
        "leftover": "half-written or temporary",
        "orphan": "of no episode",
        "temporary_images": "single pictures that were never encoded",
    }
    for name in unfinished(folder.root):
        yield Finding("leftover", name, f"A repair was cut off while it moved files; --repair finishes it ('{name}').")
    for name, paths in find_leftovers(folder).items():
        if paths:
            more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
            listed = ", ".join(f"'{path}'" for path in paths[:3])
            yield Finding(name, paths[0], f"The folder holds {listed}{more}, which {_are(paths)} {what[name]}.")


def unfinished(root: Path) -> list[str]:
    """Folders of repairs that were killed while they moved files."""
    home = root / RECOVERED
    found = (
        {path.parent.name for name in (PLAN, PLACING) for path in home.glob(f"*/{name}")} if home.is_dir() else set()
    )
    return [f"{RECOVERED}/{name}" for name in sorted(found)]


def _unencoded(folder: Folder, here: Path, episodes: list[str]) -> list[str]:
    """Folders of single pictures, one for each episode. LeRobot 2.1 keeps those whose pictures it stored as files in columns."""
    listed = set() if folder.episodes is None else set(folder.episodes.index.tolist())
    stored = folder.features[here.parts[1]].dtype == "image"
    kept = [EPISODE.fullmatch(name) for name in episodes]
    ours = {match[0] for match in kept if match and stored and int(match[1]) in listed}
    return [
        (here / name).as_posix()
        for name in episodes
        if name not in ours and any(files for _, _, files in os.walk(folder.root / here / name))
    ]


def _owned(folder: Folder) -> set[str] | None:
    """Data and video files that an episode refers to; ``None`` where the table of episodes cannot tell."""
    if folder.episodes is None or not folder.whole:
        return None
    tracks = (folder.episodes.data, *folder.episodes.videos.values())
    return {Path(name).as_posix() for track in tracks for name in track.files}


def _are(paths: list[str]) -> str:
    return "is" if len(paths) == 1 else "are"
