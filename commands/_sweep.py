"""Several settings of a verb, tried one after the other or side by side: hydra's sweepers and launchers around ``run``.

    praxon train -m policy=flow,act seed=0,1 dataset=... [hydra/launcher=submitit_slurm hydra.launcher.partition=gpu ...]

    <run_dir>/sweep.json     what was asked for
    <run_dir>/<n>/           run_dir of job n, with made_with.json (its settings) and, where it failed, problem.txt
    <run_dir>/result.json    every job with its settings and result

Hydra decides which job has which settings, and where it runs; each job's config is composed and checked as that of a verb
that runs alone. The same command with the same run_dir goes on: jobs that are done are not run again.
"""

import importlib
import json
import math
import os
import time
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from rich.markup import escape
from rich.table import Table

from praxon.commands._hydra import (
    Config,
    compose_config,
    config_name,
    expanded,
    override_text,
    parsed_overrides,
    search_path,
)
from praxon.commands._run import console, write_json
from praxon.errors import ConfigError, PraxonError
from praxon.targets import CONFIGS

MADE_WITH, PROBLEM, SWEEP, RESULT = "made_with.json", "problem.txt", "sweep.json", "result.json"
QUIET = ["hydra/job_logging=none", "hydra/hydra_logging=none", "hydra.output_subdir=null", "hydra.job.chdir=false"]
FIGURES = {
    "loss": "loss",
    "success_rate": "success rate",
    "steps": "steps",
    "parameters": "parameters",
    "training_seconds": r"training \[s]",
}
"""Columns of the table, of which those are shown that the results have, and their headings."""
OBJECTIVES = ("loss", "success_rate")
"""What a job gives to a sweeper that learns from it: the first that its result has."""


def sweep(verb: str, module: str, arguments: list[str]) -> dict[str, Any]:
    """Run a verb with every combination of its settings' values; returns what is written to result.json.

    Args:
        verb: in words.
        module: with its ``run``.
        arguments: of the verb; values separated by commas are tried in turn, and what begins with ``hydra`` is for hydra.

    Raises:
        ConfigError: a setting is wrong, or run_dir holds another sweep; or jobs failed, all others having been run.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "A sweep is started once, not under torchrun; its jobs may have several tasks of a launcher each."
        )
    overrides, settings, for_hydra = check_sweep(verb, arguments)
    asked = [override_text(each) for each in settings]
    folder = _folder(overrides, asked)
    quoted = "'" + str(folder.absolute()).replace("'", r"\'") + "'"
    all_overrides = [
        *search_path(),
        *QUIET,
        f"hydra.sweep.dir={quoted}",
        *(override_text(each) for each in for_hydra),
        *asked,
    ]
    try:
        with initialize_config_dir(config_dir=str(CONFIGS.resolve()), version_base="1.3", job_name=config_name(verb)):
            hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        hydra.multirun(config_name(verb), partial(run_job, verb, module), all_overrides, with_log_configuration=False)
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(f"The same command with run_dir={folder} goes on with this sweep.") from interrupt
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"The sweep cannot be launched: {' '.join(str(error).split())}") from error
    return _report(verb, folder)


def run_job(verb: str, module: str, config: Config) -> float:
    """One job, called by hydra's launcher, perhaps on another machine; returns what a sweeper may learn from."""
    job = HydraConfig.get()
    settings = list(job.overrides.task)
    folder = Path(job.runtime.output_dir)
    _join_tasks()
    result = done(folder, settings)
    if result is None:
        begun = (folder / "checkpoints").exists() or (folder / "dataset").exists()
        places = [f"run_dir='{folder}'"]
        try:
            composed = compose_config(verb, [*settings, *places])
            if "resume" in composed:
                composed.resume = begun
            importlib.import_module(module).run(composed)
            (folder / PROBLEM).unlink(missing_ok=True)
        except Exception as error:  # the other jobs go on; the report tells of it
            sentence = str(error) if isinstance(error, PraxonError) else traceback.format_exc()
            (folder / PROBLEM).write_text(f"{sentence.strip()}\n")
            return math.nan
        result = done(folder, settings) or {}
    return next((float(result[name]) for name in OBJECTIVES if result.get(name) is not None), math.nan)


def done(folder: Path, settings: list[str]) -> dict[str, Any] | None:
    """The result of a job, None while it has none; its folder is claimed for these settings.

    Raises:
        ConfigError: the folder was made with others.
    """
    made_with = folder / MADE_WITH
    if made_with.exists() and json.loads(made_with.read_text()) != settings:
        raise ConfigError(
            f"'{folder}' was made with {' '.join(json.loads(made_with.read_text()))}, and {' '.join(settings)} is asked for "
            "now; another run_dir starts anew."
        )
    folder.mkdir(parents=True, exist_ok=True)
    if not made_with.exists():
        whole = made_with.with_suffix(f".{os.getpid()}")  # tasks of one job may be here at once
        whole.write_text(json.dumps(settings))
        os.replace(whole, made_with)
    finished = folder / RESULT
    return json.loads(finished.read_text()) if finished.exists() else None


def check_sweep(verb: str, arguments: list[str]) -> tuple[list[Override], list[Override], list[Override]]:
    """Compose configs in which every value of every setting occurs, so that a mistake is met before anything runs.

    Returns:
        All overrides; those of the jobs' settings; those for hydra.

    Raises:
        ConfigError: naming the override that is wrong and what would be right.
    """
    overrides = parsed_overrides(expanded(verb, arguments))
    for_hydra = [each for each in overrides if each.key_or_group.partition(".")[0].partition("/")[0] == "hydra"]
    settings = [each for each in overrides if each not in for_hydra and each.key_or_group not in ("run_dir", "resume")]
    values = [
        [f"{each.get_key_element()}={text}" for text in each.sweep_string_iterator()]
        if each.is_sweep_override() and each.is_discrete_sweep()
        else ([] if each.is_sweep_override() else [override_text(each)])
        for each in settings
    ]
    for number in range(max([1, *map(len, values)])):
        compose_config(verb, [texts[number % len(texts)] for texts in values if texts])
    return overrides, settings, for_hydra


def _folder(overrides: Sequence[Override], asked: list[str]) -> Path:
    """The sweep's folder: as run_dir says, else a new one."""
    chosen = next((each.value() for each in overrides if each.key_or_group == "run_dir"), None)
    folder = Path(str(chosen)) if chosen else Path("runs") / "sweep" / time.strftime("%Y-%m-%d_%H-%M-%S")
    file = folder / SWEEP
    if file.exists() and json.loads(file.read_text())["settings"] != asked:
        raise ConfigError(
            f"run_dir '{folder}' holds the sweep {' '.join(json.loads(file.read_text())['settings'])}; the same settings go on "
            "with it, another run_dir starts a new one."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(file, {"settings": asked})
    except OSError as error:
        raise ConfigError(f"run_dir '{folder}' cannot be written: {error.strerror}.") from error
    return folder


def _join_tasks() -> None:
    """Tasks that submitit gave to one job train together, as if torchrun had started them."""
    if "SUBMITIT_EXECUTOR" not in os.environ:  # in an allocation of several tasks, but not one of them
        return
    import submitit

    if submitit.JobEnvironment().num_tasks > 1:
        submitit.helpers.TorchDistributedEnvironment().export()


def _report(verb: str, folder: Path) -> dict[str, Any]:
    """Collect what the jobs left, show it, and say what failed."""
    jobs, problems = [], []
    for made_with in sorted(folder.glob(f"*/{MADE_WITH}"), key=lambda path: (len(path.parent.name), path)):
        place = made_with.parent
        job: dict[str, Any] = {"folder": place.name, "settings": json.loads(made_with.read_text())}
        if (place / RESULT).exists():
            job["result"] = json.loads((place / RESULT).read_text())
        else:
            text = (place / PROBLEM).read_text().strip() if (place / PROBLEM).exists() else "It left no result."
            job["problem"] = text
            problems.append(f"{place.name} ({' '.join(job['settings'])}): {text.splitlines()[-1]}")
        jobs.append(job)
    report = {"verb": verb, "jobs": jobs}
    write_json(folder / RESULT, report)
    figures = [name for name in FIGURES if any(job.get("result", {}).get(name) is not None for job in jobs)]
    common = set.intersection(*(set(job["settings"]) for job in jobs)) if len(jobs) > 1 else set()
    table = Table("job", title=f"{verb}: {len(jobs)} jobs in {folder}")
    table.add_column("settings", overflow="fold")
    for name in figures:
        table.add_column(FIGURES[name], justify="right", overflow="fold")
    for job in jobs:
        settings = escape("\n".join(text for text in job["settings"] if text not in common))
        result = job.get("result", {})
        table.add_row(job["folder"], settings, *(_shown(result.get(name)) for name in figures))
    console.print(table)
    if problems:
        raise ConfigError(f"{len(problems)} of {len(jobs)} jobs failed: {'; '.join(problems)}")
    return report


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}"
