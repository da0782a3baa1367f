"""Who learns while somebody else acts: reads the journal, draws candidates, trains critics and actor, publishes weights.

Updates never run ahead of the data: at most ``updates_per_decision`` for each decision that was recorded, and exactly so many when
all is done. Killed and started again, it goes on from its last checkpoint, with the same transitions.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from praxon.contract import PolicyContract
from praxon.errors import ConfigError
from praxon.learning.checkpoint import Checkpoint, latest_checkpoint, save_checkpoint
from praxon.learning.interactive.records import TERMINAL, TIMEOUT
from praxon.learning.rl.actor import DONE, EPISODE, JOURNAL, LEARNED, WEIGHTS, step_dtype
from praxon.learning.rl.decisions import Reward, decisions_of
from praxon.learning.rl.journal import JournalWriter, read_journal
from praxon.learning.rl.published import Publisher
from praxon.learning.rl.refining import refinement_learner
from praxon.learning.rl.replay import symmetric
from praxon.learning.rl.rlpd import RlpdSettings
from praxon.learning.rl.transitions import new_buffer, transition_dtype, transitions_of
from praxon.policies.refined import RefinedPolicy

CHECKPOINTS = "checkpoints"
GIVEN, EARLIER, LIVE = "given.journal", "earlier.journal", "transitions.journal"
IDLE_S = 0.02


@dataclass(frozen=True)
class Schedule:
    """How much is learned, and how often it is told.

    Args:
        updates_per_decision: for each decision that was recorded.
        first: updates on given data before the first decision comes.
        publish_every: updates between two versions of weights.
        checkpoint_every_s: wall time between two checkpoints [s].

    Raises:
        ConfigError: a number out of range.
    """

    updates_per_decision: float = 1.0
    first: int = 0
    publish_every: int = 20
    checkpoint_every_s: float = 20.0

    def __post_init__(self) -> None:
        if self.updates_per_decision < 0 or self.first < 0 or self.publish_every < 1:
            raise ConfigError(
                f"{self.updates_per_decision} updates for each decision after {self.first}, told every {self.publish_every}; "
                "none at least, and every one at most, are needed."
            )


class Learner:
    """Everything the learning process holds.

    Args:
        policy: learned in place.
        contract: of the world, as the journal's steps have it.
        settings: of critics and actor.
        schedule: how much.
        reward: what steps are worth.
        gamma: discount of a control step.
        folder: of journal, weights and checkpoints.
        capacity: most decisions of this round.
        given, earlier: most of demonstrations, and of earlier rounds.
        seed: of everything random.
        prefer_interventions: whether what the expert did counts as given data too (HIL-SERL, arXiv 2410.21845).
    """

    def __init__(
        self,
        policy: RefinedPolicy,
        contract: PolicyContract,
        settings: RlpdSettings,
        schedule: Schedule,
        reward: Reward,
        gamma: float,
        folder: Path,
        capacity: int,
        given: int,
        earlier: int,
        seed: int,
        prefer_interventions: bool = False,
    ) -> None:
        self.policy, self.schedule, self.reward, self.gamma, self.folder = policy, schedule, reward, gamma, folder
        self.prefer_interventions, self.seed = prefer_interventions, seed
        self.learner = refinement_learner(policy, settings, seed)
        self.online = new_buffer(policy, capacity + earlier)
        self.offline = new_buffer(policy, max(given + (capacity + earlier) * prefer_interventions, 1))
        self.skipped = 0
        self.steps = step_dtype(contract, policy.contract.chunk.num_execute)
        self.transitions = transition_dtype(policy)
        self.capacity = capacity
        self.updates, self.read = 0, 0
        self.decisions = 0
        self.figures: dict[str, float] = {}
        self._open: list[np.ndarray] = []
        self._rng = np.random.default_rng(seed)
        self._restore()

    def given(self, episodes: Iterable[Mapping[str, np.ndarray]]) -> None:
        """Demonstrations: half of every batch. Their transitions are kept, and not made again after a kill."""
        for transition in self._read_in(GIVEN, episodes):
            self.offline.add(transition)

    def earlier(self, episodes: Iterable[Mapping[str, np.ndarray]]) -> None:
        """Episodes of earlier rounds, likewise; they had their updates then."""
        for transition in self._read_in(EARLIER, episodes):
            self._keep(transition)

    def _read_in(self, name: str, episodes: Iterable[Mapping[str, np.ndarray]]) -> Iterator[Mapping[str, Any]]:
        with JournalWriter(
            self.folder / name, self.transitions, self.online.capacity + self.offline.capacity
        ) as journal:
            known = read_journal(self.folder / name, self.transitions)
            yield from map(_fields, known)
            for number, columns in enumerate(episodes):
                for transition in self._new(columns, number, known):
                    journal.append(transition)
                    yield transition

    def run(self, told: Callable[[dict[str, Any]], None] = lambda figures: None) -> dict[str, Any]:
        """Learn until the actor is done and every decision has had its updates.

        Args:
            told: the figures of the latest update, now and then.
        """
        publisher = Publisher(self.folder / WEIGHTS)
        saved = time.monotonic()
        with JournalWriter(self.folder / LIVE, self.transitions, self.capacity) as journal:
            known = read_journal(self.folder / LIVE, self.transitions)
            for record in known:
                self._take(_fields(record))
            while True:
                done = (self.folder / DONE).exists()
                self._follow(journal, known, done)
                if self.updates < self._allowed:
                    self.figures = self.learner.update(self._draw)
                    self.updates += 1
                    if self.updates >= self.schedule.first and self.updates % self.schedule.publish_every == 0:
                        version = publisher.publish(self.learned())
                        counts = {"update": self.updates, "of": self._allowed, "decisions": self.decisions}
                        told({**counts, "version": version, **self.figures})
                elif done:
                    break
                else:
                    time.sleep(IDLE_S)
                if time.monotonic() - saved > self.schedule.checkpoint_every_s:
                    self._save()
                    saved = time.monotonic()
        self._save()
        publisher.publish(self.learned())
        return {"updates": self.updates, "decisions": self.decisions, "skipped": self.skipped, **self.figures}

    def learned(self) -> dict[str, Tensor]:
        """What travels to the actor."""
        self.policy.refinement.informed.fill_(1.0)
        return {name: tensor for name, tensor in self.policy.state_dict().items() if name.startswith(LEARNED)}

    @property
    def _allowed(self) -> int:
        if not len(self.online) and not len(self.offline):
            return 0
        return self.schedule.first + int(self.schedule.updates_per_decision * self.decisions)

    def _draw(self) -> dict[str, Tensor]:
        return symmetric(self.online, self.offline, self.learner.settings.batch_size, self._rng)

    def _follow(self, journal: JournalWriter, known: np.ndarray, done: bool) -> None:
        """Read what is new, and make transitions of every episode that is over."""
        for record in read_journal(self.folder / JOURNAL, self.steps, self.read):
            self.read += 1
            if self._open and self._open[-1][EPISODE] != record[EPISODE]:
                self._episode(journal, known)  # cut short: its actor was killed
            self._open.append(record)
            if record[TERMINAL].any() or record[TIMEOUT].any():
                self._episode(journal, known)
        if done and self._open:
            self._episode(journal, known)

    def _episode(self, journal: JournalWriter, known: np.ndarray) -> None:
        records, self._open = np.stack(self._open), []
        columns = {name: records[name] for name in records.dtype.names or ()}
        for transition in self._new(columns, int(records[EPISODE][0]), known):
            journal.append(transition)
            self._take(transition)

    def _new(self, columns: Mapping[str, np.ndarray], episode: int, known: np.ndarray) -> Iterable[dict[str, Any]]:
        """Transitions of an episode that are not known yet."""
        chunk = self.policy.contract.chunk
        decisions = decisions_of(columns, self.policy.contract.action.name, chunk.num_execute, self.gamma, self.reward)
        there = set(known["start"][known["episode"] == episode].tolist())
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + episode)
        missing = [decision for decision in decisions if decision.start not in there]
        for transition in transitions_of(self.policy, columns, missing, episode, generator):
            if all(np.isfinite(value).all() for value in transition.values()):
                yield transition
            else:
                self.skipped += 1

    def _take(self, transition: Mapping[str, Any]) -> None:
        self._keep(transition)
        self.decisions += 1

    def _keep(self, transition: Mapping[str, Any]) -> None:
        self.online.add(transition)
        if self.prefer_interventions and transition["expert"]:
            self.offline.add(transition)

    # -- across kills -----------------------------------------------------------------------------

    def _save(self) -> None:
        tensors = {**self.learned(), **self.learner.state()}
        save_checkpoint(self.folder / CHECKPOINTS, Checkpoint(self.updates, tensors, {"figures": self.figures}))

    def _restore(self) -> None:
        checkpoint = latest_checkpoint(self.folder / CHECKPOINTS)
        if checkpoint is None:
            return
        tensors = checkpoint.tensors
        self.policy.load_state_dict({n: t for n, t in tensors.items() if n.startswith(LEARNED)}, strict=False)
        self.learner.restore(tensors)
        self.updates, self.figures = checkpoint.step, checkpoint.state["figures"]
        self._rng = np.random.default_rng([self.seed, self.updates])


def _fields(record: np.ndarray) -> dict[str, Any]:
    return {name: record[name] for name in record.dtype.names or ()}
