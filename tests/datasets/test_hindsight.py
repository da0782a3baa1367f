"""Hindsight goals and tasks in windows: the goal at step 7 is what the episode came to; draws depend on the frame alone."""

import numpy as np
import pytest

from praxon.contract import Chunk, Feature, PolicyContract
from praxon.datasets.hindsight import goal_frames, uniform
from praxon.datasets.joined import JoinedWindows
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.lerobot_writer import LeRobotWriter
from praxon.datasets.windows import Windows
from praxon.errors import ContractError, DatasetError

CAMERA = "observation.images.front"
CONTRACT = PolicyContract(
    "arm",
    "count",
    (
        Feature("observation.state", "vector", (1,)),
        Feature(CAMERA, "image", (16, 16, 3), dtype="uint8", source="front"),
    ),
    Feature("action", "vector", (1,)),
    Chunk(),
)
TASKS = ("count", "count slowly")


def write(root, episodes):
    """State, action and brightness of frame t of episode e are 100 e + t; episodes are (length, task)."""
    with LeRobotWriter(root, CONTRACT, codec="png") as writer:
        for e, (length, task) in enumerate(episodes):
            numbers = (100 * e + np.arange(length))[:, None]
            pictures = np.broadcast_to(numbers[..., None, None], (length, 16, 16, 3)).astype(np.uint8)
            values = numbers.astype(np.float32)
            writer.add_episode({"observation.state": values, "action": values, CAMERA: pictures}, task=task)
    return LeRobotDataset(root)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write(tmp_path_factory.mktemp("hindsight") / "data", [(10, TASKS[0]), (6, TASKS[1])])


def windows_of(dataset, **options):
    contract = CONTRACT.with_goals(["observation.state", CAMERA])
    return Windows(dataset, Chunk(horizon=2, num_obs_steps=2), contract=contract, **options)


def test_the_final_frame_is_the_goal(dataset):
    batch = windows_of(dataset).batch(np.array([0, 7, 9, 10, 14]))
    assert batch["goal.observation.state"][..., 0].tolist() == [[9, 9]] * 3 + [[105, 105]] * 2
    assert batch["observation.state"][..., 0].tolist() == [[0, 0], [6, 7], [8, 9], [100, 100], [103, 104]]
    pictures = batch[f"goal.{CAMERA}"]
    assert pictures.shape == (5, 2, 16, 16, 3)
    assert pictures.dtype == np.uint8
    assert [np.unique(picture).tolist() for picture in pictures] == [[9]] * 3 + [[105]] * 2


def test_later_windows_have_the_same_goal(dataset):
    batch = windows_of(dataset, future=[1, 3]).batch(np.array([2, 12]), pictures=False)
    assert batch["future.goal.observation.state"].shape == (2, 2, 2, 1)
    assert batch["future.goal.observation.state"][0].max() == batch["future.goal.observation.state"][0].min() == 9
    assert f"goal.{CAMERA}" not in batch


def test_any_later_frame_comes_equally_often_and_none_but_those(dataset):
    windows = windows_of(dataset, hindsight="future")
    goals = np.stack(
        [windows.batch(np.arange(16), False, draw)["goal.observation.state"][:, 0, 0] for draw in range(600)]
    )
    for frame in range(16):
        end = 9 if frame < 10 else 105
        state = frame if frame < 10 else frame + 90
        values, counts = np.unique(goals[:, frame], return_counts=True)
        assert values.tolist() == list(range(state + 1, end + 1)) or (state == end and values.tolist() == [end])
        assert (np.abs(counts / 600 - 1 / len(values)) < 5 * np.sqrt(0.25 / 600)).all()


def test_a_goal_depends_on_frame_seed_and_draw_alone():
    frames, last = np.arange(500), np.full(500, 10_000)
    once = goal_frames(frames, last, "future", seed=3, draw=7)
    assert (once[100:120] == goal_frames(frames[100:120], last[100:120], "future", 3, 7)).all()
    for seed, draw in ((3, 8), (4, 7)):
        assert (once != goal_frames(frames, last, "future", seed, draw)).mean() > 0.9


def test_the_hash_is_uniform_and_independent_over_draws():
    numbers = np.stack([uniform(np.arange(20_000), 0, draw) for draw in range(2)])
    assert ((numbers >= 0) & (numbers < 1)).all()
    assert np.abs(np.histogram(numbers[0], 10, (0, 1))[0] / 2000 - 1).max() < 0.12
    assert abs(np.corrcoef(numbers)[0, 1]) < 0.03
    assert abs(np.corrcoef(numbers[0, 1:], numbers[0, :-1])[0, 1]) < 0.03


def test_an_unknown_way_is_answered_with_the_known_ones(dataset):
    with pytest.raises(DatasetError, match="Did you mean 'final'"):
        windows_of(dataset, hindsight="finale")


def test_tasks_are_matched_by_their_words_across_datasets(dataset, tmp_path):
    contract = CONTRACT.with_observations(["observation.state"]).with_tasks(TASKS)
    other = write(tmp_path / "other", [(3, TASKS[1])])  # its task 0 is the first dataset's task 1
    chunk = Chunk(num_obs_steps=2)
    windows = JoinedWindows([Windows(each, chunk, contract=contract) for each in (dataset, other)])
    task = windows.batch(np.array([0, 9, 10, 15, 16, 18]))["task"]
    assert task.dtype == np.float32
    assert task[:, 1].tolist() == [[1, 0], [1, 0], [0, 1], [0, 1], [0, 1], [0, 1]]


def test_a_task_that_the_policy_does_not_know_is_refused(dataset):
    with pytest.raises(ContractError, match="does not know the task 'count slowly'.*trained on: count."):
        Windows(dataset, Chunk(), contract=CONTRACT.with_tasks(TASKS[:1]))
