"""Whether an actor is slowed by the learner beside it: control steps per second with one and without, in turn.

usage: python benchmarks/rl_actor_speed.py [--folder runs/rl_actor_speed] [--task pick_place] [--steps 1000] [--repeats 3]
           [--gate stalled]

The policy is trained on ten demonstrations, which is done once and kept in the folder. Both are processes as
`praxon improve method=rlif` starts them, each with one thread; the time is that between the steps 200 and ``--steps`` of the
actor's journal. Keeps results/rl_actor_speed.json.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from _record import record
from _study import begun

from praxon.learning.rl.actor import JOURNAL, step_dtype
from praxon.learning.rl.process import START, Work, started, write_work
from praxon.learning.rl.rounds import save_refined
from praxon.policies.bundle import load_bundle
from praxon.sim.seeds import Purpose, episode_seeds
from praxon.targets import load_option

FIRST = 200
WAIT_S = 300


def main() -> None:
    """Measure in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/rl_actor_speed"))
    parser.add_argument("--task", default="pick_place", help="a task with a scripted expert (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--gate", default="stalled")
    asked = parser.parse_args()
    start = begun(asked.folder, asked.task, 1.0, 0)
    asked.bundle, asked.dataset = start / "start" / "bundle", start / "ten" / "dataset"
    rates: dict[str, list[float]] = {"alone": [], "with a learner": []}
    for _ in range(asked.repeats):
        for name, found in rates.items():
            found.append(round(rate(asked, name != "alone"), 2))
            print(f"{name}: {found[-1]} steps/s", flush=True)
    ratios = [beside / alone for alone, beside in zip(rates["alone"], rates["with a learner"], strict=True)]
    result = {
        "bundle": load_bundle(asked.bundle).contract.task,
        "gate": asked.gate,
        "steps": asked.steps,
        "steps_per_s": rates,
        "ratios": [round(ratio, 3) for ratio in ratios],
        "ratio": round(statistics.median(ratios), 3),
    }
    print(result["ratio"], record("rl_actor_speed", result))


def rate(asked: Any, learning: bool) -> float:
    """Control steps per second of an actor."""
    folder = Path(tempfile.mkdtemp())
    processes = []
    try:
        bundle = load_bundle(asked.bundle)
        critics = {"critics": 5, "hidden": [256, 256]}
        save_refined(folder / START, bundle, load_option("refinement", "expo"), critics, 0, {})
        write_work(folder, work_of(asked, bundle.contract.task))
        if learning:
            processes.append(started("learner", folder))
            waited_for(lambda: (folder / "weights" / "latest.json").exists(), "the learner")
        processes.append(started("actor", folder))
        size = step_dtype(bundle.contract, bundle.contract.chunk.num_execute).itemsize
        steps = lambda: (folder / JOURNAL).stat().st_size // size if (folder / JOURNAL).exists() else 0  # noqa: E731
        waited_for(lambda: steps() >= FIRST, "the actor")
        began, first = time.perf_counter(), steps()
        waited_for(lambda: steps() >= asked.steps, "the actor")
        return float((steps() - first) / (time.perf_counter() - began))
    finally:
        for process in processes:
            process.kill()
            process.wait()
        shutil.rmtree(folder)


def work_of(asked: Any, task: str) -> Work:
    """More than there is time for."""
    return Work(
        task=load_option("task", task),
        robot=load_option("robot", "panda"),
        skill=1.0,
        operator=load_option("operator", "expert"),
        gate=load_option("gate", asked.gate),
        seeds=episode_seeds(Purpose.COLLECT, 0, 500),
        labels=10**6,
        env_steps=asked.steps + 500,
        reward={"_target_": "praxon.learning.rl.decisions.TakeoverReward"},
        gamma=0.99,
        settings={"critics": 5, "hidden": [256, 256], "batch_size": 128, "updates": 2, "temperature": 0.01},
        schedule={"updates_per_decision": 1000.0, "first": 20},
        prefer_interventions=False,
        seed=0,
        demonstrations=[str(asked.dataset)],
    )


def waited_for(what: Any, who: str) -> None:
    """Wait until it is so."""
    until = time.monotonic() + WAIT_S
    while not what():
        if time.monotonic() > until:
            raise TimeoutError(f"Nothing came from {who} within {WAIT_S} s.")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
