"""What was tried, line by line, beside the data that came of it: where an interrupted run goes on."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from praxon.errors import DatasetError


class Ledger:
    """A file of JSON lines that is appended to; a context manager.

    Args:
        path: the file; begun where there is none. A last line that was cut off is dropped.

    Attributes:
        lines: those of earlier runs.

    Raises:
        DatasetError: a line is no JSON.
    """

    def __init__(self, path: Path) -> None:
        text = path.read_text() if path.is_file() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            path.write_text(whole)
        try:
            self.lines: list[dict[str, Any]] = [json.loads(line) for line in whole.splitlines()]
        except ValueError as error:
            raise DatasetError(
                f"'{path}' cannot be read: {error}; without it the dataset cannot be continued."
            ) from error
        self._file = path.open("a")

    def add(self, line: dict[str, Any]) -> None:
        """Append a line."""
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
