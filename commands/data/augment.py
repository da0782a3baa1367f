"""Carry demonstrations over to other starts by the task's own symmetries, replay them in simulation, keep what succeeds.

Leaves a dataset of the same contract in <out>: every episode of it was simulated, observed and solved the task. Its
meta/augmentation.jsonl says for each copy which episode it comes from, by which transforms, and why others were rejected.
Example: praxon data augment runs/lift/dataset out=runs/lift_more per_episode=9
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from praxon.commands._hydra import Config
from praxon.commands._ledger import Ledger
from praxon.commands._run import console, plain, progress_bar, require, require_numbers
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.lerobot_writer import LeRobotWriter
from praxon.errors import DatasetError
from praxon.learning.augmentation import REASONS, Augmenter, Copy, Settings, provenance
from praxon.sim.parallel import run_seeds
from praxon.sim.statistics import success_summary

LEDGER = "meta/augmentation.jsonl"


@dataclass
class Tally:
    """What the ledger adds up to: copies tried and kept, and replays rejected by reason."""

    tried: int = 0
    kept: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    def add(self, line: dict[str, Any]) -> None:
        """Count one line."""
        self.tried += 1
        self.kept += line["episode"] is not None
        self.rejected.update(line["rejected"])

    @property
    def replays(self) -> int:
        """Kept and rejected together."""
        return self.kept + self.rejected.total()

    def why(self) -> str:
        """Reasons of rejection in words."""
        return "; ".join(f"{self.rejected[reason]}: {REASONS[reason]}" for reason in REASONS if self.rejected[reason])


def run(config: Config) -> dict[str, Any]:
    """Augment as configured; returns what was kept and rejected."""
    require(config.dataset is not None, "No dataset was given; praxon data augment <dataset> out=<folder> names one.")
    require(config.out is not None, "No folder was given for the new dataset; out=<folder> names one.")
    require_numbers(config, episodes=1, per_episode=1, seed=0, workers=1, attempts=1)
    require_numbers(config, max_deviation_m=0, perturbation_rad=0, linger_s=0)
    root, out = Path(str(config.dataset)), Path(str(config.out))
    dataset = LeRobotDataset(root)
    sources = min(config.episodes or dataset.num_episodes, dataset.num_episodes)
    task = config.get("task") or dataset.contract.task
    robot = config.get("robot") or dataset.contract.robot
    settings = Settings(config.seed, config.attempts, config.max_deviation_m, config.perturbation_rad, config.linger_s)
    make = partial(
        Augmenter,
        root,
        task if isinstance(task, str) else plain(task),
        robot if isinstance(robot, str) else plain(robot),
        settings,
        sources,
    )
    # Made here once: a task without symmetry, or a dataset of another robot, is met before anything is written.
    simulation = make().simulation
    wanted, name = sources * config.per_episode, simulation.task.name
    with (
        LeRobotWriter(
            out,
            dataset.contract,
            simulation.task.instruction,
            simulation.scene.robot.name,
            metadata=provenance(dataset, settings, sources),
            resume=config.resume,
        ) as writer,
        progress_bar(f"augment {name}", wanted) as advance,
    ):
        tally = _augment(writer, make, wanted, config.workers, advance)
    if not tally.kept:
        raise DatasetError(
            f"None of {tally.replays} replays of demonstrations of '{name}' was kept ({tally.why()}); the folder '{out}' "
            "holds no episode."
        )
    result = {
        "task": name,
        "robot": simulation.scene.robot.name,
        "source": str(root),
        "dataset": str(out),
        "source_episodes": sources,
        "episodes": tally.kept,
        "frames": writer.num_frames,
        "seed": config.seed,
        **success_summary(tally.kept, tally.replays, prefix="replay_"),
        "rejected": {reason: tally.rejected[reason] for reason in REASONS if tally.rejected[reason]},
    }
    low, high = (round(100 * bound) for bound in result["replay_interval_95"])
    console.print(
        f"{tally.kept} episodes, {writer.num_frames} frames in [bold]{out}[/bold]; kept {tally.kept} of {tally.replays} "
        f"replays, {100 * result['replay_success_rate']:.0f} % ({low} to {high} %)."
        + (f" Rejected {tally.why()}." if tally.rejected else "")
    )
    return result


def _augment(
    writer: LeRobotWriter, make: Callable[[], Augmenter], wanted: int, workers: int, advance: Callable[..., None]
) -> Tally:
    """Go on behind the last copy in the ledger; write and note each as it comes."""
    tally = Tally()
    with Ledger(writer.root / LEDGER) as ledger:
        for line in ledger.lines:
            tally.add(line)
        if tally.tried >= wanted:
            return tally
        for copy in run_seeds(make, range(tally.tried, wanted), workers):
            # Killed between writing an episode and noting it, the run finds it there already, the same to the bit.
            if copy.demonstration is not None and tally.kept == writer.num_episodes:
                writer.add_episode(copy.demonstration.frames, copy.demonstration.stamps_ns)
            line = _line(copy, tally.kept)
            ledger.add(line)
            tally.add(line)
            advance(completed=tally.tried, note=f"{tally.kept} of {tally.replays} replays kept")
    return tally


def _line(copy: Copy, episode: int) -> dict[str, Any]:
    """What the ledger says of a copy."""
    return {
        "copy": copy.number,
        "source_episode": copy.source,
        "episode": episode if copy.demonstration is not None else None,
        "transforms": {body: transform.to_plain() for body, transform in copy.transforms.items()},
        "rejected": list(copy.rejected),
    }
