"""How long a chunk takes: every policy in turn, batch of one, on a window of its own data."""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.windows import Windows
from praxon.policies.bundle import load_bundle
from praxon.sim.statistics import latency_summary

ROUNDS = 60
WARM_UP = 3


def chunk_latencies(bundles: Mapping[str, tuple[Path, Path]], threads: int = 1) -> dict[str, dict[str, float | None]]:
    """Median and 99th percentile of each policy's ``sample`` [ms].

    The policies take turns, so that whatever else the machine does falls on all alike.

    Args:
        bundles: name -> bundle, and the dataset whose first window is the input.
        threads: of torch.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    calls = {}
    for name, (bundle, dataset) in bundles.items():
        policy = load_bundle(bundle).policy
        batch = Windows(LeRobotDataset(dataset), policy.contract.chunk, contract=policy.contract).batch(np.array([0]))
        window = {f.name: torch.from_numpy(batch[f.name]) for f in policy.contract.observations}
        noise = policy.noise(1, torch.Generator().manual_seed(0))
        calls[name] = lambda policy=policy, window=window, noise=noise: policy.sample(window, noise)
    taken: dict[str, list[float]] = {name: [] for name in calls}
    try:
        with torch.inference_mode():
            for index in range(WARM_UP + ROUNDS):
                for name, call in calls.items():
                    start = time.perf_counter()
                    call()
                    if index >= WARM_UP:
                        taken[name].append(1e3 * (time.perf_counter() - start))
    finally:
        torch.set_num_threads(before)
    return {name: latency_summary(values) for name, values in taken.items()}
