"""Changing a folder so that nothing is lost: new files are prepared beside, originals moved aside, and a kill is made good.

Everything lies under ``<root>/.recovered/<n>``: ``staged/`` holds new files until they go to their place, ``originals/`` what
was there before, ``plan.json`` what is to be moved where. The plan is written once all new files are; a repair that finds one
carries out the rest of it before anything else.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from praxon.datasets.checks.folder import is_file
from praxon.datasets.checks.leftovers import PLACING, PLAN, RECOVERED, unfinished
from praxon.datasets.durable import write_durably
from praxon.datasets.metadata_files import read_json
from praxon.errors import DatasetError

DONE = "done.json"
STAGED, ORIGINALS = "staged", "originals"


class Journal:
    """One set of changes.

    Args:
        root: the folder that is changed.

    Attributes:
        name: of this journal's folder below ``root``.

    Raises:
        DatasetError: a folder that would be written leads out of ``root``.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        home = root / RECOVERED
        require_inside(root, f"{RECOVERED}/1")
        taken = [int(path.name) for path in home.iterdir() if path.name.isdecimal()] if home.is_dir() else []
        self.name = f"{RECOVERED}/{max(taken, default=0) + 1}"
        self._aside: dict[str, str] = {}
        self._place: dict[str, str] = {}

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be changed."""
        return not self._aside and not self._place

    def stage(self, name: str) -> Path:
        """Where to write what shall replace the file ``name``; what is there now is kept among the originals."""
        self.set_aside(name)
        staged = f"{self.name}/{STAGED}/{name}"
        require_inside(self._root, staged)
        path = self._root / staged
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatasetError(f"'{path.parent}' cannot be made: {error.strerror}.") from error
        self._place[staged] = name
        return path

    def write_text(self, name: str, text: str) -> None:
        """Stage a file of text."""
        path = self.stage(name)
        write_durably(path, lambda part: part.write_text(text, encoding="utf-8"))

    def set_aside(self, name: str) -> None:
        """Move a file or folder to the originals."""
        require_inside(self._root, name)
        if name not in self._aside and os.path.lexists(self._root / name):
            self._aside[name] = f"{self.name}/{ORIGINALS}/{name}"

    def rename(self, name: str, new: str) -> None:
        """Give a file another name; what has that name now must be renamed or set aside too."""
        require_inside(self._root, name)
        require_inside(self._root, new)
        self._aside[name] = f"{self.name}/{STAGED}/{new}"
        self._place[f"{self.name}/{STAGED}/{new}"] = new

    def commit(self) -> None:
        """Carry out everything; a kill in between is made good by ``resume``."""
        try:
            for source in self._place:
                if source not in self._aside.values():
                    flush(self._root / source)
        except OSError as error:
            raise DatasetError(f"'{self._root / self.name}' cannot be written: {error.strerror}.") from error
        text = json.dumps({"aside": self._aside, "place": self._place}, indent=1)
        write_durably(self._root / self.name / PLAN, lambda part: part.write_text(text))
        _carry_out(self._root, self.name)

    def abandon(self) -> None:
        """Delete what was staged; nothing else has been touched."""
        if not (self._root / self.name / PLAN).exists():
            shutil.rmtree(self._root / self.name, ignore_errors=True)


def resume(root: Path) -> list[str]:
    """Finish the changes of repairs that were killed; their folders.

    Raises:
        DatasetError: a plan is unreadable or leads out of the folder.
    """
    found = unfinished(root)
    for name in found:
        _carry_out(root, name)
    return found


def _carry_out(root: Path, name: str) -> None:
    """First everything old goes aside, then everything new comes to its place; the plan's name says which of the two is on.

    A move of the first phase is done when its target is there, one of the second when its source is gone.
    """
    plan, placing = root / name / PLAN, root / name / PLACING
    require_inside(root, f"{name}/{PLAN}")
    first_phase = is_file(plan)
    aside, place = _read_plan(root, plan if first_phase else placing)
    try:
        if first_phase:
            for source, target in aside.items():
                if not os.path.lexists(root / target):
                    (root / target).parent.mkdir(parents=True, exist_ok=True)
                    os.rename(root / source, root / target)
            os.sync()
            os.rename(plan, placing)
        for source, target in place.items():
            if os.path.lexists(root / source):
                (root / target).parent.mkdir(parents=True, exist_ok=True)
                os.rename(root / source, root / target)
        shutil.rmtree(root / name / STAGED, ignore_errors=True)
        os.sync()
        os.rename(placing, root / name / DONE)
    except OSError as error:
        raise DatasetError(
            f"'{root}' cannot be changed ({error.strerror}); the same repair goes on where it stopped."
        ) from error


def _read_plan(root: Path, path: Path) -> tuple[dict[str, str], dict[str, str]]:
    if not is_file(path):
        raise DatasetError(f"'{path}' is no file; the repair that was begun cannot be finished.")
    plan = read_json(path)
    parts = plan.get("aside"), plan.get("place")
    for moves in parts:
        if not isinstance(moves, dict) or not all(isinstance(target, str) for target in moves.values()):
            raise DatasetError(f"'{path}' holds no moves; the repair that was begun cannot be finished.")
        for pair in moves.items():
            for name in pair:
                require_inside(root, name)
    aside, place = parts
    assert isinstance(aside, dict)
    assert isinstance(place, dict)
    return aside, place


def require_inside(root: Path, name: str) -> None:
    """Refuse a path that is not below ``root``, or goes through a link that leads out of it."""
    pure = PurePosixPath(name)
    if pure.is_absolute() or not pure.parts or ".." in pure.parts or "\0" in name:
        raise DatasetError(f"'{name}' leads out of '{root}'; it is not touched.")
    try:
        home, parent = root.resolve(), (root / name).parent.resolve()
        if pure.parts[0] == RECOVERED and (root / RECOVERED).is_symlink():
            parent = (root / RECOVERED).resolve()
    except (OSError, RuntimeError) as error:
        raise DatasetError(f"'{name}' in '{root}' cannot be followed: {error}.") from error
    if parent != home and home not in parent.parents:
        raise DatasetError(f"'{name}' goes through a link that leads out of '{root}'; it is not touched.")


def flush(path: Path) -> None:
    """Have a file's contents on disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def changing(root: Path) -> Iterator[Journal]:
    """A journal whose changes are made at the end of the block, all of them, or none where an error leaves it.

    Raises:
        DatasetError: the folder cannot be changed.
    """
    journal = Journal(root)
    try:
        yield journal
        if not journal.is_empty:
            journal.commit()
    except OSError as error:
        journal.abandon()
        raise DatasetError(f"'{root}' cannot be changed: {error.strerror or error}.") from error
    except DatasetError:
        journal.abandon()
        raise
