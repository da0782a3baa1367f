"""Who acts while somebody else learns: episodes with an expert at hand, every step in the journal, the newest weights.

The actor waits for nobody. It reads weights that are newer than its own between two chunks, and appends each step once it is known
what followed: whether the expert took over. Killed and started again, it goes on with the next episode.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from praxon.contract import Feature, PolicyContract
from praxon.learning.interactive.foresight import Foresight
from praxon.learning.interactive.gates import Never
from praxon.learning.interactive.operators import Help
from praxon.learning.interactive.records import IS_INTERVENTION, Step, columns, record_features
from praxon.learning.interactive.supervised import SupervisedAgent, roll_out
from praxon.learning.rl.journal import JournalWriter, read_journal, record_dtype
from praxon.learning.rl.published import Subscriber
from praxon.policies.agent import ChunkAgent
from praxon.policies.durable import replace_file
from praxon.policies.refined import RefinedPolicy
from praxon.policies.runtime import PlannedRows
from praxon.policies.torch_runtime import TorchRuntime
from praxon.robots.teleoperation.intervention import Mark
from praxon.sim.world import World

EPISODE, STEP, VERSION, STAMP = "episode", "step", "version", "stamp_ns"
JOURNAL, WEIGHTS, DONE, DISCARDED = "steps.journal", "weights", "actor.done", "actor.discarded"
LEARNED = ("critics.", "refinement.")
"""Beginnings of the names of what learning changes, and what travels."""


def step_features(contract: PolicyContract, execute: int) -> list[Feature]:
    """What is recorded of each step, as a dataset's frames have it."""
    return [*contract, *record_features(contract, execute)]


def step_dtype(contract: PolicyContract, execute: int) -> np.dtype:
    """Of a step in the journal."""
    numbers = [(EPISODE, "<i4", ()), (STEP, "<i4", ()), (VERSION, "<i8", ()), (STAMP, "<i8", ())]
    features = [(each.name, np.dtype(each.dtype), each.shape) for each in step_features(contract, execute)]
    return record_dtype([*numbers, *features])


class LearningRuntime(TorchRuntime):
    """A refined policy whose weights are exchanged between chunks.

    Args:
        policy: explores from now on.
        weights: where newer ones come from.
    """

    def __init__(self, policy: RefinedPolicy, weights: Subscriber) -> None:
        super().__init__(policy)
        policy.exploring = True
        self._policy, self.weights = policy, weights

    def chunks(
        self, window: Mapping[str, np.ndarray], noise: np.ndarray, plan: PlannedRows | None = None
    ) -> np.ndarray:
        """See ``Runtime.chunks``."""
        newer = self.weights.newer()
        if newer is not None:
            self._policy.load_state_dict(newer, strict=False)
        return super().chunks(window, noise, plan)


class StepJournal:
    """Appends the steps of an episode, each once the next has begun: only then is it known whether somebody took over.

    Args:
        writer: of the journal.
        contract: of the world.
        episode: its number.
        version: of the weights in use.
    """

    def __init__(
        self, writer: JournalWriter, contract: PolicyContract, episode: int, version: Callable[[], int]
    ) -> None:
        self.writer, self.contract, self.episode, self.version = writer, contract, episode, version
        self._held: tuple[Step, int] | None = None
        self._count = 0

    def __call__(self, step: Step) -> None:
        """A step is over."""
        if self._held is not None:
            before, version = self._held
            rows = columns(self.contract, [before, step], ended=False)
            self._write(before, version, {name: values[0] for name, values in rows.items()})
        self._held = step, self.version()

    def finish(self, last: Mapping[str, np.ndarray]) -> None:
        """The episode is over.

        Args:
            last: its last frame, which says how it ended.
        """
        if self._held is not None:
            self._write(*self._held, last)

    def _write(self, step: Step, version: int, frame: Mapping[str, np.ndarray]) -> None:
        self._held = None
        numbers = {EPISODE: self.episode, STEP: self._count, VERSION: version, STAMP: step.stamp_ns}
        self.writer.append({**numbers, **frame})
        self._count += 1


@dataclass(frozen=True)
class Quota:
    """When the actor is done; an episode that has begun is finished.

    Args:
        labels: steps of the expert.
        env_steps: steps, after which nothing more begins.
        episodes: with help at most: a policy that needs none asks for none.
        practice: episodes after those, in which nobody helps.
    """

    labels: int
    env_steps: int
    episodes: int
    practice: int = 0


@dataclass
class Done:
    """What was done of a quota.

    Args:
        labels: steps of the expert.
        helped: episodes with help, whether or not it was needed.
        practised: episodes without.
        discarded: episodes that a person wanted to be forgotten; another begins from the same start.
    """

    labels: int = 0
    helped: int = 0
    practised: int = 0
    discarded: int = 0

    @classmethod
    def before(cls, steps: np.ndarray, discarded: Set[int], quota: Quota) -> "Done":
        """From the steps of a journal, and which episodes were discarded."""
        done = cls()
        for episode in np.unique(steps[EPISODE]):
            labels = int(steps[steps[EPISODE] == episode][IS_INTERVENTION].sum())
            done.add(labels, int(episode) in discarded, quota)
        return done

    def add(self, labels: int, discarded: bool, quota: Quota) -> None:
        """One more episode, in which the expert gave so many labels."""
        if discarded:
            self.discarded += 1
        elif self.with_help(quota):
            self.labels, self.helped = self.labels + labels, self.helped + 1
        else:
            self.practised += 1

    def with_help(self, quota: Quota) -> bool:
        """Whether the expert helps in the next episode."""
        return self.labels < quota.labels and self.helped < quota.episodes

    def over(self, quota: Quota) -> bool:
        """Whether there is no next episode, steps aside."""
        return not self.with_help(quota) and self.practised >= quota.practice

    @property
    def start(self) -> int:
        """Number of the next start."""
        return self.helped + self.practised

    @property
    def episode(self) -> int:
        """Number of the next episode in the journal."""
        return self.start + self.discarded


def act(
    world: World,
    policy: RefinedPolicy,
    helper: Help,
    folder: Path,
    seeds: Sequence[int],
    quota: Quota,
) -> Done:
    """Run episodes until the quota is met, and leave ``actor.done`` in the folder.

    In practice whoever would have helped judges: an episode whose time runs out unsolved is blamed, see ``roll_out``.

    Args:
        world: where.
        policy: who acts.
        helper: who helps, and when.
        folder: of the journal and the weights.
        seeds: of the starts; as many as there are episodes in the quota.
        quota: how long.
    """
    weights = Subscriber(folder / WEIGHTS)
    runtime = LearningRuntime(policy, weights)
    # Chunks do not fade into each other here: what is carried out is what critics judge.
    policy_agent = ChunkAgent(runtime, world.contract, blend_steps=0)
    helped = SupervisedAgent(policy_agent, helper.expert, helper.gate, Foresight(world))
    alone = SupervisedAgent(policy_agent, helper.expert, Never())
    dtype = step_dtype(world.contract, policy.contract.chunk.num_execute)
    with JournalWriter(folder / JOURNAL, dtype, quota.env_steps + world.step_limit) as writer:
        done = Done.before(read_journal(folder / JOURNAL, dtype), discarded_in(folder), quota)
        while writer.count < quota.env_steps and not done.over(quota):
            steps = StepJournal(writer, world.contract, done.episode, lambda: weights.version)
            seed = seeds[done.start]
            if done.with_help(quota):
                rollout = roll_out(
                    world, helped, seed, watch=steps, attendant=helper.attendant, gives_up=helper.gives_up
                )
            else:
                rollout = roll_out(world, alone, seed, watch=steps, gives_up=True)
            discarded = rollout.mark == Mark.DISCARD
            if discarded:  # said before its last step is written
                forgotten = sorted({*discarded_in(folder), done.episode})
                replace_file(folder / DISCARDED, "\n".join(map(str, forgotten)).encode())
            steps.finish({name: values[-1] for name, values in rollout.frames.items()})
            done.add(rollout.counts.intervened, discarded, quota)
    policy_agent.close()
    (folder / DONE).write_text("done\n")
    return done


def discarded_in(folder: Path) -> set[int]:
    """Episodes of the journal in a folder that a person discarded: learners have met them, and nothing else keeps them."""
    path = folder / DISCARDED
    return {int(line) for line in path.read_text().split()} if path.exists() else set()
