"""Files of a folder or of a zip by name: their sizes and bytes, and nothing outside of it."""

import re
import zipfile
from pathlib import Path
from typing import Protocol

from praxon.datasets.formats._limits import DEFLATE_RATIO
from praxon.errors import DatasetError

OVERHEAD = 4096
"""A stored entry may be this much smaller than its size by any compression [bytes]."""


class Files(Protocol):
    """Named files; ``sizes`` are those that reading gives [bytes]."""

    sizes: dict[str, int]

    def read(self, key: str) -> bytes: ...


class FolderFiles:
    """Files of a folder by their paths below it.

    Raises:
        DatasetError: one is a link that leads out of the folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.sizes: dict[str, int] = {}
        home = root.resolve()
        for path in root.rglob("*"):
            if path.is_file():
                if path.is_symlink() and not path.resolve().is_relative_to(home):
                    raise DatasetError(f"'{path}' leads out of '{root}'; only files in it are read.")
                self.sizes[path.relative_to(root).as_posix()] = path.stat().st_size

    def read(self, key: str) -> bytes:
        return (self._root / key).read_bytes()


class ZipFiles:
    """Entries of a zip.

    Args:
        path: the file.
        mark: entries of this pattern lie in the folder of interest; its first group is that folder, and names are
            those below it.

    Raises:
        DatasetError: an entry's name leads out of the zip; reading one whose size cannot be true raises as well.
    """

    def __init__(self, path: Path, mark: re.Pattern[str]) -> None:
        self._path, self._zip = path, zipfile.ZipFile(path)
        entries = [entry for entry in self._zip.infolist() if not entry.is_dir()]
        for name in (entry.filename for entry in entries):
            if name.startswith("/") or ".." in name.split("/") or "\\" in name:
                raise DatasetError(f"The zip '{path}' has the entry '{name}', which leads out of it.")
        roots = [found[1] or "" for entry in entries if (found := mark.fullmatch(entry.filename))]
        root = min(roots, key=len, default="")
        self._entries = {e.filename[len(root) :]: e for e in entries if e.filename.startswith(root)}
        self.sizes = {name: entry.file_size for name, entry in self._entries.items()}

    def read(self, key: str) -> bytes:
        entry = self._entries[key]
        if entry.file_size > OVERHEAD + entry.compress_size * DEFLATE_RATIO:
            raise DatasetError(
                f"'{key}' of the zip '{self._path}' declares {entry.file_size} bytes, of which {entry.compress_size} are stored."
            )
        return self._zip.read(entry)
