"""Compare policies: the same demonstrations, the same training time, the same unseen starts.

Leaves result.json with every cell (task, policy, seed): success with interval, parameters, steps, training time, and
the time of a chunk. A study that was stopped goes on when the same command is given again.
Example: praxon bench policies study=meta_world policies=[flow,act] seeds=[0]
"""

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from praxon.commands._hydra import Config
from praxon.commands._run import Run, console, log, plain, progress_bar, require, require_numbers, write_json
from praxon.commands.bench._study import Cell, Processes, Study, run_all
from praxon.errors import nearest
from praxon.sim.statistics import success_summary
from praxon.targets import options

KEPT_OF_TRAINING = ("parameters", "steps", "loss", "training_seconds")
KEPT_OF_EVALUATION = ("episodes", "successes", "success_rate", "interval_95", "mean_steps")


def run(config: Config) -> dict[str, Any]:
    """Run what is missing of the study; returns what is written to result.json."""
    require_numbers(config, jobs=1)
    study = study_of(config)
    if config.run_dir is None:
        config.run_dir = str(study.root)
    for stage in _stages(study):
        stage.check()
    work = Run("bench policies", config)
    work.start()
    jobs = config.jobs or os.cpu_count() or 1
    failures: dict[str, str] = {}

    def piece(*stages: Any) -> Callable[[Processes], str | None]:
        return lambda processes: next(filter(None, map(processes.run, stages)), None)

    tasks = list(study.tasks)
    rounds = {
        "demonstrations": [(f"{task}: expert", piece(study.collect(task), study.expert(task))) for task in tasks],
        "trainings": [
            (f"{cell.task}, {cell.policy}, seed {cell.seed}", piece(study.train(cell), study.evaluate(cell)))
            for cell in study.cells
        ],
    }
    for name, pieces in rounds.items():
        with progress_bar(f"{name} of {config.study.name}", len(pieces)) as advance:
            try:
                for index, problem in run_all([each for _, each in pieces], jobs):
                    label = pieces[index][0]
                    if problem:
                        failures[label] = problem
                        console.print(f"[red]{label}[/red]: {problem}")
                        log.error("%s: %s", label, problem)
                    advance(note=label)
            except KeyboardInterrupt:
                raise KeyboardInterrupt("The same command again goes on with this study.") from None
    result = {
        "study": config.study.name,
        "date": time.strftime("%Y-%m-%d"),
        "machine": _machine(),
        "conditions": {
            "demonstrations": study.demonstrations,
            "episodes": study.episodes,
            "minutes": study.minutes,
            "cores_per_training": 1,
            "trainings_side_by_side": jobs,
        },
        "policies": {name: list(overrides) for name, overrides in study.policies.items()},
        "tasks": {name: list(overrides) for name, overrides in study.tasks.items()},
        "experts": {task: _kept(study.expert(task).result, KEPT_OF_EVALUATION) for task in tasks},
        "cells": [_cell(study, cell) for cell in study.cells if study.evaluate(cell).result is not None],
        "latency_ms": _latencies(study) if config.latency else {},
        "failures": failures,
        "seconds": work.seconds,
    }
    work.finish(result)
    if config.out is not None:
        write_json(Path(str(config.out)), result)
    _print(study, result)
    require(not failures, f"{len(failures)} of {len(study.cells)} cells failed; the same command tries them again.")
    return result


def study_of(config: Config) -> Study:
    """The study with its choices narrowed to what was asked for.

    Raises:
        ConfigError: a policy or task is not in the study.
    """
    study = plain(config.study)
    policies = study["policies"] or {name: [f"policy={name}"] for name in options("policy") if name != "debug"}
    chosen: dict[str, dict[str, list[str]]] = {}
    for name, known in (("policies", policies), ("tasks", study["tasks"])):
        asked = plain(config[name]) or list(known)
        for each in asked:
            require(
                each in known,
                f"Study '{study['name']}' has no '{each}' among its {name}: {', '.join(known)}.{nearest(str(each), known)}",
            )
        chosen[name] = {each: known[each] for each in asked}
    root = Path(str(config.run_dir)) if config.run_dir else Path("runs") / "bench" / study["name"]
    return Study(
        chosen["tasks"],
        chosen["policies"],
        list(config.seeds) or study["seeds"],
        study["demonstrations"],
        study["episodes"],
        study["minutes"],
        root,
    )


def _stages(study: Study) -> list[Any]:
    shared = [stage for task in study.tasks for stage in (study.collect(task), study.expert(task))]
    return shared + [stage for cell in study.cells for stage in (study.train(cell), study.evaluate(cell))]


def _cell(study: Study, cell: Cell) -> dict[str, Any]:
    return {
        "task": cell.task,
        "policy": cell.policy,
        "seed": cell.seed,
        **_kept(study.train(cell).result, KEPT_OF_TRAINING),
        **_kept(study.evaluate(cell).result, KEPT_OF_EVALUATION),
    }


def _kept(result: dict[str, Any] | None, keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: result[key] for key in keys} if result else {}


def _latencies(study: Study) -> dict[str, Any]:
    """Chunk times by task and policy, of the first seed that is there."""
    from praxon.commands.bench._latency import chunk_latencies

    latencies = {}
    for task in study.tasks:
        bundles: dict[str, tuple[Path, Path]] = {}
        for cell in study.cells:
            if cell.task == task and study.evaluate(cell).result is not None:
                dataset = study.collect(task).folder / "dataset"
                bundles.setdefault(cell.policy, (cell.folder(study.root) / "train" / "bundle", dataset))
        if bundles:
            latencies[task] = chunk_latencies(bundles)
    return latencies


def _machine() -> str:
    import torch

    return (
        f"{os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}, torch {torch.__version__}"
    )


def pooled(result: dict[str, Any], policy: str, task: str | None = None) -> dict[str, Any] | None:
    """Success of a policy over seeds, and over tasks where none is named; None where nothing was run."""
    cells = [c for c in result["cells"] if c["policy"] == policy and task in (None, c["task"])]
    if not cells:
        return None
    return success_summary(sum(c["successes"] for c in cells), sum(c["episodes"] for c in cells))


def _print(study: Study, result: dict[str, Any]) -> None:
    table = Table(title=f"{result['study']}: success in percent (95 % interval)")
    for column in ("policy", *study.tasks, "all", "parameters", r"training \[s]", r"chunk p50 \[ms]"):
        table.add_column(column, justify="left" if column == "policy" else "right")
    table.add_row("expert", *(_percent(result["experts"][task]) for task in study.tasks), "", "", "", "")
    for policy in study.policies:
        cells = [cell for cell in result["cells"] if cell["policy"] == policy]
        if not cells:
            continue
        chunk = [times[policy]["p50"] for times in result["latency_ms"].values() if policy in times]
        table.add_row(
            policy,
            *(_percent(pooled(result, policy, task)) for task in study.tasks),
            _percent(pooled(result, policy)),
            f"{cells[0]['parameters']:,}",
            f"{np.mean([cell['training_seconds'] for cell in cells]):.0f}",
            f"{np.median(chunk):.1f}" if chunk else "",
        )
    console.print(table)


def _percent(figures: dict[str, Any] | None) -> str:
    if not figures:
        return ""
    low, high = figures["interval_95"]
    return f"{100 * figures['success_rate']:.0f} ({100 * low:.0f}-{100 * high:.0f})"
