"""What the verbs of `praxon data` print alike."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from praxon.commands._run import require, write_json
from praxon.datasets.lerobot_reader import LeRobotDataset

console = Console(width=max(150, Console().width), soft_wrap=True)  # names and numbers are never cut


def open_dataset(folder: Any, verb: str) -> LeRobotDataset:
    """The dataset that a verb was given, or a sentence that asks for one."""
    require(folder is not None, f"No dataset was given; praxon data {verb} <folder> names one.")
    return LeRobotDataset(Path(str(folder)))


def new_folder(out: Any, example: str) -> Path:
    """The folder for a result, which must not exist or be empty."""
    require(out is not None, f"No place for the result was given; {example} names one.")
    path = Path(str(out))
    require(path.name not in ("", ".."), f"'{out}' is no name of a new folder; {example} names one.")
    require(
        not path.exists() or (path.is_dir() and not any(path.iterdir())),
        f"'{path}' already holds something; a new dataset needs a folder of its own.",
    )
    return path


def table(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    """Print a table; numbers are right-aligned."""
    shown = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[number], (int, float)) for row in rows)
        shown.add_column(column, justify="right" if numeric else "left")
    for row in rows:
        shown.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row))
    console.print(shown)


def keep_json(path: Any, result: dict[str, Any]) -> None:
    """Write the figures to the file that was asked for, if any."""
    if path is not None:
        write_json(Path(str(path)), result)
