"""Durable directories: written beside their place, synced, then renamed into it, so that nobody reads half of one."""

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path


def write_directory(path: Path, contents: Mapping[str, bytes]) -> None:
    """Write files by name into ``path``, replacing a directory already there once the new one is complete.

    A process killed on the way leaves a hidden sibling at most; the next write to the same path removes it.

    Raises:
        OSError: the file system refused (full, read-only, ...); what was at ``path`` is unchanged.
    """
    partial, replaced = (path.with_name(f".{path.name}.{state}") for state in ("partial", "replaced"))
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        for name, content in contents.items():
            _write_synced(partial / name, content)
        _sync_directory(partial)
        if path.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            path.rename(replaced)
        try:
            partial.rename(path)
        except OSError:
            if replaced.exists():
                replaced.rename(path)
            raise
        _sync_directory(path.parent)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file, in place of one that may be there, once the new one is complete.

    Raises:
        OSError: the file system refused; what was at ``path`` is unchanged.
    """
    partial = path.with_name(f".{path.name}.partial")
    _write_synced(partial, content)
    partial.replace(path)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Of the processes of this machine one at a time looks whether ``path`` is there, makes it and reads it.

    The lock is a hidden file beside it, which stays; a process that dies gives it up. File systems that know no locks have none.

    Raises:
        OSError: the parent of the path cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path.with_name(f".{path.name}.lock"), flags, 0o600)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
