"""Bags of rosbag2: which files belong to one, what its metadata say, and its messages, whatever they are stored in."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from praxon.datasets.formats._db3 import Db3File
from praxon.datasets.formats._expand import expand_zstd
from praxon.datasets.formats._mcap import McapFile, Stored
from praxon.errors import DatasetError

METADATA = "metadata.yaml"
STORAGES: dict[str, type[McapFile] | type[Db3File]] = {".mcap": McapFile, ".db3": Db3File}
MAX_METADATA_BYTES = 4 * 2**20
_INFORMATION = "rosbag2_bagfile_information"
_EMBEDDED = "rosbag2", "serialized_metadata"
Place = tuple[int, int, int, int]
"""Where a message is: number of the file, and place in it."""


@dataclass
class Bag:
    """One recording.

    Args:
        name: of its folder, or of its file.
        files: in the order of recording.
        information: content of metadata.yaml; empty where there is none.
        recovered: what had to be done without or was cut off, one phrase each; complete after ``messages``.
    """

    name: str
    files: list[McapFile | Db3File]
    information: dict[str, Any] = field(default_factory=dict)
    recovered: list[str] = field(default_factory=list)

    def messages(self) -> Iterator[tuple[Stored, Place]]:
        """Every message with its place, file by file; compressed ones expanded.

        Raises:
            DatasetError: a file is no recording or is damaged.
        """
        self.recovered = [] if self.information else [f"{METADATA} is missing"]
        by_message = self._compressed_by_message()
        for number, file in enumerate(self.files):
            for stored in file.scan():
                data = expand_zstd(bytes(stored.data), self._what()) if by_message else stored.data
                yield stored._replace(data=data), (number, *stored.place)
            if file.interrupted:
                self.recovered.append(f"{file.path.name} {file.interrupted}")

    def read(self, place: Place) -> bytes:
        """Bytes of one message again."""
        number, *within = place
        data = self.files[number].read((within[0], within[1], within[2]))
        return expand_zstd(data, self._what()) if self._compressed_by_message() else data

    @property
    def custom_data(self) -> dict[str, str]:
        """What the recorder wrote beside the messages; from within the files where there is no metadata.yaml."""
        information = self.information
        for file in self.files:
            if not information and _EMBEDDED in file.texts:
                # Within a file the same mapping stands without its heading.
                parsed = _parse(file.texts[_EMBEDDED], str(file.path))
                information = parsed if isinstance(parsed, dict) else {}
        custom = information.get("custom_data")
        return {str(key): str(value) for key, value in custom.items()} if isinstance(custom, dict) else {}

    @property
    def promised(self) -> int | None:
        """How many messages metadata.yaml says there are."""
        count = self.information.get("message_count")
        return count if isinstance(count, int) else None

    def _compressed_by_message(self) -> bool:
        return str(self.information.get("compression_mode", "")).lower() == "message"

    def _what(self) -> str:
        return f"A message of the recording '{self.name}'"


def looks_like_bags(path: Path) -> bool:
    """Whether ``path`` is a bag or a folder of bags, by names of files and their first bytes; never raises."""
    try:
        return any(_begins_right(file) for file in _storage_files(path) or _storage_files_below(path))
    except OSError:
        return False


def find_bags(path: Path) -> list[Bag]:
    """The bag at ``path``, or the bags in the folder ``path`` in the order of their names.

    Raises:
        DatasetError: there is none, or a metadata.yaml cannot be used.
    """
    if not path.exists():
        raise DatasetError(f"There is no recording at '{path}'.")
    if path.is_file():
        if path.suffix not in STORAGES:
            raise DatasetError(
                f"'{path}' is no recording; those are files {' and '.join(STORAGES)} or folders of them."
            )
        return [Bag(path.stem, _opened([path]))]
    bags = _bags_of(path)
    for folder in sorted((each for each in path.iterdir() if each.is_dir()), key=_natural) if not bags else ():
        bags += _bags_of(folder)
    if not bags:
        raise DatasetError(f"The folder '{path}' holds no recording: no {METADATA}, no file {' or '.join(STORAGES)}.")
    return bags


def _bags_of(folder: Path) -> list[Bag]:
    """The bag that a folder is, or those that lie in it as single files."""
    if (folder / METADATA).is_file() and (folder / METADATA).stat().st_size:
        return [_described_bag(folder)]
    files = _storage_files(folder)
    # A recorder that was killed leaves <folder>_0, <folder>_1, ... and no metadata.yaml; any other files are bags each.
    own = [file for file in files if re.sub(r"_\d+$", "", file.stem) == folder.name]
    bags = [Bag(folder.name, _opened(own))] if own else []
    return bags + [Bag(file.stem, _opened([file])) for file in files if file not in own]


def _described_bag(folder: Path) -> Bag:
    path = folder / METADATA
    try:
        if path.stat().st_size > MAX_METADATA_BYTES:
            raise DatasetError(f"'{path}' has more than {MAX_METADATA_BYTES} bytes.")
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"'{path}' cannot be read: {error}.") from error
    information = _information(_parse(text, str(path)), str(path))
    names = information.get("relative_file_paths")
    if not isinstance(names, list) or not names:
        raise DatasetError(f"'{path}' names no files under relative_file_paths.")
    # Recorders of older versions wrote the folder's name too; and no path leads out of the folder.
    files = [folder / PurePosixPath(str(name)).name for name in names]
    wrong = [file.name for file in files if file.suffix not in STORAGES]
    if wrong:
        raise DatasetError(
            f"'{path}' names {', '.join(wrong)}; files {' and '.join(STORAGES)} can be read, and those that were compressed "
            "as a whole after decompressing them and removing metadata.yaml."
        )
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise DatasetError(f"'{path}' names files that are not there: {', '.join(missing)}.")
    return Bag(folder.name, _opened(files), information)


def _parse(text: str, what: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DatasetError(f"'{what}' holds metadata that cannot be read as YAML: {reason}.") from error


def _information(data: Any, what: str) -> dict[str, Any]:
    information = data.get(_INFORMATION) if isinstance(data, dict) else None
    if not isinstance(information, dict):
        raise DatasetError(f"'{what}' holds no {_INFORMATION}.")
    return information


def _opened(files: list[Path]) -> list[McapFile | Db3File]:
    return [STORAGES[file.suffix](file) for file in files]


def _storage_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix in STORAGES else []
    files = [each for each in path.iterdir() if each.is_file() and each.suffix in STORAGES]
    return sorted(files, key=_natural)


def _storage_files_below(path: Path) -> list[Path]:
    return [file for folder in path.iterdir() if folder.is_dir() for file in _storage_files(folder)]


def _begins_right(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(16).startswith((b"\x89MCAP", b"SQLite format 3\0"))


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts bag_2 before bag_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]
