"""What every verb does around its work: a run folder with the resolved config, a log and result.json; progress bars."""

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from praxon.commands._hydra import Config
from praxon.errors import ConfigError, PraxonError
from praxon.targets import options

console = Console(soft_wrap=True)
log = logging.getLogger("praxon")


class Run:
    """The folder of one run.

    Args:
        verb: name of the verb.
        config: resolved; ``start`` writes it to ``config.yaml``.
    """

    def __init__(self, verb: str, config: Config) -> None:
        chosen = config.get("run_dir")
        self.path = Path(str(chosen)) if chosen else Path("runs") / verb / time.strftime("%Y-%m-%d_%H-%M-%S")
        self._config = OmegaConf.to_yaml(config)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handler = logging.FileHandler(self.path / "log.txt")
        except OSError as error:
            raise ConfigError(f"run_dir '{self.path}' cannot be written: {error.strerror}.") from error
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        for old in log.handlers[:]:
            log.removeHandler(old)
            old.close()
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.info("praxon %s in %s", verb, self.path)
        self._began = time.perf_counter()

    def start(self, replace: bool = True) -> None:
        """Write ``config.yaml``: called once nothing can be refused any more, so that a refusal leaves earlier runs alone."""
        path = self.path / "config.yaml"
        if replace or not path.exists():
            path.write_text(self._config)

    @property
    def seconds(self) -> float:
        """Wall time since the run began [s]."""
        return round(time.perf_counter() - self._began, 2)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write ``result.json`` whole or not at all."""
        write_json(self.path / "result.json", result)
        log.info("result %s", json.dumps({k: v for k, v in result.items() if not isinstance(v, (list, dict))}))


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write beside and rename, so that a reader never sees half a file."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(data, indent=2) + "\n")
    os.replace(temporary, path)


@contextmanager
def progress_bar(description: str, total: int, percent: bool = False) -> Iterator[Any]:
    """Yields ``advance(steps=1, **fields)``; ``note='...'`` shows a figure behind the bar."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn() if percent else MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(description, total=total, note="")

        def advance(steps: float = 1, note: str | None = None, completed: float | None = None) -> None:
            progress.update(task, advance=None if completed is not None else steps, completed=completed)
            if note is not None:
                progress.update(task, note=note)

        try:
            yield advance
        except PraxonError:
            if not progress.tasks[task].completed:  # refused before it began: no bar beneath the sentence
                progress.live.transient = True
            raise


def require(condition: bool, sentence: str) -> None:
    """``ConfigError`` with this sentence unless the condition holds."""
    if not condition:
        raise ConfigError(sentence)


def require_numbers(config: Config, **least: float) -> None:
    """``ConfigError`` unless each named setting is a number of at least this much; null passes."""
    for name, minimum in least.items():
        value = config[name]
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        require(value is None or (number and value >= minimum), f"{name} is {value}; at least {minimum:g} is needed.")


def settings_of(config: Config, name: str, example: str) -> dict[str, Any]:
    """A setting that holds settings by name, as plain containers; empty where it is null.

    Args:
        config: of the verb.
        name: of the setting.
        example: of a value, for errors.

    Raises:
        ConfigError: the setting holds something else.
    """
    value = config[name]
    require(
        value is None or isinstance(value, Mapping),
        f"{name} is {value}; settings by name are needed, such as {name}={example}.",
    )
    return plain(value) if value else {}


def serving_of(config: Config) -> dict[str, Any]:
    """``serving``, for verbs that let one policy act: they draw one chunk at a time.

    Raises:
        ConfigError: no settings by name, or a batch of several.
    """
    serving = settings_of(config, "serving", SERVING_EXAMPLE)
    batch = serving.get("batch", 1)
    require(
        batch == 1,
        f"serving.batch is {batch}; one chunk is drawn at a time here. candidates={batch} draws as many and keeps the best.",
    )
    return serving


ENGINE_EXAMPLE, SERVING_EXAMPLE = "{steps:4}", "{backend:openvino}"


def task_of(config: Config) -> dict[str, Any]:
    """The task that was chosen, or the one that the bundle is for.

    Another task than the bundle's own may be chosen, where its contract fits; that is said aloud.
    """
    chosen = config.get("task")
    if config.bundle is None:
        require(chosen is not None, f"No task was given. Tasks: {', '.join(options('task'))}.")
        return plain(chosen)
    from praxon.policies.denoising.backends.registry import contract_of
    from praxon.sim.factory import task_config, task_name

    own = contract_of(Path(str(config.bundle))).task
    if chosen is None:
        return task_config(own)
    name = task_name(plain(chosen))
    if name != own:
        console.print(f"The bundle was trained for '{own}'; it is used on '{name}'.")
    return plain(chosen)


def plain(config: Config) -> dict[str, Any]:
    """A config node as plain containers."""
    return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]
