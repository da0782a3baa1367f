"""Actor and learner as processes: one folder says what they do, and either may be killed and started again.

python -m praxon.learning.rl.process actor|learner <folder> <process id of who supervises>

process.json                     what to do, written before either starts
start/                           the refined bundle both begin with
steps.journal, actor.done        from the actor to the learner
weights/                         from the learner to the actor
given.journal, earlier.journal, transitions.journal, checkpoints/, learner.json     of the learner
actor.log, learner.log, metrics.jsonl                                               for people
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from praxon.errors import ConfigError, PraxonError

if TYPE_CHECKING:
    from praxon.learning.rl.actor import Quota

DESCRIBED, START, RESULT, METRICS = "process.json", "start", "learner.json", "metrics.jsonl"
ROLES = ("actor", "learner")
REFUSED = 2
"""Exit status of a process that cannot do what it was asked to, and would not the next time either."""
STOPPED = 130
"""Exit status of one that a person ended, by closing the window."""
DEATHS_IN_A_ROW = 3
"""Of a process that got nowhere since the last, before the run is given up."""
LOOK_EVERY_S = 0.2
TAIL = 2000
"""Bytes in which the last line of the curve is looked for."""
MORE = 10_000
"""Steps by which the last episode may be longer than was asked for."""


@dataclass(frozen=True)
class Work:
    """What actor and learner do.

    Args:
        task, robot: of the world, as configs.
        skill: of a scripted expert.
        operator, gate: configs of who helps, and when; no gate where the operator says that.
        classifier: folder of a success classifier that judges instead of the world; the world where ``None``.
        seeds: of the episodes.
        labels, env_steps, practice: when the actor is done, see ``actor.Quota``; of the starts, ``practice`` are for that.
        demonstrations: folders of datasets that are given.
        earlier: folders of datasets of earlier rounds.
        reward: config of the ``Reward``.
        gamma: discount of a control step.
        settings: of ``RlpdSettings``.
        schedule: of ``Schedule``.
        prefer_interventions: see ``Learner``.
        seed: of everything else.
        threads: of torch in each process.
    """

    task: Mapping[str, Any]
    robot: Mapping[str, Any]
    skill: float
    operator: Mapping[str, Any]
    gate: Mapping[str, Any] | None
    seeds: Sequence[int]
    labels: int
    env_steps: int
    reward: Mapping[str, Any]
    gamma: float
    settings: Mapping[str, Any]
    schedule: Mapping[str, Any]
    prefer_interventions: bool
    seed: int
    practice: int = 0
    classifier: str | None = None
    demonstrations: Sequence[str] = ()
    earlier: Sequence[str] = ()
    threads: int = 1

    @property
    def quota(self) -> "Quota":
        """When the actor is done."""
        from praxon.learning.rl.actor import Quota

        return Quota(self.labels, self.env_steps, len(self.seeds) - self.practice, self.practice)


def write_work(folder: Path, work: Work) -> None:
    """Say what the processes of this folder do."""
    from praxon.policies.durable import replace_file

    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / DESCRIBED, json.dumps(asdict(work), indent=1).encode())


def supervise(folder: Path, told: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Start both processes, start again what died, and wait until both are done.

    Args:
        folder: with ``process.json`` and ``start``.
        told: called now and then.

    Returns:
        What the learner says of itself, and how often a process had to be started again.

    Raises:
        ConfigError: a process refused its work, or died again and again; its log says more.
    """
    running: dict[str, subprocess.Popen[bytes]] = {}
    done: set[str] = set()
    deaths = 0
    fates = {role: Fate(folder) for role in ROLES}
    try:
        while len(done) < len(ROLES):
            for role in ROLES:
                if role in done:
                    continue
                if role not in running:
                    running[role] = started(role, folder)
                status = running[role].poll()
                if status is None:
                    continue
                del running[role]
                if status == 0:
                    done.add(role)
                    continue
                if status == STOPPED:
                    raise KeyboardInterrupt
                deaths += 1
                if status == REFUSED or fates[role].hopeless():
                    raise ConfigError(
                        f"The {role} ended with status {status}: {_last_line(folder / f'{role}.log')} (all of it in "
                        f"'{folder / f'{role}.log'}')."
                    )
            told()
            time.sleep(LOOK_EVERY_S)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()
    return {**json.loads((folder / RESULT).read_text()), "deaths": deaths}


class Fate:
    """Whether it helps to start a process again: it does as long as something was done since it died last.

    Args:
        folder: where what it does is seen.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._in_vain = folder, 0
        self._seen = self._done()

    def hopeless(self) -> bool:
        """It died again."""
        done = self._done()
        self._in_vain = self._in_vain + 1 if done == self._seen else 1
        self._seen = done
        return self._in_vain >= DEATHS_IN_A_ROW

    def _done(self) -> list[tuple[str, int]]:
        sizes = []
        for pattern in ("*.journal", "weights/*", "checkpoints/*"):
            for path in self.folder.glob(pattern):
                with suppress(FileNotFoundError):  # replaced by a newer one meanwhile
                    sizes.append((path.name, path.stat().st_size))
        return sorted(sizes)


def started(role: str, folder: Path) -> "subprocess.Popen[bytes]":
    """In a session of its own, so that Ctrl-C reaches who supervises and nobody else."""
    with open(folder / f"{role}.log", "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "praxon.learning.rl.process", role, str(folder), str(os.getpid())],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _last_line(path: Path) -> str:
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


# -- inside of a process ----------------------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> int:
    """Be the actor or the learner."""
    role, folder = arguments[0], Path(arguments[1])
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(128 + number))
    _end_with(int(arguments[2]))
    try:
        (act_there if role == "actor" else learn_there)(folder)
    except PraxonError as error:
        print(error, flush=True)
        return REFUSED
    except KeyboardInterrupt:
        return STOPPED
    return 0


def act_there(folder: Path) -> None:
    """Act as the folder says."""
    import torch

    from praxon.learning.interactive.gates import Gate
    from praxon.learning.interactive.operators import Operator
    from praxon.learning.rl.actor import act
    from praxon.learning.rl.success import LearnedReward, load_classifier
    from praxon.policies.build import build_part
    from praxon.policies.bundle import load_bundle
    from praxon.policies.refined import RefinedPolicy
    from praxon.sim.factory import make_world

    work = read_work(folder)
    torch.set_num_threads(work.threads)
    policy = load_bundle(folder / START).policy
    assert isinstance(policy, RefinedPolicy)
    world = make_world(dict(work.task), dict(work.robot), policy_contract=policy.contract)
    if work.classifier is not None:
        world.verdict = LearnedReward(load_classifier(Path(work.classifier)), world.contract)
    gate = None if work.gate is None else build_part(work.gate, Gate)
    helper = build_part(work.operator, Operator).at(world, work.skill, gate)
    act(world, policy, helper, folder, work.seeds, work.quota)


def learn_there(folder: Path) -> None:
    """Learn as the folder says."""
    import torch

    from praxon.learning.rl.decisions import Reward
    from praxon.learning.rl.learner import Learner, Schedule
    from praxon.learning.rl.rlpd import RlpdSettings
    from praxon.policies.build import build_part
    from praxon.policies.bundle import load_bundle
    from praxon.policies.durable import replace_file
    from praxon.policies.refined import RefinedPolicy
    from praxon.sim.factory import make_world

    work = read_work(folder)
    torch.set_num_threads(work.threads)
    policy = load_bundle(folder / START).policy
    assert isinstance(policy, RefinedPolicy)
    world = make_world(dict(work.task), dict(work.robot), policy_contract=policy.contract)
    learner = Learner(
        policy,
        world.contract,
        RlpdSettings(**work.settings),
        Schedule(**work.schedule),
        build_part(work.reward, Reward),
        work.gamma,
        folder,
        capacity=work.env_steps + MORE,
        given=_frames(work.demonstrations),
        earlier=_frames(work.earlier),
        seed=work.seed,
        prefer_interventions=work.prefer_interventions,
    )
    learner.given(_episodes(work.demonstrations))
    learner.earlier(_episodes(work.earlier))
    with open(folder / METRICS, "a") as metrics:

        def told(figures: dict[str, Any]) -> None:
            metrics.write(json.dumps(figures) + "\n")
            metrics.flush()

        result = learner.run(told)
    replace_file(folder / RESULT, json.dumps(result).encode())


def last_told(folder: Path) -> dict[str, Any]:
    """The last figures of a learner's curve; none where there are none yet."""
    path = folder / METRICS
    if not path.exists():
        return {}
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        lines = file.read().decode().split("\n")[:-1]  # behind the last line end there may be half a line
    try:
        return dict(json.loads(lines[-1])) if lines else {}
    except ValueError:
        return {}


def read_work(folder: Path) -> Work:
    """What ``write_work`` wrote."""
    return Work(**json.loads((folder / DESCRIBED).read_text()))


def _frames(folders: Sequence[str]) -> int:
    """Of datasets."""
    from praxon.datasets.lerobot_reader import LeRobotDataset

    return sum(LeRobotDataset(Path(folder)).num_frames for folder in folders)


def _episodes(folders: Sequence[str]) -> Iterator[Mapping[str, np.ndarray]]:
    """The columns of every episode of datasets, pictures included."""
    from praxon.datasets.lerobot_format import is_picture
    from praxon.datasets.lerobot_reader import LeRobotDataset

    for folder in folders:
        dataset = LeRobotDataset(Path(folder))
        for episode in range(dataset.num_episodes):
            where = dataset.episode_slice(episode)
            columns = {name: values[where] for name, values in dataset.columns.items()}
            for feature in dataset.contract.observations:
                if is_picture(feature):
                    columns[feature.name] = dataset.frames(feature.name, np.arange(where.start, where.stop))
            yield columns


def _end_with(parent: int) -> None:
    """Whoever started this process may be killed without a word; nobody would be there to stop it then."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_EVERY_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
