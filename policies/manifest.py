"""Directories whose files and hashes are named in a manifest: written whole or not at all, read only if every hash is right."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from praxon.errors import BundleError
from praxon.policies.durable import write_directory

MANIFEST = "manifest.json"


def write_manifested(path: Path, contents: Mapping[str, bytes], version: int, what: str) -> str:
    """Write files and their manifest; a directory of the same kind already there is replaced once the new one is complete.

    Args:
        path: directory to write; its parents are made.
        contents: of each file.
        version: of the format.
        what: is written, for errors: 'bundle'.

    Returns:
        SHA-256 of the manifest, which names every file's: the directory's identity.

    Raises:
        BundleError: the path holds something else, or the file system refused; what was there before is unchanged.
    """
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    manifest = json.dumps({"format_version": version, "files": hashes}, indent=1).encode()
    if path.exists() and not (path / MANIFEST).is_file() and (not path.is_dir() or any(path.iterdir())):
        raise BundleError(f"'{path}' exists and is no {what}; choose another path or move it away.")
    try:
        write_directory(path, {**contents, MANIFEST: manifest})
    except OSError as error:
        raise BundleError(
            f"The {what} '{path}' could not be written: {error.strerror or error}; what was there before is unchanged."
        ) from error
    return hashlib.sha256(manifest).hexdigest()


def read_manifested(path: Path, names: Sequence[str], version: int, what: str) -> tuple[str, dict[str, bytes]]:
    """The identity of a directory, and every file, each read once and compared with its hash.

    Raises:
        BundleError: a file is missing, changed or unreadable, or the version is another.
    """
    manifest = _read(path, MANIFEST, what)
    try:
        described = json.loads(manifest)
        found, hashes = described["format_version"], dict(described["files"])
    except (ValueError, TypeError, KeyError) as error:
        raise BundleError(f"The manifest of {what} '{path}' cannot be read; train or copy the {what} again.") from error
    if found != version:
        raise BundleError(f"The {what} '{path}' has format version {found}; this Praxon reads version {version}.")
    contents = {}
    for name in names:
        if name not in hashes:
            raise BundleError(f"The manifest of {what} '{path}' does not name {name}; train or copy the {what} again.")
        contents[name] = _read(path, name, what)
        if hashlib.sha256(contents[name]).hexdigest() != hashes[name]:
            raise BundleError(
                f"The file {name} of {what} '{path}' is not the one that was saved: its SHA-256 has changed."
            )
    return hashlib.sha256(manifest).hexdigest(), contents


def _read(path: Path, name: str, what: str) -> bytes:
    try:
        return (path / name).read_bytes()
    except FileNotFoundError as error:
        inside = path / what
        advice = (
            f"train or copy the {what} again" if not (inside / MANIFEST).is_file() else f"there is one in '{inside}'"
        )
        raise BundleError(f"The {what} '{path}' lacks {name}; {advice}.") from error
    except OSError as error:
        raise BundleError(f"The file {name} of {what} '{path}' cannot be read: {error.strerror or error}.") from error
