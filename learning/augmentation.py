"""Augmentation by a task's own symmetries: demonstrations carried over to new starts, replayed, kept if they succeed.

What is kept is a simulated episode of its own: it began where the task could have begun, went through the control loop
and the safety filter, was observed tick by tick, and solved the task. Nothing is the transform of recorded numbers.

Source: Corrado et al., "Guided Data Augmentation for Offline Reinforcement Learning and Imitation Learning",
arXiv 2310.18247: transforms as the task allows them, kept where they show progress in the task.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from praxon.contract import PolicyContract
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.errors import ConfigError, DatasetError, RobotError
from praxon.sim.factory import make_simulation
from praxon.sim.perturbation import PerturbedAgent
from praxon.sim.recording import Demonstration, record_episode
from praxon.sim.registration import own_tasks
from praxon.sim.replay import PathAgent, Replay, Start
from praxon.sim.symmetry import Symmetry, Transform
from praxon.sim.tool_path import ToolPath, carried, tool_path
from praxon.targets import load_option, load_target

REASONS = {
    "not_near": "the demonstration never comes near an anchor",
    "workspace": "the tool would have to leave the workspace",
    "already_solved": "the task is solved at the new start",
    "unreachable": "no joint motion follows the tool path",
    "off_path": "the tool left the path by more than max_deviation_m",
    "not_solved": "the replay does not solve the task",
}
"""Why a replay is not kept, in the order in which it is looked for."""

STREAM = 2
"""Last number of every seed, so that none is an evaluation's: zeros at the end of a seed do not count, and numpy would take
copy 0, ``[seed, 0, 0]``, for the episode of the seed alone."""


@dataclass(frozen=True)
class Settings:
    """How demonstrations are carried over.

    Args:
        seed: fixes every start and every perturbation.
        attempts: starts tried for one copy before it is given up.
        max_deviation_m: how far the tool may be off the path that it was sent along [m].
        perturbation_rad: height of the pushes on executed commands (``PerturbedAgent``) [rad].
        linger_s: how long to go on after success [s].
    """

    seed: int = 0
    attempts: int = 3
    max_deviation_m: float = 0.05
    perturbation_rad: float = 0.0
    linger_s: float = 0.5


@dataclass(frozen=True)
class Copy:
    """What became of one copy of a demonstration.

    Args:
        number: of the copy, from 0 over all demonstrations.
        source: episode that it was carried over from.
        rejected: a reason for each start that was tried in vain.
        transforms: of each anchor, of the start that succeeded.
        demonstration: the replay; None where no start succeeded.
    """

    number: int
    source: int
    rejected: tuple[str, ...]
    transforms: Mapping[str, Transform]
    demonstration: Demonstration | None


class Augmenter:
    """Makes copies of a dataset's episodes; a copy depends on its number and the settings, and on nothing else.

    Args:
        root: folder of the dataset.
        task, robot: configs or their names.
        settings: see there.
        num_sources: episodes that are copied, from the first on; copy ``n`` is of episode ``n % num_sources``.

    Raises:
        ConfigError: the task declares no symmetry.
        DatasetError: the dataset was not recorded on this task and robot.
    """

    def __init__(
        self,
        root: Path,
        task: Mapping[str, Any] | str,
        robot: Mapping[str, Any] | str,
        settings: Settings,
        num_sources: int,
    ) -> None:
        self.dataset = LeRobotDataset(root)
        self.settings = settings
        self.num_sources = num_sources
        self.simulation = _replay(self.dataset.contract, task, robot, root)
        self.symmetry = require_symmetry(self.simulation)
        period_s = self.simulation.contract.chunk.control_period_s
        spec = self.simulation.scene.robot
        self.agent = PathAgent(spec, period_s)
        heights = self.simulation.push_heights(settings.perturbation_rad, 0.0)
        self._demonstrator = PerturbedAgent(self.agent, heights, period_s)
        self._sources: dict[int, tuple[Start, ToolPath]] = {}

    def __call__(self, number: int) -> Copy:
        """The copy of this number: starts are tried until one succeeds or ``attempts`` are used up."""
        source = number % self.num_sources
        rejected: list[str] = []
        for attempt in range(self.settings.attempts):
            rng = np.random.default_rng([self.settings.seed, number, attempt, STREAM])
            reason, transforms, demonstration = self._attempt(source, rng)
            if not reason:
                return Copy(number, source, tuple(rejected), transforms, demonstration)
            rejected.append(reason)
            if reason == "not_near":  # whatever the start
                break
        return Copy(number, source, tuple(rejected), {}, None)

    def source(self, episode: int) -> tuple[Start, ToolPath]:
        """Where an episode of the dataset began, and where it sent the tool."""
        if episode not in self._sources:
            rows, columns = self.dataset.episode_slice(episode), self.dataset.columns
            states = columns["observation.state"][rows].astype(np.float64)
            poses = {
                body: columns[f"observation.{body}_pose"][rows.start].astype(np.float64)
                for body in self.simulation.task.objects
            }
            actions = columns[self.dataset.contract.action.name][rows]
            path = tool_path(self.agent.control, self.simulation.scene.robot, states, actions)
            self._sources[episode] = Start(states[0], poses), path
        return self._sources[episode]

    def replay(self, start: Start, path: ToolPath, seed: int = 0) -> tuple[str, Demonstration | None]:
        """Why the replay of a path from a start is not to be kept, empty if it is; and the replay, if it was run."""
        simulation = self.simulation
        if path.leaves(simulation.scene.robot.workspace):
            return "workspace", None
        simulation.begin, self.agent.path = start, path
        simulation.reset(seed)
        if simulation.task.success(simulation.scene):
            return "already_solved", None
        try:
            demonstration = record_episode(simulation, self._demonstrator, seed, self.settings.linger_s)
        except RobotError:  # the inverse kinematics found nothing, or the physics came apart
            return "unreachable", None
        if self.agent.deviation_m > self.settings.max_deviation_m:
            return "off_path", demonstration
        return ("" if demonstration.result.success else "not_solved"), demonstration

    def _attempt(self, source: int, rng: np.random.Generator) -> tuple[str, dict[str, Transform], Demonstration | None]:
        """One start drawn and tried: reason of rejection or empty, transforms, replay."""
        here, path = self.source(source)
        anchors = self.symmetry.anchors
        mirrored = self.symmetry.mirror and bool(rng.integers(2))
        drawn = self.simulation.drawn(here.positions, rng).poses
        transforms = self.symmetry.transforms(here.poses, drawn, mirrored)
        named = {anchor.body: transform for anchor, transform in zip(anchors, transforms, strict=True)}
        moved = {anchor.body: drawn[anchor.body] for anchor in anchors}
        try:
            path = carried(path, anchors, [here.poses[anchor.body][:3] for anchor in anchors], transforms)
        except RobotError:
            return "not_near", named, None
        start = Start(here.positions, {**here.poses, **moved})
        reason, demonstration = self.replay(start, path, int(rng.integers(2**31)))
        return reason, named, demonstration


def require_symmetry(simulation: Replay) -> Symmetry:
    """The symmetry that the task declares; ``ConfigError`` where it declares none or names what it does not observe."""
    task = simulation.task
    if task.symmetry is None:
        tasks = [name for name in own_tasks() if load_target(load_option("task", name)["_target_"]).symmetry]
        raise ConfigError(
            f"The task '{task.name}' declares no symmetry, so that its demonstrations cannot be carried over to other "
            f"starts; tasks that do: {', '.join(tasks) or 'none'}."
        )
    unknown = [anchor.body for anchor in task.symmetry.anchors if anchor.body not in task.objects]
    if unknown:
        raise ConfigError(
            f"The symmetry of task '{task.name}' names {', '.join(unknown)}; its objects are {', '.join(task.objects)}."
        )
    return task.symmetry


def provenance(dataset: LeRobotDataset, settings: Settings, num_sources: int) -> dict[str, Any]:
    """What a dataset of copies says about where it comes from."""
    source = {"source": str(dataset.root), "source_digest": dataset.digest(), "source_episodes": num_sources}
    return {"augmentation": source | asdict(settings)}


def _replay(
    contract: PolicyContract, task: Mapping[str, Any] | str, robot: Mapping[str, Any] | str, root: Path
) -> Replay:
    """A replay that offers exactly the features of the dataset."""
    images = [feature for feature in contract.observations if feature.kind == "image"]
    size = images[0].shape[:2] if images else (84, 84)
    clouds = [feature for feature in contract.observations if feature.kind == "point_cloud"]
    plain = make_simulation(
        task,
        robot,
        contract.chunk.control_period_s,
        [image.source for image in images],
        size,
        point_clouds=[cloud.source for cloud in clouds],
        num_points=clouds[0].shape[0] if clouds else 1,
    )
    differing = [text.replace("policy", "dataset") for text in contract.mismatches(plain.contract)]
    recorded = {feature.name for feature in contract.observations}
    lacking = [feature.name for feature in plain.contract.observations if feature.name not in recorded]
    if lacking:
        differing.append(f"the dataset lacks {', '.join(lacking)}")
    if differing:
        raise DatasetError(
            f"The dataset '{root}' was not recorded on task '{plain.task.name}' with robot '{plain.scene.robot.name}' as "
            f"they are now: {'; '.join(differing)}."
        )
    return Replay(plain.task, plain.scene, plain.contract)
