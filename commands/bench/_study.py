"""A study: cells of task, policy and seed, each trained and evaluated by the ordinary verbs in processes of their own.

    <run_dir>/<task>/demonstrations/        praxon collect
    <run_dir>/<task>/expert/                praxon eval agent=expert, on the starts of every evaluation
    <run_dir>/<task>/<policy>-<seed>/train  praxon train
    <run_dir>/<task>/<policy>-<seed>/eval   praxon eval

A stage is done when its result.json is there, so a study that was stopped goes on where it was.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from praxon.commands._run import write_json
from praxon.errors import ConfigError

MADE_WITH = "made_with.json"


@dataclass(frozen=True)
class Cell:
    """One training and its evaluation."""

    task: str
    policy: str
    seed: int

    def folder(self, root: Path) -> Path:
        """Where it is kept."""
        return root / self.task / f"{self.policy}-{self.seed}"


@dataclass(frozen=True)
class Study:
    """What is compared, and under which equal conditions.

    Args:
        tasks: name -> overrides that choose the task, as for praxon collect.
        policies: name -> overrides that choose the policy, as for praxon train.
        seeds: of training.
        demonstrations: by the task's expert, the same for every policy.
        episodes: unseen starts, the same for every policy and the expert.
        minutes: of training, on one core each [min].
        root: folder of the study.
    """

    tasks: Mapping[str, Sequence[str]]
    policies: Mapping[str, Sequence[str]]
    seeds: Sequence[int]
    demonstrations: int
    episodes: int
    minutes: float
    root: Path

    @property
    def cells(self) -> list[Cell]:
        """Every cell: seed by seed and task by task, so that a study that is cut short compares like with like."""
        return [Cell(task, policy, seed) for seed in self.seeds for task in self.tasks for policy in self.policies]

    def collect(self, task: str) -> "Stage":
        """The demonstrations of a task."""
        folder = self.root / task / "demonstrations"
        return Stage(folder, "collect", [*self.tasks[task], f"episodes={self.demonstrations}"], "dataset")

    def expert(self, task: str) -> "Stage":
        """The expert on the evaluation's starts."""
        return Stage(self.root / task / "expert", "eval", [*self.tasks[task], "agent=expert", *self._starts])

    def train(self, cell: Cell) -> "Stage":
        """The training of a cell."""
        settings = [
            *self.policies[cell.policy],
            f"dataset={self.root / cell.task / 'demonstrations' / 'dataset'}",
            f"minutes={self.minutes}",
            "steps=1000000000",
            f"seed={cell.seed}",
        ]
        return Stage(cell.folder(self.root) / "train", "train", settings, "checkpoints")

    def evaluate(self, cell: Cell) -> "Stage":
        """The evaluation of a cell."""
        bundle = cell.folder(self.root) / "train" / "bundle"
        return Stage(
            cell.folder(self.root) / "eval", "eval", [*self.tasks[cell.task], f"bundle={bundle}", *self._starts]
        )

    @property
    def _starts(self) -> list[str]:
        return [f"episodes={self.episodes}"]


@dataclass
class Stage:
    """One verb in a folder of its own.

    Args:
        folder: its run_dir.
        verb: of praxon.
        settings: overrides.
        resumes: what is in the folder when the verb can go on with ``resume=true``; None where it starts anew.
    """

    folder: Path
    verb: str
    settings: list[str]
    resumes: str | None = None

    @property
    def result(self) -> dict[str, Any] | None:
        """What the verb left, or None while it is not done."""
        path = self.folder / "result.json"
        return json.loads(path.read_text()) if path.exists() else None

    def check(self) -> None:
        """Refuse a folder that was made with other settings."""
        path = self.folder / MADE_WITH
        before = json.loads(path.read_text())["settings"] if path.exists() else self.settings
        if before != self.settings:
            raise ConfigError(
                f"'{self.folder}' was made with {' '.join(before)}; now {' '.join(self.settings)} is asked for: "
                "another run_dir starts anew."
            )

    @property
    def command(self) -> list[str]:
        """Arguments of the process."""
        resume = self.resumes is not None and (self.folder / self.resumes).exists()
        more = [f"run_dir={self.folder}", *(["resume=true"] if resume else [])]
        return [sys.executable, "-m", "praxon", self.verb, *self.settings, *more]


@dataclass
class Processes:
    """Stages as processes, ended together when one must go."""

    running: dict[int, subprocess.Popen] = field(default_factory=dict)
    stopped: bool = False

    def run(self, stage: Stage) -> str | None:
        """Run a stage unless it is done; returns what it said when it failed."""
        if stage.result is not None or self.stopped:
            return None
        stage.folder.mkdir(parents=True, exist_ok=True)
        write_json(stage.folder / MADE_WITH, {"settings": stage.settings})
        one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
        with (stage.folder / "output.txt").open("ab") as output:
            process = subprocess.Popen(
                stage.command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=one_thread
            )
            self.running[process.pid] = process
            status = process.wait()
            self.running.pop(process.pid)
        if status == 0 or self.stopped:
            return None
        lines = (stage.folder / "output.txt").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"praxon {stage.verb} ended with status {status}"

    def stop(self) -> None:
        """Interrupt what runs, as Ctrl-C would, so that it keeps what it has."""
        self.stopped = True
        for process in list(self.running.values()):
            process.send_signal(signal.SIGINT)


def run_all(work: Sequence[Callable[[Processes], str | None]], jobs: int) -> Iterator[tuple[int, str | None]]:
    """Run pieces of work side by side; yields (index, what went wrong or None) as they end.

    A ``KeyboardInterrupt`` interrupts the processes, waits for them and is raised.
    """
    processes = Processes()
    with ThreadPoolExecutor(jobs) as executor:
        futures: dict[Future, int] = {executor.submit(piece, processes): index for index, piece in enumerate(work)}
        try:
            while futures:
                done, _ = wait(futures, return_when=FIRST_COMPLETED)
                for future in done:
                    yield futures.pop(future), future.result()
        except BaseException:
            processes.stop()
            raise
