"""Seals of compiled files: machine code is loaded only where this user compiled it.

A compiled function is a shared library. Loaded from beside a bundle that somebody handed over, it could do anything; so each is
sealed with a key that never leaves the user's own configuration folder, and one without its seal is compiled again.
"""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

SUFFIX = ".seal"


def sealed(path: Path) -> bool:
    """Whether this user sealed this very file."""
    try:
        return hmac.compare_digest(_seal_of(path), _beside(path).read_text().strip())
    except OSError:
        return False


def seal(path: Path) -> None:
    """Say that this user made the file as it is."""
    _beside(path).write_text(_seal_of(path) + "\n")


def _beside(path: Path) -> Path:
    return path.with_name(path.name + SUFFIX)


def _seal_of(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    return hmac.new(_key(), digest, hashlib.sha256).hexdigest()


def _key() -> bytes:
    home = os.environ.get("XDG_CONFIG_HOME")
    path = (Path(home) if home else Path.home() / ".config") / "praxon" / "engine.key"
    try:
        return path.read_bytes()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}")
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
        try:
            os.link(partial, path)  # the first of several processes decides
        except FileExistsError:
            pass
        finally:
            partial.unlink()
        return path.read_bytes()
