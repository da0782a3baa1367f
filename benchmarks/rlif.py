"""Learning from being corrected by somebody who is no better: BC, HG-DAgger, RLIF and HIL-SERL with the same budget of labels.

The expert's hand has a skill, its judgement does not: the gate looks ahead. Each seed has ten demonstrations, a policy that was
trained on them, and its own starts; all methods begin with that policy, and train as long in each round. RLIF and HIL-SERL practise
alone besides, which costs no label, and learn again the episodes that were solved.

usage: python benchmarks/rlif.py [--folder runs/rlif] [--task lift] [--skills 1.0 0.6] [--seeds 0 1] [--rounds 2]
           [--labels 250] [--steps 2500] [--episodes 200] [--ways ...] [--more "refinement=best_of_n ..."] [--workers 2]

What is there already, in the folder, is not done again. Keeps results/rlif_<task>.json.
"""

import argparse
from pathlib import Path
from typing import Any

from _record import record
from _study import begun, difference, once, successes

from praxon.sim.statistics import success_summary

LONG = ("gate.gap=0.03", "gate.back=0.5", "gate.steps=8")
"""The gate as it is where nothing is said."""
WAYS = {
    "BC": ["method=bc"],
    "HG-DAgger": ["method=hg_dagger", "gate=value"],
    "RLIF": ["method=rlif", "gate=value"],
    "RLIF, random gate": ["method=rlif", "gate=random"],
    "HIL-SERL": ["method=hil_serl", "gate=value"],
    "RLIF, no practice": ["method=rlif", "gate=value", "practice=0"],
    "HG-DAgger, long takeovers": ["method=hg_dagger", "gate=value", *LONG],
    "RLIF, long takeovers": ["method=rlif", "gate=value", *LONG],
}
GATE = "gate.gap=0.06 gate.back=1.0 gate.steps=4"
"""Gives back soon: more of what the policy does by itself for the same labels."""
MORE = (
    "practice=60 refit=solved refinement=best_of_n learner.updates=1 learner.updates_per_decision=1 learner.first=300"
)
"""Few updates: two cores have twenty minutes."""
ALL = "training.learning_rate=2e-3"
"""Of every method: rounds are short."""
EVALUATED = 100
"""Starts after each round."""
USUAL = ("BC", "HG-DAgger", "RLIF", "HIL-SERL")


def main() -> None:
    """Improve and evaluate what is not there yet, keep everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/rlif"))
    parser.add_argument("--task", default="lift", help="a task with a scripted expert (default: %(default)s)")
    parser.add_argument("--skills", type=float, nargs="+", default=[1.0, 0.6])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--labels", type=int, default=250, help="in each round (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=2500, help="of training in each round (default: %(default)s)")
    parser.add_argument("--episodes", type=int, default=200, help="of the last evaluation (default: %(default)s)")
    parser.add_argument("--ways", nargs="+", default=list(USUAL), choices=list(WAYS))
    parser.add_argument("--more", default=MORE, help="settings of rlif and hil_serl, as praxon improve takes them")
    parser.add_argument("--gate", default=GATE, help="settings of the value gate, likewise")
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    cells: dict[str, Any] = {}
    for skill in asked.skills:
        rows: dict[str, list[Any]] = {name: [] for name in ("expert", *asked.ways)}
        runs: dict[str, list[Any]] = {name: [] for name in asked.ways}
        for seed in asked.seeds:
            start = begun(asked.folder / asked.task / f"start_{seed}", asked.task, 1.0, seed)
            runs_of = asked.folder / asked.task / f"skill_{skill}" / str(seed)
            last = [f"task={asked.task}", f"episodes={asked.episodes}", f"seed={seed}", f"workers={asked.workers}"]
            rows["expert"].append(once(runs_of / "expert", "eval", "agent=expert", f"skill={skill}", *last))
            for way in asked.ways:
                folder = runs_of / way.replace(",", "").replace(" ", "_")
                improved = once(folder, "improve", *settings(asked, way, start, skill, seed))
                runs[way].append(run_of(improved))
                bundle = [f"bundle={folder / 'bundle'}"]
                rows[way].append(once(folder / "evaluation", "eval", *bundle, *last))
                cells[f"skill {skill}"] = summed(rows, runs)
                print(record(f"rlif_{asked.task}", {**about(asked), "cells": cells}), flush=True)


def about(asked: Any) -> dict[str, Any]:
    """What was asked, for the record."""
    found = {name: value for name, value in vars(asked).items() if name not in ("folder", "workers")}
    return {**found, "all": ALL, "eval_episodes": EVALUATED}


def settings(asked: Any, way: str, start: Path, skill: float, seed: int) -> list[str]:
    """Of an improvement."""
    found = [f"bundle={start / 'start' / 'bundle'}", f"dataset={start / 'ten' / 'dataset'}"]
    found += [f"rounds={asked.rounds}", f"labels={asked.labels}", f"steps={asked.steps}", f"seed={seed}"]
    found += [f"skill={skill}", f"workers={asked.workers}", "training.tensorboard=false", *ALL.split()]
    if not way.startswith(("BC", "HG-DAgger")):
        found += asked.more.split()
    if "gate=value" in WAYS[way]:
        found += asked.gate.split()
    return [*found, *WAYS[way], f"eval_episodes={EVALUATED}"]


def run_of(improved: dict[str, Any]) -> dict[str, Any]:
    """Labels, takeovers and success after each round, and how long it took."""
    wanted = ("episodes", "labels_so_far", "env_steps_so_far", "interventions", "intervention_rate", "successes")
    rounds = [{name: each[name] for name in wanted} for each in improved["rounds"]]
    return {"seconds": improved["seconds"], "rounds": rounds}


def summed(rows: dict[str, list[Any]], runs: dict[str, list[Any]]) -> dict[str, Any]:
    """Success of each over all seeds, and its difference to HG-DAgger and to the expert on the same starts."""
    found: dict[str, Any] = {}
    for name, results in rows.items():
        if not results:
            continue
        solved = successes(results)
        found[name] = {**success_summary(sum(solved), len(solved)), "by_seed": [sum(successes([r])) for r in results]}
        for other in ("HG-DAgger", "expert"):
            if name != other and len(rows.get(other, [])) == len(results):
                found[name][f"over {other}"] = difference(successes(rows[other]), solved)
        if name in runs:
            found[name]["runs"] = runs[name]
    return found


if __name__ == "__main__":
    main()
