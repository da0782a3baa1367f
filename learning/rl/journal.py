"""The queue between who acts and who learns: a file of records of one size, written once, read from anywhere, never lost.

The actor appends and never waits for anybody; the learner reads when it has time. Each record carries its number and a checksum.
What a process that was killed left half written is cut off before the next record is appended, so that none is lost and none is
there twice. The file is bounded: it takes as many records as was said, and no more.
"""

import fcntl
import os
import time
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from praxon.errors import DatasetError

LOCK_S = 2.0
"""How long a writer waits for one that is about to end [s]."""
NUMBER, CHECK = "record_number", "record_check"


def record_dtype(fields: list[tuple[str, Any, tuple[int, ...]]]) -> np.dtype:
    """Of records with these fields: their number before, their checksum behind."""
    return np.dtype([(NUMBER, "<i8"), *fields, (CHECK, "<u4")])


class JournalWriter:
    """Appends to a journal; the only one that does, as long as it lives.

    Args:
        path: of the file; what is there is gone on with.
        dtype: of a record, as ``record_dtype`` makes it.
        capacity: most records.

    Raises:
        DatasetError: somebody else is writing, or the file holds records of another kind.
    """

    def __init__(self, path: Path, dtype: np.dtype, capacity: int) -> None:
        self.path, self.dtype, self.capacity = Path(path), dtype, capacity
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        until = time.monotonic() + LOCK_S
        while not self._locked():
            if time.monotonic() > until:
                os.close(self._file)
                raise DatasetError(f"The journal '{self.path}' is being written by another process.")
            time.sleep(0.05)
        try:
            self.count = self._sound()
        except DatasetError:
            self.close()
            raise
        os.ftruncate(self._file, self.count * dtype.itemsize)
        os.lseek(self._file, 0, os.SEEK_END)

    def append(self, values: dict[str, Any]) -> int:
        """Write a record; returns its number.

        Raises:
            DatasetError: a field is missing or of another shape, the journal is full, or the disk refuses; nothing is written then.
        """
        if self.count >= self.capacity:
            raise DatasetError(f"The journal '{self.path}' is full: it was made for {self.capacity} records.")
        record = np.zeros((), self.dtype)
        for name in self.dtype.names or ():
            if name in (NUMBER, CHECK):
                continue
            if name not in values:
                raise DatasetError(f"A record needs '{name}'; got {', '.join(values)}.")
            value = np.asarray(values[name])
            if value.shape != self.dtype[name].shape:
                raise DatasetError(f"A record's '{name}' is {value.shape}; {self.dtype[name].shape} is needed.")
            record[name] = value
        record[NUMBER] = self.count
        record[CHECK] = _check(record.tobytes(), self.dtype)
        data = record.tobytes()
        try:
            written = os.write(self._file, data)
        except OSError as error:
            os.ftruncate(self._file, self.count * self.dtype.itemsize)
            raise DatasetError(f"The journal '{self.path}' cannot be written: {error.strerror or error}.") from error
        if written != len(data):
            os.ftruncate(self._file, self.count * self.dtype.itemsize)
            os.lseek(self._file, 0, os.SEEK_END)
            raise DatasetError(f"The journal '{self.path}' cannot be written: the disk is full.")
        self.count += 1
        return self.count - 1

    def _locked(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _sound(self) -> int:
        """Records that are whole; the last may be half written, and is no record then."""
        size = self.dtype.itemsize
        sound = len(read_journal(self.path, self.dtype))
        with open(self.path, "rb") as file:
            file.seek((sound + 1) * size)
            data = file.read()
        rest = np.frombuffer(data[: len(data) // size * size], self.dtype)
        following = sum(int(each[CHECK] == _check(each.tobytes(), self.dtype)) for each in rest)
        if following or (sound == 0 and len(rest)):
            raise DatasetError(
                f"In the journal '{self.path}' record {sound} (of {size} bytes) is damaged, and {following} sound ones follow, or "
                "it holds records of another kind; nothing was changed. Another run_dir starts anew."
            )
        return sound

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> "JournalWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_journal(path: Path, dtype: np.dtype, start: int = 0) -> np.ndarray:
    """All whole and sound records from a number on, in order; those behind the first that is not are still being written.

    Args:
        path: of the file; none yet is no record.
        dtype: of a record.
        start: number of the first.
    """
    size = dtype.itemsize
    if not Path(path).exists():
        return np.zeros(0, dtype)
    with open(path, "rb") as file:
        file.seek(start * size)
        data = file.read()
    records = np.frombuffer(data[: len(data) // size * size], dtype)
    for index, record in enumerate(records):
        if record[NUMBER] != start + index or record[CHECK] != _check(record.tobytes(), dtype):
            return records[:index]
    return records


def _check(data: bytes, dtype: np.dtype) -> int:
    return zlib.crc32(data[: -dtype[CHECK].itemsize])
