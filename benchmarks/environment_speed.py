"""Steps per second of the PickPlace environment as a fraction of bare mj_step at the same substeps, in one run.

Both drive the same random episode: the environment under joint targets near home, the bare simulation from the same
state under the same servo targets. Blocks alternate, and the ratio is the median over blocks.
"""

import time

import gymnasium
import mujoco
import numpy as np
from _record import record

import praxon.sim  # noqa: F401  (registers the environments)

BLOCKS, STEPS, WARM_UP = 15, 200, 200


def main() -> None:
    """Measure, print, keep."""
    environment = gymnasium.make("praxon/PickPlace-v0").unwrapped
    simulation = environment.simulation
    model, data = simulation.scene.model, simulation.scene.data
    substeps = round(simulation.contract.chunk.control_period_s / model.opt.timestep)
    rng = np.random.default_rng(0)
    observation, _ = environment.reset(seed=0)
    home = observation["observation.state"].astype(np.float64)

    def targets(count: int) -> np.ndarray:
        walk = 0.3 * np.sin(np.linspace(0, 2 * np.pi, count))[:, None] * rng.uniform(-1, 1, len(home))
        return np.clip(home + walk, environment.action_space.low, environment.action_space.high).astype(np.float32)

    bare = mujoco.MjData(model)
    ratios, env_rates, bare_rates = [], [], []
    for block in range(BLOCKS + 1):
        actions = targets(STEPS if block else WARM_UP)
        mujoco.mj_copyData(bare, model, data)
        began = time.perf_counter()
        for action in actions:
            environment.step(action)
        env_s = time.perf_counter() - began
        began = time.perf_counter()
        for _ in actions:
            mujoco.mj_step(model, bare, nstep=substeps)
        bare_s = time.perf_counter() - began
        if block:
            ratios.append(bare_s / env_s)
            env_rates.append(len(actions) / env_s)
            bare_rates.append(len(actions) / bare_s)
    result = {
        "task": "pick_place",
        "substeps": substeps,
        "environment_steps_per_s": round(float(np.median(env_rates))),
        "bare_steps_per_s": round(float(np.median(bare_rates))),
        "ratio": round(float(np.median(ratios)), 3),
        "ratio_quartiles": [round(float(q), 3) for q in np.percentile(ratios, [25, 75])],
    }
    print(result)
    print(f"kept in {record('environment_speed', result).name}")


if __name__ == "__main__":
    main()
