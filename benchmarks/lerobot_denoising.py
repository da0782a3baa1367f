"""Time of a chunk: LeRobot's own diffusion policy beside the same weights, imported and served by each of our backends.

LeRobot's class makes a checkpoint with its default U-Net (512, 1024, 2048), about 250 million parameters, and draws from it
in an environment and a process of its own, DDIM with 10 steps, one chunk. We import the checkpoint and draw from the same
observations and noise. Chunks of the two alternate, so that one works while the other waits; a time runs from observation to
actions in physical units. Ratios are of neighbours, and the deviation is of the actions that LeRobot hands out. Compiling a
network of this size takes more memory and time than most machines have: --backends compile asks for it.

usage: python benchmarks/lerobot_denoising.py [--folder FOLDER] [--only CASE ...] [--backends NAME ...] [--rounds N]
       [--threads N] [--fast]
"""

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from _record import record
from lerobot_environment import ANSWER, Environment, arguments, make_newest

from praxon.commands.bench._roofline import MachineRates, floor_ms, measure_rates, operations, weight_bytes
from praxon.policies.bundle import load_bundle, save_bundle
from praxon.policies.denoising.backends.registry import Serving, make_runtime, missing
from praxon.policies.lerobot.checkpoint import read_checkpoint
from praxon.policies.lerobot.convert import KINDS, bare_contract, convert
from praxon.policies.runtime import Runtime
from praxon.policies.torch_runtime import TorchRuntime

GOAL = 1.5
STEPS = 10
WARM_UPS = 3
DDIM = {"noise_scheduler_type": "DDIM", "num_inference_steps": STEPS}
CASES: dict[str, dict[str, Any]] = {
    "state, horizon 16": {"cameras": 0, "settings": DDIM | {"horizon": 16, "n_action_steps": 8}},
    "state, horizon 64": {"cameras": 0, "settings": DDIM},  # LeRobot's default since 0.6
    "one camera, horizon 64": {"cameras": 1, "settings": DDIM},  # ResNet-18
}
SMALL = {"down_dims": [64, 128, 256]}
BACKENDS = {
    "eager": ("float32",),
    "compile": ("float32",),
    "onnx": ("float32",),
    "openvino": ("float32", "bfloat16"),
}
PARTS = {  # of torch's operations, by words in their names
    "convolutions": ("conv",),
    "matrix products": ("mm", "linear"),
    "normalisation": ("norm",),
}


def main() -> None:
    """Make, import, draw in turn, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments(parser)
    parser.add_argument("--only", nargs="*", default=list(CASES), choices=list(CASES), metavar="CASE")
    parser.add_argument(
        "--backends", nargs="*", default=["eager", "onnx", "openvino"], choices=list(BACKENDS), metavar="NAME"
    )
    parser.add_argument(
        "--rounds", type=int, default=30, help="chunks of each that are compared (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=2, help="of both (default: %(default)s)")
    parser.add_argument("--fast", action="store_true", help="a small U-Net, to see that it runs; nothing is kept")
    asked = parser.parse_args()
    servings = [
        Serving(name, precision, threads=asked.threads)
        for name, precisions in BACKENDS.items()
        for precision in precisions
        if name in ("eager", *asked.backends)
    ]
    folder = asked.folder.resolve()
    lerobot = make_newest(folder)
    rates = measure_rates("cpu", asked.threads)
    result: dict[str, Any] = {
        "lerobot": lerobot.facts,
        "torch": torch.__version__,
        "goal": GOAL,
        "steps": STEPS,
        "threads": asked.threads,
        "rounds": asked.rounds,
        "gflops": round(rates.flops / 1e9, 1),
        "gigabytes_per_s": round(rates.bytes / 1e9, 1),
        "cases": {},
    }
    for name in asked.only:
        case = CASES[name] | {"kind": "diffusion"}
        if asked.fast:
            case["settings"] = case["settings"] | SMALL
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            lerobot.call("policies.py", {"out": scratch, "cases": {"case": case}}, folder / "cache")
            checkpoint = Path(scratch) / "case"
            import_to(checkpoint, Path(scratch) / "bundle")
            request = {"folder": str(checkpoint), "threads": asked.threads}
            with their_side(lerobot, request, folder / "cache") as theirs:
                result["cases"][name] = measure(Path(scratch), theirs, rates, asked.rounds, servings)
    if not asked.fast:
        print(f"kept in {record('lerobot_denoising', result).name}")
    else:
        print(json.dumps(result, indent=1))


def import_to(checkpoint: Path, bundle: Path) -> None:
    """As ``praxon import lerobot`` does."""
    read = read_checkpoint(checkpoint, KINDS)
    converted = convert(read, bare_contract(read, "robot", "task", 0.05))
    save_bundle(bundle, converted.policy, {"policy": converted.config})


class TheirSide:
    """LeRobot in its process."""

    def __init__(self, process: subprocess.Popen) -> None:
        self._process = process
        self.parameters = int(self._answer()["parameters"])

    def chunk(self, row: int) -> tuple[float, np.ndarray]:
        """Seconds, and the actions, of a row of the kept observations."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{row}\n")
        self._process.stdin.flush()
        found = self._answer()
        return float(found["seconds"]), np.array(found["actions"], np.float32)

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(ANSWER):
                return dict(json.loads(line[len(ANSWER) :]))
        raise RuntimeError("LeRobot's side ended before it answered.")


@contextmanager
def their_side(environment: Environment, request: dict[str, Any], cache: Path) -> Iterator[TheirSide]:
    """Started, and ended by the end of its input."""
    process = environment.start("chunks.py", request, cache)
    try:
        yield TheirSide(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def measure(
    scratch: Path, theirs: TheirSide, rates: MachineRates, rounds: int, servings: list[Serving]
) -> dict[str, Any]:
    """Every backend of one case, the eager one first."""
    answers = safetensors.torch.load_file(scratch / "case" / "answers.safetensors")
    found: dict[str, Any] = {"parameters": theirs.parameters, "backends": {}, "left_out": []}
    for serving in servings:
        backend, precision = serving.backend, serving.precision
        problem = missing(serving)
        if problem:
            found["left_out"].append(problem)
            continue
        began = time.perf_counter()
        runtime = make_runtime(load_bundle(scratch / "bundle"), serving)
        made_s = time.perf_counter() - began
        row = in_turn(runtime, theirs, answers, rounds) | {"made_s": round(made_s, 1)}
        if backend == "eager":
            assert isinstance(runtime, TorchRuntime)
            found |= floors(runtime, answers, rates)
            found["eager_shares"] = shares(runtime, answers)
        row["floor_share"] = round(found["floor_ms"] / row["ours_ms"]["p50"], 3)
        found["backends"][f"{backend}, {precision}"] = row
        print(f"{theirs.parameters:,} parameters, {backend}, {precision}: {json.dumps(row)}", flush=True)
        runtime.close()
        del runtime
    return found


def in_turn(runtime: Runtime, theirs: TheirSide, answers: dict[str, torch.Tensor], rounds: int) -> dict[str, Any]:
    """Times of both, and how far apart their actions are."""
    taken: list[tuple[float, float]] = []
    difference = 0.0
    for index in range(WARM_UPS + rounds):
        number = index % len(answers["noise"])
        their_seconds, actions = theirs.chunk(number)
        window, noise = inputs(runtime, answers, number)
        began = time.perf_counter()
        chunk = runtime.chunks(window, noise)
        seconds = time.perf_counter() - began
        difference = max(difference, float(np.abs(chunk[0, : len(actions)] - actions).max()))
        if index >= WARM_UPS:
            taken.append((their_seconds, seconds))
    lerobot_s, ours_s = np.array(taken).T
    low, middle, high = np.percentile(lerobot_s / ours_s, (25, 50, 75))
    return {
        "lerobot_ms": percentiles(lerobot_s),
        "ours_ms": percentiles(ours_s),
        "ratio": {"median": round(middle, 2), "quartiles": [round(low, 2), round(high, 2)]},
        "largest_difference": difference,
    }


def inputs(runtime: Runtime, answers: dict[str, torch.Tensor], row: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The window and the start noise of a row."""
    names = [feature.name for feature in runtime.contract.observations]
    window = {name: answers[name][row : row + 1].numpy() for name in names}
    return window, answers["noise"][row : row + 1, 0].numpy()


def percentiles(seconds: np.ndarray) -> dict[str, float]:
    """In milliseconds."""
    return {name: round(1e3 * float(np.percentile(seconds, q)), 1) for name, q in (("p50", 50), ("p99", 99))}


def floors(runtime: TorchRuntime, answers: dict[str, torch.Tensor], rates: MachineRates) -> dict[str, Any]:
    """The least time for a chunk: its operations, and reading what every step multiplies at every step.

    No cache here holds a billion bytes. What depends on the flow time alone is computed beforehand, what depends on the
    observation once for a chunk; of the U-Net that leaves the convolutions.
    """
    window, noise = inputs(runtime, answers, 0)
    arrays = [torch.from_numpy(array) for array in (noise, *(window[name] for name in runtime.function.features))]
    flops = plain_operations(runtime, tuple(arrays))
    network: Any = runtime.policy.network
    every_step = sum(weight_bytes(part) for part in (network.down, network.middle, network.up, network.head_block))
    moved = STEPS * every_step
    return {
        "gflop": round(flops / 1e9, 2),
        "read_gb": round(moved / 1e9, 3),
        "computing_ms": round(1e3 * flops / rates.flops, 1),
        "reading_ms": round(1e3 * moved / rates.bytes, 1),
        "floor_ms": round(floor_ms(rates, flops, moved), 1),
    }


def plain_operations(runtime: TorchRuntime, arrays: tuple[torch.Tensor, ...]) -> int:
    """Floating point operations of a chunk, counted on torch's own convolutions: packed ones are not known to the counter."""
    forwards = {module: vars(module).pop("forward") for module in runtime.policy.modules() if "forward" in vars(module)}
    try:
        return operations(runtime.function, arrays)
    finally:
        for module, forward in forwards.items():
            module.forward = forward


def shares(runtime: TorchRuntime, answers: dict[str, torch.Tensor]) -> dict[str, float]:
    """Where the eager backend's time goes, by torch's profiler."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for row in range(len(answers["noise"])):
            runtime.chunks(*inputs(runtime, answers, row))
    times = dict.fromkeys([*PARTS, "rest"], 0.0)
    for event in profiler.key_averages():
        part = next((part for part, words in PARTS.items() if any(word in event.key for word in words)), "rest")
        times[part] += event.self_cpu_time_total
    return {part: round(spent / sum(times.values()), 3) for part, spent in times.items()}


if __name__ == "__main__":
    main()
