"""Files that are on disk, whole, or not there: written beside, flushed, renamed into place."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from praxon.errors import DatasetError


def write_durably(path: Path, write: Callable[[Path], Any], safe: str = "earlier files are as they were") -> None:
    """Let ``write`` fill a file beside ``path``, then put it in its place.

    Raises:
        DatasetError: the disk refuses; nothing is left behind, and ``safe`` says what is not affected.
    """
    temporary = part_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        put_in_place(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise DatasetError(f"'{path}' could not be written ({error.strerror or error}); {safe}.") from error


def lock_folder(folder: Path) -> int:
    """Make a folder where there is none, and take it for this writer alone until the returned descriptor is closed.

    Raises:
        DatasetError: another writer has it, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise DatasetError(f"The folder '{folder}' cannot be made ({error.strerror}).") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise DatasetError(
            f"Another writer is at work in '{folder}'; two would overwrite each other's episodes."
        ) from error
    except OSError:
        return handle  # a file system without locks: nothing can be known of other writers
    return handle


def part_of(path: Path) -> Path:
    """The name under which a file is written before it is whole."""
    return path.with_name(f".{path.name}.part")


def put_in_place(temporary: Path, path: Path) -> None:
    """Flush a finished file to disk and rename it; the rename is on disk when this returns."""
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
