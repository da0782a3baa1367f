"""What an expert's labels are worth: success over labels used, from a policy that was trained on ten demonstrations.

Each seed has its own demonstrations, first policy and starts. All methods begin with that policy, take as many labels a round, and
train as long; the expert's own success is measured on as many starts as the last policies of each method, the same ones.

usage: python benchmarks/dagger.py [--folder runs/dagger] [--task lift] [--seeds 0 1] [--rounds 4] [--labels 300]
           [--steps 2000] [--episodes 200] [--methods ...] [--workers 2] [--gate value]

What is there already, in the folder, is not done again. Keeps results/dagger_<task>.json.
"""

import argparse
from pathlib import Path
from typing import Any

from _record import record
from _study import begun, difference, once, successes

from praxon.sim.statistics import success_summary

ALWAYS = {"fresh": False, "eval_episodes": 100}
"""Few steps of training suffice where each round goes on with the weights of the one before."""
METHODS = ("bc", "dagger", "hg_dagger", "thrifty_dagger")


def main() -> None:
    """Improve and evaluate what is not there yet, keep everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/dagger"))
    parser.add_argument("--task", default="lift", help="a task with a scripted expert (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--labels", type=int, default=300, help="in each round (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=2000, help="of training in each round (default: %(default)s)")
    parser.add_argument("--episodes", type=int, default=200, help="of the last evaluation (default: %(default)s)")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--gate", default="value", help="of hg_dagger (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    rows: dict[str, list[Any]] = {name: [] for name in ("expert", *asked.methods)}
    curves: dict[str, list[Any]] = {method: [] for method in asked.methods}
    for seed in asked.seeds:
        start = begun(asked.folder / asked.task / str(seed), asked.task, 1.0, seed)
        last = [f"task={asked.task}", f"episodes={asked.episodes}", f"seed={seed}", f"workers={asked.workers}"]
        rows["expert"].append(once(start / "expert", "eval", "agent=expert", *last))
        for method in asked.methods:
            folder = start / method
            improved = once(folder, "improve", *settings(asked, method, start, seed))
            curves[method].append(curve(improved))
            bundle = [f"bundle={folder / 'bundle'}", "serving={backend:openvino}"]
            rows[method].append(once(folder / "evaluation", "eval", *bundle, *last))
            print(record(f"dagger_{asked.task}", summed(asked, rows, curves)), flush=True)


def settings(asked: Any, method: str, start: Path, seed: int) -> list[str]:
    """Of an improvement."""
    found = [f"method={method}", f"bundle={start / 'start' / 'bundle'}", f"dataset={start / 'ten' / 'dataset'}"]
    found += [f"rounds={asked.rounds}", f"labels={asked.labels}", f"steps={asked.steps}", f"seed={seed}"]
    found += [f"workers={asked.workers}", "training.tensorboard=false"]
    found += [f"{name}={str(value).lower()}" for name, value in ALWAYS.items()]
    return found + ([f"gate={asked.gate}"] if method == "hg_dagger" else [])


def curve(improved: dict[str, Any]) -> list[dict[str, Any]]:
    """Labels and success after each round."""
    wanted = ("labels_so_far", "env_steps_so_far", "interventions", "intervention_rate", "successes", "interval_95")
    return [{name: each[name] for name in wanted} for each in improved["rounds"]]


def summed(asked: Any, rows: dict[str, list[Any]], curves: dict[str, list[Any]]) -> dict[str, Any]:
    """Success of each over all seeds, and its difference to behaviour cloning on the same starts."""
    found: dict[str, Any] = {}
    for name, results in rows.items():
        if not results:
            continue
        solved = successes(results)
        found[name] = {**success_summary(sum(solved), len(solved)), "by_seed": [sum(successes([r])) for r in results]}
        if name in curves:
            found[name]["curves"] = curves[name]
        if name not in ("expert", "bc") and len(rows.get("bc", [])) == len(results):
            found[name] |= difference(successes(rows["bc"]), solved)
    kept = ("task", "seeds", "rounds", "labels", "steps", "episodes", "gate")
    return {**{name: getattr(asked, name) for name in kept}, **ALWAYS, "rows": found}


if __name__ == "__main__":
    main()
