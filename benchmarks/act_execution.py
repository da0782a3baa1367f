"""How many actions of a chunk ACT should execute: the weights of a study, executed in several ways on the same starts.

usage: python benchmarks/act_execution.py [folder of praxon bench policies study=meta_world]

Evaluations that are there already, in ``<folder>/execution``, are not done again. Keeps results/act_execution.json.
"""

import json
import subprocess
import sys
from pathlib import Path

from _record import record

from praxon.policies.build import build_policy_for
from praxon.policies.bundle import load_bundle, save_bundle

WAYS = {
    "2": {"num_execute": 2},
    "4": {"num_execute": 4},
    "12": {"num_execute": 12},
    "ensemble": {"num_execute": 1, "ensemble": 0.01},
}
HARD = ("shelf-place", "stick-pull")
"""Tasks on which all ways are tried; on the others, four."""


def main() -> None:
    """Evaluate, keep."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/bench/meta_world")
    tries = []
    for trained in sorted(root.glob("*/act-*/train/bundle")):
        task, seed = trained.parts[-4], int(trained.parts[-3].removeprefix("act-"))
        as_it_is = json.loads((trained.parents[1] / "eval" / "result.json").read_text())
        tries.append(entry(task, seed, "8", as_it_is))
        for name, chunk in WAYS.items():
            if task not in HARD and name != "4":
                continue
            folder = root / "execution" / f"{task}-{seed}-{name}"
            if not (folder / "eval" / "result.json").exists():
                executed_otherwise(trained, folder / "bundle", chunk)
                settings = ["task=metaworld", f"task.env_name={task}-v3", f"bundle={folder / 'bundle'}", "episodes=50"]
                verb = [sys.executable, "-m", "praxon", "eval", *settings, f"run_dir={folder / 'eval'}"]
                subprocess.run(verb, check=True)
            tries.append(entry(task, seed, name, json.loads((folder / "eval" / "result.json").read_text())))
    print(record("act_execution", {"tries": tries}))


def entry(task: str, seed: int, executed: str, result: dict) -> dict:
    """What is kept of an evaluation."""
    return {"task": task, "seed": seed, "executed": executed, **{k: result[k] for k in ("episodes", "successes")}}


def executed_otherwise(trained: Path, out: Path, chunk: dict) -> None:
    """The same weights with another chunk in the contract."""
    bundle = load_bundle(trained)
    policy = build_policy_for(bundle.config["policy"], bundle.contract.with_chunk(**chunk))
    policy.load_state_dict(bundle.policy.state_dict())
    save_bundle(out, policy.eval(), bundle.config)


if __name__ == "__main__":
    main()
