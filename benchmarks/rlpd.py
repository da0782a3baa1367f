"""RLPD on an environment that is not ours: the return of gymnasium's HalfCheetah over steps, without given data.

usage: python benchmarks/rlpd.py [--env HalfCheetah-v5] [--steps 100000] [--seed 0] [--critics 5] [--updates 1] [--every 10000]

Keeps results/rlpd_<env>.json, a line at a time, so that what was measured is there however it ends.
"""

import argparse
import time
from typing import Any

import gymnasium
import numpy as np
import torch
from _record import record

from praxon.learning.rl.replay import ReplayBuffer
from praxon.learning.rl.rlpd import Rlpd, RlpdSettings

GAMMA = 0.99
RANDOM_STEPS = 5000
EVALUATED = 5
"""Episodes of each evaluation, by the actor's mean."""
PUBLISHED: dict[str, list[dict[str, Any]]] = {
    "HalfCheetah-v5": [
        {
            "of": "SAC with the same rates and widths on HalfCheetah-v2 (github.com/ikostrikov/jaxrl, "
            "learning_curves/logs/HalfCheetah-v2)",
            "curve": {
                10_000: (0, 0),
                20_000: (171, 488),
                30_000: (2456, 396),
                40_000: (3405, 546),
                50_000: (3910, 462),
                60_000: (4439, 570),
                70_000: (4837, 325),
                80_000: (5267, 531),
                90_000: (5598, 519),
                100_000: (5794, 437),
            },
        },
        {
            "of": "SAC on HalfCheetah-v3 (github.com/thu-ml/tianshou, examples/mujoco/benchmark/HalfCheetah-v3/sac)",
            "curve": {
                10_000: (865, 487),
                20_000: (2641, 503),
                30_000: (3525, 501),
                40_000: (4327, 213),
                50_000: (4747, 345),
                60_000: (5316, 330),
                70_000: (5587, 540),
                80_000: (5929, 455),
                90_000: (6213, 437),
                100_000: (6515, 514),
            },
        },
    ]
}
"""Mean return and deviation of ten seeds at the same steps, with one update a step as here; RLPD's own begin with given data."""


def main() -> None:
    """Learn and evaluate in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--critics", type=int, default=5)
    parser.add_argument("--updates", type=int, default=1, help="critic steps for each step (default: %(default)s)")
    parser.add_argument("--every", type=int, default=10_000, help="steps between evaluations (default: %(default)s)")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    env, unseen = gymnasium.make(asked.env), gymnasium.make(asked.env)
    space: Any = env.action_space
    scale, middle = (space.high - space.low) / 2, (space.high + space.low) / 2
    size, actions = env.observation_space.shape[0], space.shape[0]  # type: ignore[index]
    settings = RlpdSettings(critics=asked.critics, updates=asked.updates, entropy_backup=True)
    learner = Rlpd(size, actions, settings, asked.seed)
    buffer, rng = ReplayBuffer(asked.steps, size, actions), np.random.default_rng(asked.seed)
    curve: list[dict[str, float]] = []
    began = time.perf_counter()
    state, _ = env.reset(seed=asked.seed)
    for step in range(1, asked.steps + 1):
        if step <= RANDOM_STEPS:
            action = rng.uniform(-1, 1, actions)
        else:
            with torch.no_grad():
                drawn, _ = learner.actor.sample(torch.tensor(state, dtype=torch.float32)[None], learner.generator)
            action = drawn[0].numpy()
        following, reward, terminated, truncated, _ = env.step(middle + scale * action)
        buffer.add(
            {
                "state": state,
                "action": action,
                "next_state": following,
                "reward": float(reward),
                "discount": GAMMA,
                "mask": 0.0 if terminated else 1.0,
            }
        )
        state = env.reset()[0] if terminated or truncated else following
        if step > RANDOM_STEPS:
            learner.update(lambda: buffer.sample(settings.batch_size, rng))
        if step % asked.every == 0:
            returns = [evaluated(unseen, learner, 10_000 + index, middle, scale) for index in range(EVALUATED)]
            curve.append({"steps": step, "return": round(float(np.mean(returns)), 1), "lowest": round(min(returns), 1),
                          "highest": round(max(returns), 1), "seconds": round(time.perf_counter() - began, 1)})  # fmt: skip
            published = PUBLISHED.get(asked.env, [])
            print(curve[-1], "published:", [each["curve"].get(step) for each in published], flush=True)
            about = {**vars(asked), "random_steps": RANDOM_STEPS, "gamma": GAMMA}
            record(f"rlpd_{asked.env}", {**about, "curve": curve, "published": published})


def evaluated(env: Any, learner: Rlpd, seed: int, middle: np.ndarray, scale: np.ndarray) -> float:
    """Return of an episode by the actor's mean."""
    state, _ = env.reset(seed=seed)
    total, over = 0.0, False
    while not over:
        with torch.no_grad():
            action = learner.actor.mean(torch.tensor(state, dtype=torch.float32)[None])[0].numpy()
        state, reward, terminated, truncated, _ = env.step(middle + scale * action)
        total, over = total + float(reward), bool(terminated or truncated)
    return total


if __name__ == "__main__":
    main()
