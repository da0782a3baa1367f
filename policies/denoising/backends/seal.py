"""Seals of what is compiled or exported: it is read again only where this user made it.

A compiled function is a shared library. Loaded from beside a bundle that somebody handed over, it could do anything; and a graph
from there could be another policy's. So each folder of the cache holds a seal: the hash of what lies in it and the folder's name,
signed with a key that never leaves the user's own configuration folder. What lacks its seal is made again.
"""

import hashlib
import hmac
import os
import secrets
import shutil
import tempfile
import time
from pathlib import Path

SEAL = "seal"
"""Name of the file."""
KEY_BYTES = 32


def has_key() -> bool:
    """Whether this user has a key, or a configuration folder that takes one; without it nothing can be kept."""
    return _key() is not None


def sealed(folder: Path, digest: str) -> bool:
    """Whether this user sealed what has this hash in this very folder."""
    key = _key()
    try:
        return key is not None and hmac.compare_digest(_signed(key, folder, digest), (folder / SEAL).read_bytes())
    except OSError:
        return False


def seal(folder: Path, digest: str) -> None:
    """Say that this user made what has this hash in this folder.

    Raises:
        OSError: the folder cannot be written.
    """
    key = _key()
    if key is not None:
        _replace(folder / SEAL, _signed(key, folder, digest))


def fetch(folder: Path, file: Path) -> bool:
    """Copy the file of that name out of the folder of a cache; whether it was there and sealed.

    Args:
        folder: of the cache.
        file: to write, where nobody else can: what is looked at is then what is used.
    """
    try:
        shutil.copyfile(folder / file.name, file)
    except OSError:
        return False
    return sealed(folder, _digest(file))


def keep(folder: Path, file: Path) -> None:
    """Copy a file that nobody else can change into the folder of a cache, sealed; a full disk keeps nothing."""
    digest = _digest(file)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / file.name, file.read_bytes())
        seal(folder, digest)
    except OSError:
        (folder / SEAL).unlink(missing_ok=True)


def _signed(key: bytes, folder: Path, digest: str) -> bytes:
    return hmac.new(key, f"{folder.name}\n{digest}".encode(), hashlib.sha256).hexdigest().encode()


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _replace(path: Path, content: bytes) -> None:
    """Written beside and renamed, so that nobody reads half of it."""
    descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        os.replace(partial, path)
    except OSError:
        Path(partial).unlink(missing_ok=True)
        raise


def _key() -> bytes | None:
    """The user's own; made where there is none yet, ``None`` where it cannot be."""
    try:
        home = os.environ.get("XDG_CONFIG_HOME")
        path = (Path(home) if home else Path.home() / ".config") / "praxon" / "engine.key"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _make_key(path)
        return _whole(path)
    except (OSError, RuntimeError):  # a user without a home is a RuntimeError
        return None


def _make_key(path: Path) -> None:
    """The first of several processes decides."""
    key = secrets.token_bytes(KEY_BYTES)
    descriptor, partial = tempfile.mkstemp(prefix=".engine.key.", dir=path.parent)  # readable by its owner alone
    try:
        with open(descriptor, "wb") as file:
            file.write(key)
        os.link(partial, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(key)
        except FileExistsError:
            pass
    finally:
        Path(partial).unlink(missing_ok=True)


def _whole(path: Path) -> bytes | None:
    """The key; without hard links another process may be about to write it."""
    for _ in range(10):
        key = path.read_bytes()
        if len(key) == KEY_BYTES:
            return key
        time.sleep(0.01)
    return None
