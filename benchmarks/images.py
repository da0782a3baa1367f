"""A policy that sees: pick_place from one camera and the robot's own joints, trained as far as the machine allows.

usage: python benchmarks/images.py [folder] [steps]

Collects, trains and evaluates in ``folder`` (default runs/images); each part that is done is kept, and a training that was
stopped goes on. Keeps results/images.json and the curve, docs/images.png.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from _record import record

DEMONSTRATIONS, EPISODES, STEPS = 200, 50, 9000
POLICY = (
    "policy=flow",
    "policy.observations=[observation.state,observation.images.front]",
    "policy.chunk.num_obs_steps=1",
    "policy.network.shortest_period=0.004",
    "training.learning_rate=1e-3",
    "training.checkpoint_every=500",
    "threads=2",
)
POINTS = 120  # of the curve


def main() -> None:
    """Collect, train, evaluate, keep."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/images")
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else STEPS
    data, train, evaluation = folder / "data", folder / "train", folder / "eval"
    if not (data / "result.json").exists():
        praxon("collect", "task=pick_place", "cameras=[front]", f"episodes={DEMONSTRATIONS}", f"run_dir={data}")
    if not (train / "result.json").exists():
        resume = f"resume={'true' if (train / 'checkpoints').exists() else 'false'}"
        praxon("train", *POLICY, f"dataset={data / 'dataset'}", f"steps={steps}", resume, f"run_dir={train}")
    if not (evaluation / "result.json").exists():
        praxon("eval", f"bundle={train / 'bundle'}", f"episodes={EPISODES}", "video=true", f"run_dir={evaluation}")
    collected, trained, evaluated = (
        json.loads((each / "result.json").read_text()) for each in (data, train, evaluation)
    )
    curve = curve_of(train / "metrics.jsonl")
    figure(curve, evaluated, Path(__file__).parents[1] / "docs" / "images.png")
    kept = {
        "expert": {key: collected[key] for key in ("expert_successes", "expert_attempts")},
        "train": {
            key: trained[key]
            for key in ("steps", "training_seconds", "episodes", "frames", "parameters", "loss", "seed")
        },
        "evaluation": {key: evaluated[key] for key in ("seed", "episodes", "successes", "success_rate", "interval_95")},
        "latency_ms": evaluated["latency_ms"],
        "curve": curve,
    }
    print(record("images", kept))


def praxon(*arguments: str) -> None:
    """Run a verb in a process of its own."""
    subprocess.run([sys.executable, "-m", "praxon", *arguments], check=True)


def curve_of(metrics: Path) -> dict[str, list[float]]:
    """Mean loss of equal stretches of the training, at the step and the minute at which each ends."""
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    parts = np.array_split(np.array([[row["step"], row["elapsed_s"] / 60, row["loss"]] for row in rows]), POINTS)
    return {
        "step": [int(part[-1, 0]) for part in parts],
        "minutes": [round(part[-1, 1], 2) for part in parts],
        "loss": [round(part[:, 2].mean(), 4) for part in parts],
    }


def figure(curve: dict[str, list[float]], evaluated: dict, path: Path) -> None:
    """The loss over the steps, and what came of it."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.2), layout="constrained")
    axes.plot(curve["step"], curve["loss"], color="tab:blue")
    axes.set(xlabel="optimiser steps of 64 windows", ylabel="flow matching loss", yscale="log")
    axes.grid(alpha=0.3)
    low, high = evaluated["interval_95"]
    axes.set_title(
        f"pick_place from one 84x84 camera: {evaluated['successes']} of {evaluated['episodes']} unseen starts "
        f"({100 * low:.0f} to {100 * high:.0f} %)",
        fontsize=10,
    )
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
