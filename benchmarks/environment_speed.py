"""Steps per second of the PickPlace environment as a fraction of bare mj_step at the same substeps, in one run.

The environment follows joint targets that swing about home; the bare simulation steps from the same state. Blocks
alternate, and the ratio is the median over blocks. Measured twice: with targets inside every limit, and with a gripper
that is told to open or close at once, as policies do, so that the safety filter changes many steps.
"""

import time
from typing import Any

import gymnasium
import mujoco
import numpy as np
from _record import record

import praxon.sim  # noqa: F401  (registers the environments)

BLOCKS, STEPS, WARM_UP = 15, 200, 200


def main() -> None:
    """Measure, print, keep."""
    inside, clamped = measure(snap=False), measure(snap=True)
    result = {"task": "pick_place", **inside, "beyond_limits": clamped}
    print(result)
    print(f"kept in {record('environment_speed', result).name}")


def measure(snap: bool) -> dict[str, Any]:
    """Rates and their ratio, the gripper told to open or close at once every 20 steps where it shall ``snap``."""
    environment = gymnasium.make("praxon/PickPlace-v0").unwrapped
    simulation = environment.simulation
    model, data = simulation.scene.model, simulation.scene.data
    substeps = round(simulation.contract.chunk.control_period_s / model.opt.timestep)
    rng = np.random.default_rng(0)
    observation, _ = environment.reset(seed=0)
    home = observation["observation.state"].astype(np.float64)

    amplitude = np.array([0.3 if joint.unit == "rad" else 0.01 for joint in simulation.scene.robot.joints])

    def targets(count: int) -> np.ndarray:
        # Half a raised cosine there and back: begins and ends at rest.
        swing = (1 - np.cos(np.linspace(0, 2 * np.pi, count)))[:, None] / 2
        walk = swing * amplitude * rng.uniform(-1, 1, len(home))
        if snap:
            gripper = simulation.scene.robot.index(simulation.scene.robot.gripper)
            walk[:, gripper] = np.where(np.arange(count) // 20 % 2, 0.0, -1.0)
        return np.clip(home + walk, environment.action_space.low, environment.action_space.high).astype(np.float32)

    bare = mujoco.MjData(model)
    ratios, env_rates, bare_rates, changed = [], [], [], []
    for block in range(BLOCKS + 1):
        actions = targets(STEPS if block else WARM_UP)
        mujoco.mj_copyData(bare, model, data)
        began = time.perf_counter()
        infos = [environment.step(action)[-1] for action in actions]
        env_s = time.perf_counter() - began
        began = time.perf_counter()
        for _ in actions:
            mujoco.mj_step(model, bare, nstep=substeps)
        bare_s = time.perf_counter() - began
        if block:
            ratios.append(bare_s / env_s)
            env_rates.append(len(actions) / env_s)
            bare_rates.append(len(actions) / bare_s)
            changed.append(np.mean([bool(info["safety"]) for info in infos]))
    return {
        "substeps": substeps,
        "steps_changed_by_safety": round(float(np.mean(changed)), 3),
        "environment_steps_per_s": round(float(np.median(env_rates))),
        "bare_steps_per_s": round(float(np.median(bare_rates))),
        "ratio": round(float(np.median(ratios)), 3),
        "ratio_quartiles": [round(float(q), 3) for q in np.percentile(ratios, [25, 75])],
    }


if __name__ == "__main__":
    main()
