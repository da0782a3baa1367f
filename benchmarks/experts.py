"""Success of every task's scripted expert on a hundred seeds, with Wilson intervals and, where a task has them, metrics.

usage: python benchmarks/experts.py [task ...]
"""

import sys
from functools import partial

import numpy as np
from _record import record

from praxon.commands.eval import evaluator
from praxon.sim.parallel import run_seeds
from praxon.sim.registration import own_tasks
from praxon.sim.seeds import Purpose, episode_seeds
from praxon.sim.statistics import success_summary
from praxon.targets import load_option

EPISODES, WORKERS = 100, 2


def main() -> None:
    """Run, print, keep."""
    for task in sys.argv[1:] or own_tasks():
        make = partial(evaluator, load_option("task", task), load_option("robot", "panda"), "expert", None, {}, 1)
        seeds = episode_seeds(Purpose.EVALUATE, 0, EPISODES)
        results = [episode.result for episode in run_seeds(make, seeds, WORKERS)]
        result = {
            "task": task,
            "seed": 0,
            **success_summary(sum(r.success for r in results), EPISODES),
            "metrics": {
                f"mean_{k}": round(float(np.mean([r.metrics[k] for r in results])), 4) for k in results[0].metrics
            },
            "mean_seconds_simulated": round(float(np.mean([r.seconds for r in results])), 2),
            "mean_seconds_wall": round(float(np.mean([r.wall_s for r in results])), 3),
            "failed_seeds": [r.seed for r in results if not r.success],
        }
        print(result)
        record(f"expert_{task}", result)


if __name__ == "__main__":
    main()
