"""Weights on their way from who learns to who acts: whole files with a version and a hash, of which the newest is taken.

A file that is half written, changed or older than what is in use is never loaded. Only what learning changes travels.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from praxon.errors import BundleError
from praxon.policies.durable import replace_file

LATEST = "latest.json"


class Publisher:
    """Writes versions of weights into a folder, and keeps the last two.

    Args:
        folder: made where it is not there; versions go on from the newest in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.version = _latest(self.folder)[0]

    def publish(self, weights: Mapping[str, Tensor]) -> int:
        """Write the next version; returns its number, from 1."""
        content = safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})
        version = self.version + 1
        name = f"{version:08d}.safetensors"
        replace_file(self.folder / name, content)
        said = {"version": version, "file": name, "sha256": hashlib.sha256(content).hexdigest()}
        replace_file(self.folder / LATEST, json.dumps(said).encode())
        self.version = version
        for old in sorted(self.folder.glob("*.safetensors"))[:-2]:
            old.unlink(missing_ok=True)
        return version


class Subscriber:
    """Reads the newest version, once.

    Args:
        folder: of a ``Publisher``.

    Attributes:
        version: of what was read last; 0 before.
        refused: files that were not what was said of them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.version, self.refused = Path(folder), 0, 0

    def newer(self) -> dict[str, Tensor] | None:
        """The newest weights where they are newer than those read last, and sound."""
        version, name, digest = _latest(self.folder)
        if version <= self.version:
            return None
        try:
            content = (self.folder / name).read_bytes()
            if hashlib.sha256(content).hexdigest() != digest:
                raise BundleError(f"'{name}' is not what was published.")
            found: dict[str, Tensor] = safetensors.torch.load(content)
        except (OSError, BundleError, SafetensorError):
            # Replaced in between, or damaged: the next one will be there soon, and until then nothing changes.
            self.refused += 1
            return None
        self.version = version
        return found


def _latest(folder: Path) -> tuple[int, str, str]:
    """Version, file and hash of the newest; version 0 where there is none that can be read."""
    try:
        said = json.loads((folder / LATEST).read_bytes())
        return int(said["version"]), str(Path(said["file"]).name), str(said["sha256"])
    except (OSError, ValueError, TypeError, KeyError):
        return 0, "", ""
