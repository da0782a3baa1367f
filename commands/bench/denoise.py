"""Time a chunk: every policy network, backend, precision, number of steps and batch, beside the reference in the same run.

The reference is the eager loop over a scheduler of diffusers, one network call per step and nothing hoisted; its chunks are
timed in turn with each backend's, on as many threads. Deviations are those of actions in physical units, for the same noise.
Example: praxon bench denoise only=[default] backends=[openvino] precisions=[float32,bfloat16] threads=2
Example: praxon bench denoise bundle=runs/a/bundle backends=[eager,onnx]
"""

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from praxon.commands._hydra import Config, compose_config
from praxon.commands._run import Run, console, plain, progress_bar, require, require_numbers, write_json
from praxon.errors import ConfigError, nearest

COLUMNS = (
    "policy",
    "backend",
    "precision",
    "steps",
    "batch",
    "p50_ms",
    "p99_ms",
    "ratio",
    "max_deviation",
    "floor_share",
)


HEADINGS = {
    "precision": "as",
    "p50_ms": "p50",
    "p99_ms": "p99",
    "max_deviation": "off by",
    "floor_share": "floor",
}
"""Of columns whose names are long; times in ms, deviations in the action's unit."""


def run(config: Config) -> dict[str, Any]:
    """Measure as configured; returns what is written to result.json."""
    require_numbers(config, threads=1, rounds=5, warm_ups=1, seed=0)
    known = plain(config.policies)
    if config.bundle is not None:
        known = {Path(str(config.bundle)).name: str(config.bundle)}
    only = plain(config.only) or list(known)
    for name in only:
        require(
            name in known, f"There is no policy '{name}' to measure: {', '.join(known)}.{nearest(str(name), known)}"
        )
    import torch

    from praxon.commands.bench._roofline import measure_rates
    from praxon.policies.denoising.backends.machine import processor
    from praxon.policies.denoising.backends.registry import Serving, missing

    # The machine's rates are measured where the backends compute, and so is the reference.
    problem = missing(Serving(threads=config.threads, device=config.device))
    require(not problem, problem)
    torch.manual_seed(config.seed)
    torch.set_num_threads(config.threads)
    work = Run("bench denoise", config)
    work.start()
    rates = measure_rates(config.device, config.threads)
    servings: list[Serving] = []
    left_out: list[str] = []
    for backend in plain(config.backends):
        for precision in plain(config.precisions):
            serving = Serving(backend, precision, threads=config.threads, device=config.device)
            problem = missing(serving)
            if problem:
                left_out.append(problem)
            else:
                servings.append(serving)
    for problem in dict.fromkeys(left_out):
        console.print(f"[yellow]left out[/yellow]: {problem}")
    require(bool(servings), "Nothing is left to measure.")
    rows: list[dict[str, Any]] = []
    cases = [(name, steps, batch) for name in only for steps in list(config.steps) for batch in list(config.batches)]
    with progress_bar("bench denoise", len(cases) * len(servings)) as advance:
        for name, steps, batch in cases:
            case = Case(work.path / "bundles", name, known[name], steps, batch, config, rates)
            for serving in servings:
                row = case.row(serving)
                rows.append(row)
                advance(note=f"{name}, {serving.backend}: " + (row.get("error") or f"{row['p50_ms']:.2f} ms"))
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "device": config.device if config.device == "cpu" else torch.cuda.get_device_name(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "gflops": round(rates.flops / 1e9, 1),
            "gigabytes_per_s": round(rates.bytes / 1e9, 1),
        },
        "conditions": {"threads": config.threads, "rounds": config.rounds, "warm_ups": config.warm_ups},
        "rows": rows,
        "left_out": left_out,
        "seconds": work.seconds,
    }
    work.finish(result)
    if config.out is not None:
        write_json(Path(str(config.out)), result)
    _print(rows)
    return result


class Case:
    """One policy with a number of steps and of chunks, and its reference."""

    def __init__(
        self, folder: Path, name: str, described: Any, steps: int | None, batch: int, config: Config, rates: Any
    ) -> None:
        import torch

        from praxon.commands.bench._roofline import floor_ms, operations, weight_bytes
        from praxon.policies.bundle import load_bundle
        from praxon.policies.denoising.reference import reference_chunk
        from praxon.policies.runtime import example_window
        from praxon.policies.torch_runtime import ChunkFunction

        self.name, self.batch, self.config = name, batch, config
        self.path = Path(described) if isinstance(described, str) else _random_bundle(folder / name, described, config)
        bundle = load_bundle(self.path)
        policy = bundle.policy.to(config.device)
        takes_steps = "steps" in policy.engine_settings()
        self.settings = {"steps": steps} if takes_steps and steps is not None else {}
        policy.configure_engine(self.settings)
        self.steps = int(policy.engine_settings()["steps"]) if takes_steps else 1
        generator = np.random.default_rng(config.seed)
        self.window = example_window(bundle.contract, generator)
        self.noise = generator.standard_normal((batch, *policy.noise_shape), dtype=np.float32)
        window = {key: torch.from_numpy(value).to(config.device) for key, value in self.window.items()}
        noise = torch.from_numpy(self.noise).to(config.device)

        def reference() -> np.ndarray:
            with torch.no_grad():
                drawn: np.ndarray = reference_chunk(policy, window, noise).cpu().numpy()
            return drawn

        self.reference: Callable[[], np.ndarray] = reference
        function = ChunkFunction(policy)
        self.flops = operations(function, (noise, *window.values()))
        self.bytes = weight_bytes(policy)
        self.floor_ms = floor_ms(rates, self.flops, self.bytes)

    def row(self, serving: Any) -> dict[str, Any]:
        """Times of a backend and of the reference in turn, and how far apart their chunks are."""
        from dataclasses import replace

        from praxon.policies.bundle import load_bundle
        from praxon.policies.denoising.backends.registry import make_runtime

        described = {
            "policy": self.name,
            "backend": serving.backend,
            "precision": serving.precision,
            "steps": self.steps,
            "batch": self.batch,
            "threads": serving.threads,
            "preset": "one_step" if self.steps == 1 else f"{self.steps}_steps",
        }
        bundle = load_bundle(self.path)
        bundle.policy.configure_engine(self.settings)
        start = time.perf_counter()
        try:
            runtime = make_runtime(bundle, replace(serving, batch=self.batch))
        except ConfigError as error:
            return {**described, "error": str(error)}
        made_s = time.perf_counter() - start
        calls = {"backend": lambda: runtime.chunks(self.window, self.noise), "reference": self.reference}
        taken: dict[str, list[float]] = {name: [] for name in calls}
        for index in range(self.config.warm_ups + self.config.rounds):
            for name, call in calls.items():
                begun = time.perf_counter()
                call()
                if index >= self.config.warm_ups:
                    taken[name].append(1e3 * (time.perf_counter() - begun))
        difference = np.abs(runtime.chunks(self.window, self.noise) - self.reference())
        runtime.close()
        p50, reference_p50 = (float(np.median(taken[name])) for name in ("backend", "reference"))
        return {
            **described,
            "p50_ms": round(p50, 4),
            "p99_ms": round(float(np.percentile(taken["backend"], 99)), 4),
            "reference_p50_ms": round(reference_p50, 4),
            "ratio": round(reference_p50 / p50, 3),
            "max_deviation": float(difference.max()),
            "rms_deviation": float(np.sqrt(np.square(difference).mean())),
            "made_s": round(made_s, 2),
            "bytes": self.bytes,
            "flops": self.flops,
            "floor_ms": None if self.floor_ms is None else round(self.floor_ms, 4),
            "floor_share": None if self.floor_ms is None else round(self.floor_ms / p50, 4),
        }


def _random_bundle(path: Path, settings: list[str], config: Config) -> Path:
    """A bundle of a policy with random weights, for ``pick_place``: what is timed does not depend on them, what deviates does."""
    import torch

    from praxon.policies.build import build_policy
    from praxon.policies.bundle import save_bundle
    from praxon.sim.factory import make_simulation

    recipe = plain(compose_config("train", [*settings, "task=pick_place"]).policy)
    torch.manual_seed(config.seed)
    policy = build_policy(recipe, make_simulation("pick_place", "panda").contract)
    with torch.no_grad():  # fresh gates and heads are zero, and would hide every deviation
        for parameter in policy.parameters():
            if not parameter.any():
                parameter.normal_(std=0.02)
    policy.normalizer.fit(_unit_statistics(policy))
    save_bundle(path, policy, {"policy": recipe}, card="Random weights, for timing.")
    return path


def _unit_statistics(policy: Any) -> dict[str, dict[str, np.ndarray]]:
    values = {"mean": 0.0, "std": 1.0, "min": -1.0, "max": 1.0, "q01": -1.0, "q99": 1.0}
    shapes = {feature.name: feature.shape for feature in policy.contract}
    rows = (policy.contract.chunk.horizon,) if policy.actions.row_shape else ()
    shapes[policy.contract.action.name] = (*rows, policy.actions.size)
    return {name: {key: np.full(shape, value) for key, value in values.items()} for name, shape in shapes.items()}


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table(title="time of a chunk beside the eager loop over diffusers")
    for column in COLUMNS:
        table.add_column(
            HEADINGS.get(column, column), justify="left" if column in COLUMNS[:3] else "right", no_wrap=True
        )
    for row in rows:
        if "error" not in row:
            table.add_row(
                *(
                    f"{row[key]:.3g}" if isinstance(row[key], float) else ("" if row[key] is None else str(row[key]))
                    for key in COLUMNS
                )
            )
    console.print(table)
    for row in rows:
        if "error" in row:
            console.print(f"{row['policy']}, {row['backend']}: {row['error']}", markup=False)
