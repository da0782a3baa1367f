"""Copies are true simulated episodes: they begin where they say, end in success, and a wrong symmetry keeps none."""

import numpy as np
import pytest

from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.lerobot_writer import LeRobotWriter
from praxon.errors import ConfigError, DatasetError
from praxon.learning.augmentation import Augmenter, Settings
from praxon.sim.factory import make_simulation
from praxon.sim.perturbation import PerturbedAgent
from praxon.sim.recording import record_episode
from praxon.sim.replay import Start
from praxon.sim.seeds import Purpose, episode_seeds
from praxon.sim.symmetry import Anchor, Symmetry, Transform
from praxon.sim.tasks.pick_place import AREA, MIN_DISTANCE_M
from praxon.sim.tool_path import ToolPath, carried

EPISODES = 2


def demonstrations(root, task):
    """Expert episodes of a task, without pushes."""
    simulation = make_simulation(task)
    agent = PerturbedAgent(simulation.expert(), simulation.push_heights(0.0, 0.0), 0.05)
    with LeRobotWriter(root, simulation.contract, simulation.task.instruction, "panda") as writer:
        for seed in episode_seeds(Purpose.COLLECT, 5, EPISODES):
            episode = record_episode(simulation, agent, seed, 0.5)
            assert episode.result.success
            writer.add_episode(episode.frames, episode.stamps_ns)
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return demonstrations(tmp_path_factory.mktemp("source") / "pick_place", "pick_place")


@pytest.fixture(scope="module")
def augmenter(root):
    return Augmenter(root, "pick_place", "panda", Settings(), EPISODES)


@pytest.fixture(scope="module")
def copies(augmenter):
    return [augmenter(number) for number in range(6)]


def test_most_demonstrations_of_the_expert_can_be_carried_over(copies):
    assert sum(copy.demonstration is not None for copy in copies) >= 4


def test_copies_are_numbered_round_the_demonstrations(copies):
    assert [(copy.number, copy.source) for copy in copies] == [(n, n % EPISODES) for n in range(6)]


def test_a_copy_begins_where_its_transforms_say_and_where_the_task_may_begin(augmenter, copies):
    for copy in copies:
        if copy.demonstration is None:
            continue
        here, _ = augmenter.source(copy.source)
        frames = copy.demonstration.frames
        first = {body: frames[f"observation.{body}_pose"][0] for body in ("cube", "goal")}
        assert np.allclose(copy.transforms["cube"].pose(here.poses["cube"]), first["cube"], atol=1e-6)
        assert np.allclose(copy.transforms["goal"].position(here.poses["goal"][:3]), first["goal"][:3], atol=1e-6)
        assert np.array_equal(frames["observation.state"][0], here.positions.astype(np.float32))
        assert not np.allclose(first["cube"], here.poses["cube"], atol=1e-3)
        for pose in first.values():
            assert (pose[:2] >= AREA[0]).all()
            assert (pose[:2] <= AREA[1]).all()
        assert np.linalg.norm(first["cube"][:2] - first["goal"][:2]) >= MIN_DISTANCE_M
        assert first["goal"][3:].tolist() == [1, 0, 0, 0]


def test_a_copy_is_what_the_simulation_shows_under_its_own_actions(augmenter, copies):
    """Recorded actions sent again through control loop and safety filter give the recorded observations, to the bit."""
    copy = next(copy for copy in copies if copy.demonstration is not None)
    frames, simulation = copy.demonstration.frames, augmenter.simulation

    class Recorded:
        intended = None

        def reset(self, seed):
            self.rows = iter(copy.demonstration.frames["action"])

        def act(self, observation):
            self.intended = next(self.rows, frames["action"][-1])
            return self.intended[None].astype(np.float64)

    poses = {body: frames[f"observation.{body}_pose"][0].astype(np.float64) for body in ("cube", "goal")}
    simulation.begin = Start(frames["observation.state"][0].astype(np.float64), poses)
    again = record_episode(simulation, Recorded(), 0, 0.5)
    assert again.result.success
    assert len(again.stamps_ns) == len(copy.demonstration.stamps_ns)
    # The start is stored in 32 bits, so the second run differs from the first by rounding, which contacts amplify.
    for name, value in frames.items():
        assert np.abs(again.frames[name] - value).max() < 2e-3, name
    away = frames["observation.cube_pose"][-1][:2] - frames["observation.goal_pose"][-1][:2]
    assert np.linalg.norm(away) <= 0.025


def test_a_copy_depends_on_its_number_and_the_seed_alone(root, copies):
    fresh = Augmenter(root, "pick_place", "panda", Settings(), EPISODES)
    again = fresh(3)
    assert (again.rejected, again.transforms) == (copies[3].rejected, copies[3].transforms)
    for name, value in copies[3].demonstration.frames.items():
        assert np.array_equal(again.demonstration.frames[name], value)
    other = Augmenter(root, "pick_place", "panda", Settings(seed=1), EPISODES)(3)
    assert other.transforms != copies[3].transforms


def test_no_copy_begins_where_an_evaluation_does(augmenter, monkeypatch):
    """Episodes of an evaluation are seeded with one number, as ``Simulation.reset`` does."""

    class Drawn(Exception):
        pass

    def drawn(positions, rng):
        raise Drawn(rng.bit_generator.seed_seq.generate_state(4).tolist())

    monkeypatch.setattr(augmenter.simulation, "drawn", drawn)
    with pytest.raises(Drawn) as caught:
        augmenter(0)
    assert caught.value.args[0] != np.random.SeedSequence(augmenter.settings.seed).generate_state(4).tolist()


@pytest.mark.parametrize(
    "wrong",
    [
        Symmetry((Anchor("cube"),)),  # forgets where the cube is to be put
        Symmetry((Anchor("goal", round=True),)),  # forgets where it is to be fetched
        Symmetry((Anchor("goal", round=True), Anchor("cube"))),  # the wrong way round
    ],
)
def test_a_wrong_symmetry_keeps_next_to_nothing(augmenter, monkeypatch, wrong):
    """Of six starts each; one that was drawn close to the demonstration's own may be solved all the same."""
    monkeypatch.setattr(augmenter, "settings", Settings(attempts=1))
    right = sum(augmenter(number).demonstration is not None for number in range(6))
    monkeypatch.setattr(augmenter, "symmetry", wrong)
    assert right >= 5
    assert sum(augmenter(number).demonstration is not None for number in range(6)) <= 1


def test_a_motion_out_of_the_workspace_is_rejected_by_name(augmenter):
    start, path = augmenter.source(0)
    outside = Transform(0.0, (0.0, 0.6, 0.0))
    far = ToolPath(outside.position(path.positions), path.yaws, path.grippers, path.lead_m)
    assert augmenter.replay(start, far) == ("workspace", None)


def test_a_start_that_is_solved_is_rejected_by_name(augmenter):
    start, path = augmenter.source(0)
    goal = start.poses["goal"]
    poses = {"goal": goal, "cube": np.array([*goal[:2], 0.02, 1, 0, 0, 0])}
    assert augmenter.replay(Start(start.positions, poses), path)[0] == "already_solved"


def test_a_replay_that_misses_is_rejected_by_name(augmenter):
    start, path = augmenter.source(0)
    aside = {**start.poses, "cube": start.poses["cube"] + [0.06, 0, 0, 0, 0, 0, 0]}
    assert augmenter.replay(Start(start.positions, aside), path)[0] == "not_solved"


def test_a_tool_that_leaves_its_path_is_rejected_by_name(root):
    strict = Augmenter(root, "pick_place", "panda", Settings(max_deviation_m=1e-6), EPISODES)
    assert strict.replay(*strict.source(0))[0] == "off_path"


def test_the_identity_keeps_a_demonstration(augmenter):
    start, path = augmenter.source(0)
    anchors = augmenter.symmetry.anchors
    same = carried(path, anchors, [start.poses[a.body][:3] for a in anchors], [Transform()] * 2)
    reason, demonstration = augmenter.replay(start, same)
    assert reason == ""
    rows = augmenter.dataset.episode_slice(0)
    assert np.abs(demonstration.frames["action"] - augmenter.dataset.columns["action"][rows]).max() < 0.02


def test_a_task_without_symmetry_is_refused_with_those_that_have_one(tmp_path):
    simulation = make_simulation("push_t")
    observation = {
        name: np.repeat(value[None], 3, axis=0) for name, value in simulation.robot.observe().features.items()
    }
    simulation.reset(0)
    with LeRobotWriter(tmp_path / "d", simulation.contract, "Push.", "panda") as writer:
        writer.add_episode({**observation, "action": observation["observation.state"]})
    with pytest.raises(ConfigError, match="'push_t' declares no symmetry.*lift, pick_place, reach"):
        Augmenter(tmp_path / "d", "push_t", "panda", Settings(), 1)


def test_a_dataset_of_another_task_is_refused(root):
    with pytest.raises(DatasetError, match="goal_pose"):
        Augmenter(root, "lift", "panda", Settings(), EPISODES)


def test_a_mirrored_start_is_still_upright(copies):
    assert {transform.mirrored for copy in copies for transform in copy.transforms.values()} == {False, True}


def test_the_source_is_not_touched(root, copies):
    assert LeRobotDataset(root).num_episodes == EPISODES
