"""Learn how familiar chunks look, so that of many candidates the one nearest to the demonstrations is executed.

Trains a small coin-flip network on the demonstrations; the policy stays as it is. Some episodes are left out and tell whether
it knows the chunk of a moment from that of another. Writes <bundle>.density, which is where serving looks for it.
Example: praxon density bundle=runs/a/bundle dataset=runs/lift/dataset
Then:    praxon eval bundle=runs/a/bundle 'serving={candidates:16,selection:{density:1}}'
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import ListConfig

from praxon.commands._hydra import Config
from praxon.commands._run import Run, console, progress_bar, require, require_numbers

if TYPE_CHECKING:
    from praxon.policies.density import PseudoCount

PROGRESS_STEPS = 1000
JUDGED = 1000
"""Samples at most by which the density is judged."""


def run(config: Config) -> dict[str, Any]:
    """Train as configured; returns what is written to result.json."""
    require(
        config.bundle is not None, "No bundle was given; bundle=<folder> names a policy, as praxon train leaves it."
    )
    require(config.dataset is not None, "No dataset was given; dataset=<folder> names the policy's demonstrations.")
    require_numbers(config, samples=2, steps=1, flips=1, width=1, threads=1, seed=0)
    import torch

    from praxon.datasets.lerobot_reader import LeRobotDataset
    from praxon.datasets.selection import select_episodes
    from praxon.datasets.windows import Windows
    from praxon.policies.bundle import load_bundle
    from praxon.policies.density import default_path, make_density

    torch.set_num_threads(config.threads)
    bundle = load_bundle(Path(str(config.bundle)))
    dataset = LeRobotDataset(Path(str(config.dataset)))
    # Goals and tasks are not stored as features: windows make them.
    stored = [feature for feature in bundle.contract.observations if not feature.is_goal and feature.kind != "task"]
    replace(bundle.contract, observations=tuple(stored)).require(dataset.contract, f"the dataset '{dataset.root}'")
    asked = list(config.episodes) if isinstance(config.episodes, ListConfig) else config.episodes
    episodes = select_episodes(asked, len(dataset), dataset.splits, str(dataset.root))
    held_out = episodes[9::10] or episodes[1:][-1:]
    known = [episode for episode in episodes if episode not in held_out]
    windows, unseen = (
        Windows(dataset, bundle.contract.chunk, chosen, contract=bundle.contract) for chosen in (known, held_out)
    )
    require(len(windows) >= 2, f"The dataset '{dataset.root}' has {len(windows)} samples; a density needs at least 2.")
    work = Run("density", config)
    work.start()
    chosen = _evenly(len(windows), config.samples)
    with progress_bar("density", PROGRESS_STEPS, percent=True) as advance:
        training = _Stages(advance, len(chosen), config.steps)
        density = make_density(
            bundle,
            lambda indices: windows.batch(chosen[indices]),
            len(chosen),
            config.steps,
            flips=config.flips,
            width=config.width,
            seed=config.seed,
            on_sample=training.sample,
            on_step=training.step,
        )
    out = default_path(bundle.path) if config.out is None else Path(str(config.out))
    density.save(out)
    judged = {
        name: _judged(density, part.batch, len(part), config.seed)
        for name, part in (("known", windows), ("held_out", unseen))
        if len(part) > 1
    }
    result = {
        "density": str(out),
        "bundle": bundle.digest,
        "dataset": str(config.dataset),
        "features": f"{density.info.size} of the {'network' if density.info.internal else 'observations and actions'}",
        "samples": len(chosen),
        "steps": config.steps,
        "loss": round(training.loss, 4),
        "judged": judged,
        "seconds": work.seconds,
    }
    work.finish(result)
    for name, found in judged.items():
        console.print(
            f"{name.replace('_', ' ')} episodes: rarity {found['own']:.3g} of the chunk that was demonstrated and "
            f"{found['another']:.3g} of that of another moment; the first is less in "
            f"{100 * found['told_apart']:.0f} % of {found['samples']} samples."
        )
    console.print(
        f"Density in [bold]{out}[/bold]; serving={{candidates:16,selection:{{density:1}}}} chooses by it."
        if config.out is None
        else f"Density in [bold]{out}[/bold]; serving={{candidates:16,selection:{{density:{{path:{out}}}}}}} chooses by it."
    )
    return result


class _Stages:
    """One bar for two things: the samples whose features are known, then the steps of the training."""

    def __init__(self, advance: Any, samples: int, steps: int) -> None:
        self._advance, self._samples, self._steps = advance, samples, steps
        self.loss = float("nan")

    def sample(self, count: int) -> None:
        self._advance(completed=0.5 * PROGRESS_STEPS * count / self._samples, note="looking at the demonstrations")

    def step(self, number: int, loss: float) -> None:
        # Smoothed over about a hundred steps.
        self.loss = loss if number == 1 else 0.99 * self.loss + 0.01 * loss
        if number % 10 == 0 or number == self._steps:
            share = 0.5 + 0.5 * number / self._steps
            self._advance(completed=share * PROGRESS_STEPS, note=f"step {number}, loss {self.loss:.4f}")


def _evenly(count: int, most: int) -> np.ndarray:
    """Indices of at most ``most`` of ``count`` samples, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


def _judged(
    density: "PseudoCount", batch: Callable[[np.ndarray], Mapping[str, np.ndarray]], count: int, seed: int
) -> dict[str, Any]:
    """Median rarity of demonstrated chunks, and of the same chunks under each other's observations."""
    import torch

    from praxon.policies.density import BLOCK, tensors_of

    chosen = _evenly(count, JUDGED)
    # A rotation by a random stretch, so that none keeps its own.
    shift = 1 + int(np.random.default_rng(seed).integers(max(len(chosen) - 1, 1)))
    own, another = [], []
    for block in np.split(np.arange(len(chosen)), range(BLOCK, len(chosen), BLOCK)):
        policy = density.features.policy
        window, chunks = tensors_of(policy, batch(chosen[block]))
        _, others = tensors_of(policy, batch(chosen[(block + shift) % len(chosen)]))
        own.append(density.rarity(window, chunks))
        another.append(density.rarity(window, others))
    own_N, another_N = torch.cat(own), torch.cat(another)
    return {
        "samples": len(chosen),
        "own": round(own_N.median().item(), 4),
        "another": round(another_N.median().item(), 4),
        "told_apart": round((own_N < another_N).float().mean().item(), 4),
    }
