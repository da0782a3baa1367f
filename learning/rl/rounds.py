"""One round of learning while acting: a refined policy to begin with, two processes, and what they leave as a dataset."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from praxon.contract import PolicyContract
from praxon.datasets.lerobot_writer import LeRobotWriter
from praxon.errors import BundleError
from praxon.learning.interactive.counts import Counts
from praxon.learning.interactive.records import IS_INTERVENTION, SUCCESS, TERMINAL, TIMEOUT, record_features
from praxon.learning.rl.actor import (
    EPISODE,
    JOURNAL,
    STAMP,
    VERSION,
    WEIGHTS,
    Done,
    Quota,
    discarded_in,
    step_dtype,
)
from praxon.learning.rl.journal import read_journal
from praxon.learning.rl.process import START, Work, last_told, supervise, write_work
from praxon.learning.rl.published import Subscriber
from praxon.policies.build import build_policy_for
from praxon.policies.bundle import Bundle, load_bundle, save_bundle
from praxon.policies.refined import RefinedPolicy
from praxon.sim.world import World

TARGET = "praxon.policies.refined.RefinedPolicy"


def save_refined(
    path: Path,
    bundle: Bundle,
    refinement: Mapping[str, Any],
    critics: Mapping[str, Any],
    seed: int,
    drawing: Mapping[str, Any],
) -> None:
    """Write a bundle as a refined one, with critics that know nothing yet; one that is refined already stays what it is.

    Args:
        path: of the new bundle.
        bundle: to be refined.
        refinement: config of the ``Refinement``.
        critics: ``critics`` and ``hidden`` of ``RefinedPolicy``.
        seed: of the new weights.
        drawing: engine settings of the policy below, such as ``noise_scale``; those that are not named stay.
    """
    config, policy = bundle.config, bundle.policy
    if not isinstance(policy, RefinedPolicy):
        described = {"_target_": TARGET, "base": config["policy"], "refinement": dict(refinement), **critics}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            refined = build_policy_for(described, bundle.contract)
        assert isinstance(refined, RefinedPolicy)
        refined.base.load_state_dict(policy.state_dict())
        refined.normalizer.load_state_dict(policy.normalizer.state_dict())
        config, policy = {**config, "policy": described}, refined
    # Caches were calibrated for the policy alone, and figures measured of it.
    known = bundle.policy.engine_settings()
    policy.configure_engine({**known, **({"cache": None} if "cache" in known else {}), **drawing})
    save_bundle(path, policy, config, policy.engine_settings(), bundle.card)


def learn_while_acting(
    folder: Path, work: Work, contract: PolicyContract, told: Callable[["Progress"], None]
) -> tuple[Bundle, dict[str, Any]]:
    """Run actor and learner in a folder that holds ``start``, to the end; goes on where they were.

    Args:
        folder: theirs.
        work: what they do.
        contract: of the world.
        told: how far both are, now and then.

    Returns:
        The bundle they began with, and in it the weights that were learned; and figures of the learner.
    """
    write_work(folder, work)
    bundle = load_bundle(folder / START)
    counted = Counted(folder, step_dtype(contract, bundle.contract.chunk.num_execute))
    learned = supervise(folder, lambda: told(counted()))
    weights = Subscriber(folder / WEIGHTS).newer()
    if weights is None:
        raise BundleError(f"The learner left no sound weights in '{folder / WEIGHTS}'.")
    bundle.policy.load_state_dict(weights, strict=False)
    return bundle, learned


@dataclass
class Progress:
    """How far actor and learner are.

    Args:
        steps, labels: of the actor.
        solved, episodes: of the actor; the last may not be over.
        updates, of: of the learner, and how many it has to make for what it has read.
    """

    steps: int = 0
    labels: int = 0
    solved: int = 0
    episodes: int = 0
    updates: int = 0
    of: int = 0


class Counted:
    """Reads a folder's progress; each record of the journal once.

    Args:
        folder: of actor and learner.
        dtype: of a step.
    """

    def __init__(self, folder: Path, dtype: np.dtype) -> None:
        self.folder, self.dtype = folder, dtype
        self.progress = Progress()

    def __call__(self) -> Progress:
        """Up to now."""
        found = self.progress
        new = read_journal(self.folder / JOURNAL, self.dtype, found.steps)
        if len(new):
            found.steps += len(new)
            found.labels += int(new[IS_INTERVENTION].sum())
            found.solved += int(new[SUCCESS].sum())  # an episode ends with the step that solves it
            found.episodes = int(new[EPISODE][-1]) + 1
        said = last_told(self.folder)
        found.updates, found.of = said.get("update", 0), said.get("of", 0)
        return found


def write_rollouts(
    root: Path, folder: Path, world: World, contract: PolicyContract, metadata: Mapping[str, Any], quota: Quota
) -> tuple[Counts, int]:
    """The steps of a journal as a dataset, but for episodes that a person discarded; what happened, and versions of weights.

    Args:
        root: of the dataset; one that was begun is gone on with.
        folder: of the journal.
        world: where it happened.
        contract: of the policy.
        metadata: of the dataset.
        quota: of the actor.
    """
    execute = contract.chunk.num_execute
    records = read_journal(folder / JOURNAL, step_dtype(world.contract, execute))
    kept = records[~np.isin(records[EPISODE], list(discarded_in(folder)))]
    counts, done = Counts(), Done()
    extra = record_features(world.contract, execute)
    names = [feature.name for feature in (*world.contract, *extra)]
    with LeRobotWriter(
        root,
        world.contract,
        world.instruction,
        world.contract.robot,
        extra_features=extra,
        metadata=metadata,
        resume=root.exists(),
    ) as writer:
        for number, episode in enumerate(np.unique(kept[EPISODE])):
            rows = kept[kept[EPISODE] == episode]
            frames = {name: rows[name].copy() for name in names}
            if not (frames[TERMINAL].any() or frames[TIMEOUT].any()):
                frames[TIMEOUT][-1] = 1  # cut short: its actor was killed
            if number >= writer.num_episodes:
                writer.add_episode(frames, rows[STAMP])
            counts += Counts.of(frames, practice=not done.with_help(quota))
            done.add(counts.intervened - done.labels, False, quota)
    return counts, len(np.unique(records[VERSION]))


def tidy(folder: Path) -> None:
    """Leave what people read; transitions and checkpoints are made from the rollouts again where they are needed."""
    for path in folder.iterdir():
        if path.suffix == ".journal":
            path.unlink()
        elif path.name in (START, WEIGHTS, "checkpoints"):
            shutil.rmtree(path)
