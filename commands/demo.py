"""The whole circle: collect, train, evaluate in simulation and over ROS 2, report.

Leaves bundle/, dataset/, report.html, video.mp4 and result.json in run_dir. A demo that was interrupted is continued
from the stage it was in.
Example: praxon demo task=lift minutes=2
"""

import importlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from rich.table import Table

from praxon.commands._hydra import Config, compose_config, group_overrides
from praxon.commands._report import LABELS, write_report
from praxon.commands._run import console, require_numbers, write_json
from praxon.errors import ConfigError

FIGURES = ("episodes", "successes", "success_rate", "interval_95", "latency_ms", "seed")


def run(config: Config) -> dict[str, Any]:
    """Run every stage that is not done yet; returns what is written to result.json."""
    require_numbers(config, demonstrations=1, minutes=1e-3, episodes=1, ros_episodes=0, seed=0)
    folder = Path(str(config.run_dir))
    _prepare(folder, config)
    common = [*group_overrides(config, "task"), *group_overrides(config, "robot"), f"seed={config.seed}"]
    policy = group_overrides(config, "policy")
    bundle, dataset = folder / "bundle", folder / "dataset"

    stages: dict[str, Callable[[], dict[str, Any]]] = {
        "collect": lambda: _moved(
            _verb(folder, "collect", "collect", [*common, f"episodes={config.demonstrations}"]),
            folder / "collect" / "dataset",
            dataset,
        ),
        "train": lambda: _moved(
            _verb(
                folder,
                "train",
                "train",
                [*policy, f"dataset={dataset}", f"minutes={config.minutes}", f"seed={config.seed}"],
            ),
            folder / "train" / "bundle",
            bundle,
        ),
        "sim": lambda: _verb(
            folder, "sim", "eval", [*common, f"bundle={bundle}", f"episodes={config.episodes}", "video=true"]
        ),
        "expert": lambda: _verb(folder, "expert", "eval", [*common, "agent=expert", f"episodes={config.episodes}"]),
        "hold": lambda: _verb(folder, "hold", "eval", [*common, "agent=hold", f"episodes={config.episodes}"]),
    }
    if config.ros_episodes and _ros_is_there():
        stages["ros"] = lambda: _verb(
            folder, "ros", "serve", [*common, f"bundle={bundle}", f"episodes={config.ros_episodes}"]
        )

    results: dict[str, dict[str, Any]] = {}
    for name, stage in stages.items():
        done = folder / name / "done.json"
        if done.exists():
            console.print(f"[dim]{name}: done before[/dim]")
        else:
            console.rule(name, align="left")
            began = time.perf_counter()
            try:
                result = stage()
            except KeyboardInterrupt:
                raise KeyboardInterrupt("The same command again continues this demo.") from None
            write_json(done, {**result, "seconds": round(time.perf_counter() - began, 2)})
        results[name] = json.loads(done.read_text())
    return _finish(folder, config, results)


def _prepare(folder: Path, config: Config) -> None:
    """Continue an unfinished demo of the same settings; move anything else aside."""
    settings = folder / "config.yaml"
    text = OmegaConf.to_yaml(config)
    finished = (folder / "result.json").exists()
    if (
        folder.exists()
        and (finished or not settings.exists() or settings.read_text() != text)
        and any(folder.iterdir())
    ):
        aside = folder.with_name(f"{folder.name}-{time.strftime('%Y-%m-%d_%H-%M-%S')}")
        os.replace(folder, aside)
        console.print(f"[dim]An earlier demo was moved to {aside}.[/dim]")
    folder.mkdir(parents=True, exist_ok=True)
    settings.write_text(text)


def _ros_is_there() -> bool:
    """Whether episodes over ROS 2 can be run; says so where they cannot."""
    try:
        importlib.import_module("praxon.ros_nodes.graph")
    except ConfigError as error:
        console.print(f"ROS 2 is left out: {error}")
        return False
    return True


def _verb(folder: Path, stage: str, verb: str, overrides: list[str]) -> dict[str, Any]:
    """Run a verb as the command line would, in the stage's folder."""
    module = importlib.import_module(f"praxon.commands.{verb}")
    if verb == "train" and (folder / stage / "checkpoints").exists():
        overrides = [*overrides, "resume=true"]
    elif (folder / stage).exists():
        shutil.rmtree(folder / stage)  # cut off half-way; a seed makes the same again
    result: dict[str, Any] = module.run(compose_config(verb, [*overrides, f"run_dir={folder / stage}"]))
    return result


def _moved(result: dict[str, Any], source: Path, target: Path) -> dict[str, Any]:
    """Put what a stage made where the demo promises it; the result then says so too."""
    if target.exists():
        shutil.rmtree(target)  # of a try that was cut off right here
    os.replace(source, target)
    return {**result, source.name: str(target)}


def _finish(folder: Path, config: Config, results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Table, video, report.html, result.json."""
    film = folder / "sim" / "video.mp4"
    if film.exists():
        os.replace(film, folder / "video.mp4")
    evaluations = {name: results[name] for name in ("sim", "ros", "expert", "hold") if name in results}
    result: dict[str, Any] = {
        "task": results["sim"]["task"],
        "robot": results["sim"]["robot"],
        "seed": config.seed,
        "machine": f"{os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}",
        **{name: {key: value[key] for key in FIGURES} for name, value in evaluations.items()},
        "collect": results["collect"],
        "train": results["train"],
        "video": results["sim"].get("video", []),
        "seconds": {name: value["seconds"] for name, value in results.items()},
    }
    result["seconds"]["total"] = round(sum(result["seconds"].values()), 2)
    latencies = {"inference in simulation": results["sim"]["latencies_ms"]}
    if "ros" in results:
        latencies["observation to command over ROS 2"] = results["ros"]["latencies_ms"]
    write_report(folder / "report.html", result, folder / "train" / "metrics.jsonl", folder / "video.mp4", latencies)
    write_json(folder / "result.json", result)

    table = Table(title=f"{result['task']} on {result['robot']}")
    for column in ("who", "episodes", "successes", "rate", "95 % interval", "latency p50 / p99 \\[ms]"):
        table.add_column(column, justify="left" if column == "who" else "right")
    for name, value in evaluations.items():
        low, high = value["interval_95"]
        p50, p99 = value["latency_ms"]["p50"], value["latency_ms"]["p99"]
        latency = "" if p50 is None else f"{p50:.1f} / {p99:.1f}"
        rate, interval = f"{100 * value['success_rate']:.1f} %", f"{100 * low:.1f} to {100 * high:.1f} %"
        table.add_row(LABELS[name], str(value["episodes"]), str(value["successes"]), rate, interval, latency)
    console.print(table)
    console.print(f"{result['seconds']['total']:.0f} s in all; [bold]{folder / 'report.html'}[/bold]")
    return result
