"""Find the fastest way to draw and compute chunks on this machine that costs no success, and write it into the bundle.

Times every preset with every backend, then evaluates those whose p99 is within the budget on the same starts, in the order of their
p50, until one succeeds as often as the bundle does now, within the tolerance. What the bundle says of its serving, such as its
candidates, stays as it is. Its measured times go into the bundle, and a bundle that is slower than its budget is not served
unless told to.
Example: praxon tune bundle=runs/a/bundle budget_ms=6 episodes=100 out=runs/a/tuned
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import open_dict
from rich.table import Table

from praxon.commands._hydra import Config, compose_config
from praxon.commands._run import Run, console, plain, progress_bar, require, require_numbers
from praxon.errors import ConfigError
from praxon.sim.statistics import wilson_interval

if TYPE_CHECKING:
    from praxon.policies.denoising.backends.registry import Serving

WARM_UPS = 10
AS_IT_IS = "as it is"
"""The bundle's own settings, and the success of them and its own serving."""


def run(config: Config) -> dict[str, Any]:
    """Tune as configured; returns what is written to result.json."""
    require(
        config.bundle is not None, "No bundle was given; bundle=<folder> names a policy, as praxon train leaves it."
    )
    require_numbers(config, episodes=1, rounds=10, seed=0, workers=1, threads=1)
    from praxon.policies.bundle import load_bundle, save_engine
    from praxon.policies.denoising.backends.machine import processor
    from praxon.policies.denoising.backends.registry import Serving

    path = Path(str(config.bundle))
    bundle = load_bundle(path)
    budget_ms = 1e3 * bundle.contract.latency_budget_s if config.budget_ms is None else float(config.budget_ms)
    require(budget_ms > 0, f"budget_ms is {budget_ms:g}; a time above 0 is needed.")
    own = Serving.from_dict(bundle.engine.get("serving") or {})
    choices, servings = _choices(bundle, list(config.presets)), _servings(config, own)
    work = Run("tune", config)
    work.start()
    timed: list[dict[str, Any]] = []
    with progress_bar("time", len(choices) * len(servings)) as advance:
        for name, settings in choices.items():
            for serving in servings:
                # Precision may cost success; who multiplies does not.
                other = "" if serving["precision"] == own.precision else f" in {serving['precision']}"
                row: dict[str, Any] = {"preset": name, "serving": serving, "evaluated": name + other}
                row |= _times(path, settings, serving, config.rounds)
                timed.append(row)
                advance(note=row.get("error") or f"{name}, {serving['backend']}: {row['p50_ms']:.2f} ms")
    done = [row for row in timed if "error" not in row]
    require(bool(done), "No preset could be computed by any backend here.")
    within = sorted((row for row in done if row["p99_ms"] <= budget_ms), key=lambda row: row["p50_ms"])
    fastest = min(row["p99_ms"] for row in done)
    require(
        bool(within),
        f"Nothing here draws a chunk within {budget_ms:g} ms (p99); the fastest takes {fastest:.2f} ms, and the bundle is as "
        "it was. Give more budget_ms, fewer steps, or a smaller network.",
    )
    successes = {AS_IT_IS: _success(config, work.path, AS_IT_IS, {}, {})}
    allowed = successes[AS_IT_IS] - config.tolerance
    chosen = None
    for row in within:
        name = row["evaluated"]
        if name not in successes:
            successes[name] = _success(config, work.path, name, choices[row["preset"]], row["serving"])
        if successes[name] >= allowed:
            chosen = row
            break
    result = {
        "bundle": config.bundle,
        "budget_ms": budget_ms,
        "tolerance": config.tolerance,
        "episodes": config.episodes,
        "seed": config.seed,
        "success": successes,
        "intervals_95": {
            name: wilson_interval(round(rate * config.episodes), config.episodes) for name, rate in successes.items()
        },
        "timed": timed,
        "chosen": chosen,
        "seconds": work.seconds,
    }
    if chosen is not None:
        out = path if config.out is None else Path(str(config.out))
        bundle.policy.configure_engine(choices[chosen["preset"]])
        measured = {
            **{key: chosen[key] for key in ("p50_ms", "p99_ms")},
            "budget_ms": budget_ms,
            "processor": processor(),
            "success": successes[chosen["evaluated"]],
            "success_before": successes[AS_IT_IS],
            "episodes": config.episodes,
            "seed": config.seed,
        }
        engine = {**bundle.policy.engine_settings(), "serving": chosen["serving"], "measured": measured}
        save_engine(bundle, engine, out)
        result["out"] = str(out)
    work.finish(result)
    _print(timed, successes, budget_ms, result["intervals_95"])
    if chosen is None:
        raise ConfigError(
            f"No preset within {budget_ms:g} ms succeeds as often as now ({100 * successes[AS_IT_IS]:.0f} %) within "
            f"{100 * config.tolerance:.0f} points; the bundle is as it was. Give more budget_ms or tolerance."
        )
    console.print(
        f"{chosen['preset']} by {chosen['serving']['backend']}: p50 {chosen['p50_ms']:.2f} ms, p99 {chosen['p99_ms']:.2f} ms, "
        f"{100 * successes[chosen['evaluated']]:.0f} % succeeded ({100 * successes[AS_IT_IS]:.0f} % before); bundle in "
        f"[bold]{result['out']}[/bold]."
    )
    return result


def _choices(bundle: Any, asked: list[str]) -> dict[str, dict[str, Any]]:
    """The bundle's own settings, and presets that differ from them, by name; a cache schedule fits none of these."""
    from praxon.policies.denoising.presets import preset, presets_of
    from praxon.policies.generative import GenerativePolicy

    policy = bundle.policy
    if not isinstance(policy, GenerativePolicy):
        return {AS_IT_IS: {}}
    sampler = policy.engine.sampler
    found = {name: preset(sampler, name) for name in asked} if asked else presets_of(sampler)
    now = policy.engine_settings()
    choices = {name: {"cache": None, **settings} for name, settings in found.items()}
    return {AS_IT_IS: {}, **{name: settings for name, settings in choices.items() if {**now, **settings} != now}}


def _servings(config: Config, own: "Serving") -> list[dict[str, Any]]:
    """The bundle's own serving with every backend and precision that there is here."""
    from praxon.policies.denoising.backends.registry import BACKENDS, missing

    asked = {"threads": config.threads, "device": config.device, "over_budget": False}
    servings = [
        replace(own, backend=backend, precision=precision, **asked)
        for backend in plain(config.backends) or list(BACKENDS)
        for precision in plain(config.precisions)
    ]
    there = [asdict(serving) for serving in servings if not missing(serving)]
    problems = dict.fromkeys(missing(serving) for serving in servings if missing(serving))
    for problem in problems:
        console.print(f"[yellow]left out[/yellow]: {problem}")
    require(bool(there), "No backend is left to try.")
    return there


def _times(path: Path, settings: Mapping[str, Any], serving: Mapping[str, Any], rounds: int) -> dict[str, Any]:
    """p50 and p99 of a chunk [ms], or the sentence that says why there is none."""
    from praxon.policies.denoising.backends.registry import open_runtime
    from praxon.policies.runtime import example_window

    try:
        runtime = open_runtime(path, settings, {**serving, "over_budget": True})
    except ConfigError as error:
        return {"error": str(error)}
    window, generator = example_window(runtime.contract), np.random.default_rng(0)
    count = 1 if serving["candidates"] > 1 else serving["batch"]
    taken = []
    for index in range(WARM_UPS + rounds):
        noise = runtime.draw_noise(count, generator)
        start = time.perf_counter()
        runtime.chunks(window, noise)
        if index >= WARM_UPS:
            taken.append(1e3 * (time.perf_counter() - start))
    runtime.close()
    p50, p99 = np.percentile(taken, [50, 99])
    return {"p50_ms": round(float(p50), 4), "p99_ms": round(float(p99), 4)}


def _success(config: Config, folder: Path, name: str, settings: Mapping[str, Any], serving: Mapping[str, Any]) -> float:
    """Share of the same starts that are solved; what is evaluated goes into a folder of its name."""
    from praxon.commands.eval import run as evaluate

    described = compose_config(
        "eval",
        [f"bundle={config.bundle}", f"episodes={config.episodes}", f"seed={config.seed}", f"workers={config.workers}"],
    )
    with open_dict(described):  # a task that was not chosen has no place in a config
        described.task, described.robot, described.run_dir = (
            config.get("task"),
            config.robot,
            str(folder / name.replace(" ", "_")),
        )
    described.engine, described.serving = dict(settings) or None, {**serving, "over_budget": True}
    return float(evaluate(described)["success_rate"])


def _print(
    timed: list[dict[str, Any]],
    successes: Mapping[str, float],
    budget_ms: float,
    intervals: Mapping[str, tuple[float, float]],
) -> None:
    table = Table(title=f"chunks on this machine; budget {budget_ms:g} ms (p99)")
    for column in ("preset", "backend", "precision", r"p50 \[ms]", r"p99 \[ms]", "success"):
        table.add_column(column, justify="left" if column in ("preset", "backend", "precision") else "right")
    for row in timed:
        if "error" in row:
            continue
        success = successes.get(row["evaluated"])
        low, high = intervals.get(row["evaluated"], (0.0, 1.0))
        table.add_row(
            row["preset"],
            row["serving"]["backend"],
            row["serving"]["precision"],
            f"{row['p50_ms']:.2f}",
            f"{row['p99_ms']:.2f}",
            "" if success is None else f"{100 * success:.0f} % ({100 * low:.0f} to {100 * high:.0f})",
        )
    console.print(table)
