"""Whether speed costs success: the same weights on the same 200 starts by every backend, and with cached blocks.

Before, once, a policy for the backends and an 8-layer transformer, 256 wide, to be cached at 100 steps:

    praxon collect task=pick_place task.moving='{speed:0.02,jump:0.08,jump_s:3}' episodes=200 run_dir=runs/rtc/demonstrations
    praxon train policy=flow dataset=runs/rtc/demonstrations/dataset steps=10000 run_dir=runs/rtc/flow
    praxon collect task=lift episodes=100 run_dir=runs/cache/demonstrations
    praxon train policy=diffusion_transformer policy.network.size=base policy.network.depth=8 \\
        dataset=runs/cache/demonstrations/dataset steps=1700 run_dir=runs/cache/transformer

usage: python benchmarks/engine_success.py [--backends runs/rtc/flow/bundle] [--cached runs/cache/transformer/bundle]
           [--folder runs/engine_success] [--episodes 200] [--workers 2]

Evaluations that are there already, in the folder, are not done again. Keeps results/engine_success.json.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _record import record
from _study import difference, praxon, successes

from praxon.policies.bundle import load_bundle
from praxon.policies.torch_runtime import TorchRuntime

MOVING = "task.moving={speed:0.02,jump:0.08,jump_s:3}"
SERVINGS = {
    "eager": {"backend": "eager"},
    "compile": {"backend": "compile"},
    "onnx": {"backend": "onnx"},
    "openvino": {"backend": "openvino"},
    "openvino, bfloat16": {"backend": "openvino", "precision": "bfloat16"},
}
SLOW = "{solver:ddpm,steps:100}"
UPDATES = (10,)
ROUNDS = 12


def main() -> None:
    """Evaluate what is not there yet, time the cached networks, keep everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", type=Path, default=Path("runs/rtc/flow/bundle"))
    parser.add_argument("--cached", type=Path, default=Path("runs/cache/transformer/bundle"))
    parser.add_argument("--folder", type=Path, default=Path("runs/engine_success"))
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    by_backend = {
        name: evaluated(asked, f"by {name}", asked.backends, "pick_place", f"serving={json_like(serving)}", MOVING)
        for name, serving in SERVINGS.items()
    }
    by_cache = {"every block": evaluated(asked, "every block", asked.cached, "lift", f"engine={SLOW}")}
    speed = {}
    for updates in UPDATES:
        cached = asked.folder / f"cached_{updates}"
        if not cached.exists():
            praxon("calibrate", f"bundle={asked.cached}", "task=lift", f"engine={SLOW}", f"updates={updates}",
                   "episodes=4", f"out={cached}", f"run_dir={asked.folder / f'calibrate_{updates}'}")  # fmt: skip
        name = f"{updates} updates"
        by_cache[name] = evaluated(asked, name, cached, "lift")
        speed[name] = compared(asked.cached, cached)
    by_cache["10 steps of DDIM"] = evaluated(asked, "ddim", asked.cached, "lift", "engine={solver:ddim,steps:10}")
    speed["10 steps of DDIM"] = compared(asked.cached, asked.cached, {"solver": "ddim", "steps": 10})
    print(
        record("engine_success", {"seed": 0, "backends": paired(by_backend), "cache": paired(by_cache), "speed": speed})
    )


def evaluated(asked: Any, name: str, bundle: Path, task: str, *settings: str) -> dict[str, Any]:
    """The result of an evaluation, done now or before."""
    folder = asked.folder / name.replace(" ", "_").replace(",", "")
    result = folder / "result.json"
    if not result.exists():
        amount = (f"episodes={asked.episodes}", f"workers={asked.workers}")
        praxon("eval", f"bundle={bundle}", f"task={task}", *settings, *amount, f"run_dir={folder}")
    return dict(json.loads(result.read_text()))


def json_like(settings: dict[str, str]) -> str:
    """As the command line takes it."""
    return "{" + ",".join(f"{key}:{value}" for key, value in settings.items()) + "}"


def paired(results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Success of each, and on how many of the same starts it differs from the first."""
    first = next(iter(results.values()))
    rows = {}
    for name, result in results.items():
        pairs = zip(first["episode_results"], result["episode_results"], strict=True)
        assert all(one["seed"] == other["seed"] for one, other in pairs)
        rows[name] = {
            **{
                key: result[key]
                for key in ("task", "episodes", "successes", "success_rate", "interval_95", "latency_ms")
            },
            **difference(successes([first]), successes([result])),
        }
    return rows


def compared(full: Path, other: Path, settings: dict[str, Any] | None = None) -> dict[str, float]:
    """A chunk of 100 steps with every block beside another way of drawing one, in turn, one thread."""
    torch.set_num_threads(1)
    slow, fast = load_bundle(full), load_bundle(other)
    slow.policy.configure_engine({"solver": "ddpm", "steps": 100})
    fast.policy.configure_engine(settings or {})
    generator = np.random.default_rng(0)
    window = {
        feature.name: np.ones((1, slow.contract.chunk.num_obs_steps, *feature.shape), feature.dtype)
        for feature in slow.contract.observations
    }
    runtimes = {"full": TorchRuntime(slow.policy), "other": TorchRuntime(fast.policy)}
    taken: dict[str, list[float]] = {name: [] for name in runtimes}
    for index in range(ROUNDS + 2):
        for name, runtime in runtimes.items():
            noise = runtime.draw_noise(1, generator)
            start = time.perf_counter()
            runtime.chunks(window, noise)
            if index >= 2:
                taken[name].append(1e3 * (time.perf_counter() - start))
    full_ms, other_ms = (float(np.median(each)) for each in taken.values())
    cache = fast.policy.engine.cache  # type: ignore[union-attr]
    share = 1.0 if cache is None else cache.share_run
    return {
        "full_ms": round(full_ms, 2), "ms": round(other_ms, 2), "ratio": round(full_ms / other_ms, 3), "blocks_run": share
    }  # fmt: skip


if __name__ == "__main__":
    main()
