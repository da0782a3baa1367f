"""Whether PTR helps where demonstrations are bad, and harms where they are not.

For each seed 80 demonstrations, of which 30 % get noise on their actions and 25 % end early, and 20 episodes of an expert of
skill 0.6, failures included; and as many sound ones. Every way of weighting trains as long, and solves the same starts.

usage: python benchmarks/ptr.py [--folder runs/ptr] [--seeds 0 1 2] [--task pick_place] [--episodes 200] [--steps 3000]
           [--ways ...] [--clean-ways ...] [--workers 2]
       python benchmarks/ptr.py --task "metaworld task.env_name=pick-place-v3" --seeds 0 1

What is there already, in the folder, is not done again. Keeps results/ptr_<task>.json.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from _record import record
from _study import difference, once, praxon, successes

from praxon.sim.statistics import success_summary

WAYS = {
    "uniform": ["weighting=uniform"],
    "trajectory (success)": ["weighting=trajectory", "weighting.scores=[success]"],
    "quality (action_spike, success)": ["weighting=quality", "weighting.scores=[action_spike,success]"],
    "PTR": ["weighting=ptr"],
    "PTR, centred": ["weighting=ptr", "weighting.centred=true"],
    "PTR of chunks, centred": ["weighting=ptr", "weighting.identify=chunk", "weighting.centred=true"],
}
SAID = ("effective_share", "saturated", "identified")
"""Share of the samples that the weights leave, of those with the largest weight, and of those whose future the scorer knew."""
BAD = ("uniform", "trajectory (success)", "quality (action_spike, success)", "PTR", "PTR of chunks, centred")
SOUND = ("uniform", "PTR")


def main() -> None:
    """Train and evaluate what is not there yet, keep everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/ptr"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--task", default="pick_place", help="with a scripted expert, settings after it (default: %(default)s)"
    )
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--ways", nargs="*", default=list(BAD), choices=list(WAYS), help="on bad demonstrations")
    parser.add_argument("--clean-ways", nargs="*", default=list(SOUND), choices=list(WAYS), help="on sound ones")
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    rows: dict[str, dict[str, Any]] = {}
    ways = {"corrupted": asked.ways, "clean": asked.clean_ways}
    for kind, chosen in ways.items():
        for way in chosen:
            rows[f"{kind}, {way}"] = {"data": kind, "way": way, "results": [], "weights": []}
    for seed in asked.seeds:
        datasets = {kind: data(asked, kind, seed) for kind in ways if ways[kind]}
        for row in rows.values():
            result, weights = trained(asked, row["way"], row["data"], datasets[row["data"]], seed)
            row["results"].append(result)
            row["weights"].append(weights)
    print(record(f"ptr_{named(asked)}", {**settings(asked), "rows": summed(rows)}))


def named(asked: Any) -> str:
    """The task, as folders and files are called: that of a suite by its environment."""
    return str(asked.task.split("=")[-1])


def settings(asked: Any) -> dict[str, Any]:
    """What was asked, for the record."""
    return {"task": asked.task, "seeds": asked.seeds, "episodes": asked.episodes, "steps": asked.steps}


def data(asked: Any, kind: str, seed: int) -> list[Path]:
    """Folders of the datasets of a kind."""
    folder = asked.folder / named(asked) / str(seed)
    task = f"task={asked.task}".split()
    whole = folder / "whole"
    once(whole, "collect", *task, "episodes=80", "rewards=true", f"seed={100 + seed}")
    if kind == "clean":
        more = folder / "more"
        once(more, "collect", *task, "episodes=20", "rewards=true", f"seed={200 + seed}")
        return [whole / "dataset", more / "dataset"]
    other, worse = folder / "other", folder / "worse"
    once(
        other,
        *("collect", *task, "episodes=20", "rewards=true", "skill=0.6", "keep_failures=true", f"seed={200 + seed}"),
    )
    if not worse.exists():
        praxon("data", "corrupt", str(whole / "dataset"), f"out={worse}", f"seed={seed}")
    return [worse, other / "dataset"]


def trained(
    asked: Any, way: str, kind: str, datasets: list[Path], seed: int
) -> tuple[dict[str, Any], dict[str, float]]:
    """A training's evaluation, and what its weights were in the end."""
    name = f"{kind} {way}".replace(" ", "_").replace(",", "").replace("(", "").replace(")", "")
    folder = asked.folder / named(asked) / str(seed) / name
    listed = ",".join(map(str, datasets))
    common = ["policy=flow", f"dataset=[{listed}]", f"steps={asked.steps}", f"seed={seed}"]
    once(folder, "train", *common, *WAYS[way])
    starts = [f"episodes={asked.episodes}", f"seed={seed}", f"workers={asked.workers}"]
    where = ["eval", f"bundle={folder / 'bundle'}", *f"task={asked.task}".split(), "serving={backend:openvino}"]
    return once(folder / "evaluation", *where, *starts), weights_of(folder / "metrics.jsonl")


def weights_of(metrics: Path) -> dict[str, float]:
    """Means over the last tenth of a training's log of what its weighting said there."""
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    last = lines[-max(1, len(lines) // 10) :]
    names = [name for name in SAID if name in last[-1]]
    return {name: round(sum(line[name] for line in last) / len(last), 4) for name in names}


def summed(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Success of each over all seeds, and its difference to uniform weights on the same data and starts."""
    found = {}
    for name, row in rows.items():
        solved = successes(row["results"])
        first = successes(next(each for each in rows.values() if each["data"] == row["data"])["results"])
        found[name] = {
            "data": row["data"],
            "way": row["way"],
            **success_summary(sum(solved), len(solved)),
            "by_seed": [sum(successes([result])) for result in row["results"]],
            "weights": row["weights"],
            **difference(first, solved),
        }
    return found


if __name__ == "__main__":
    main()
