"""The demo's policy on 200 unseen starts under several seeds.

usage: python benchmarks/pick_place.py [demo folder] [seed ...]
"""

import json
import sys
import tempfile
from pathlib import Path

from _record import record

from praxon.commands._hydra import compose_config
from praxon.commands.eval import run

EPISODES = 200
KEPT = ("seed", "episodes", "successes", "success_rate", "interval_95", "latency_ms", "mean_steps")


def main() -> None:
    """Evaluate, print, keep."""
    demo = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo")
    if not (demo / "result.json").exists():
        sys.exit(f"There is no finished demo in '{demo}'; make demo leaves one in runs/demo.")
    seeds = [int(seed) for seed in sys.argv[2:]] or [1, 2, 3]
    evaluations = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            overrides = [
                f"bundle={demo / 'bundle'}",
                "task=pick_place",
                f"episodes={EPISODES}",
                f"seed={seed}",
                f"run_dir={folder}",
            ]
            result = run(compose_config("eval", overrides))
        evaluations.append({key: result[key] for key in KEPT})
    summary = json.loads((demo / "result.json").read_text())
    train = {
        key: summary["train"][key] for key in ("steps", "training_seconds", "episodes", "frames", "parameters", "loss")
    }
    record("pick_place", {"train": train, "sim": summary["sim"], "ros": summary.get("ros"), "evaluations": evaluations})


if __name__ == "__main__":
    main()
