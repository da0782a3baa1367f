"""Windows and the sampler: the action at step 7 is 7, and a resumed order is the order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxon.contract import Chunk, Feature, PolicyContract
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.lerobot_writer import LeRobotWriter
from praxon.datasets.sampler import ShuffledSampler
from praxon.datasets.windows import Windows
from praxon.errors import DatasetError

CONTRACT = PolicyContract(
    "arm", "count", (Feature("observation.state", "vector", (1,)),), Feature("action", "vector", (1,)), Chunk()
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two episodes; state and action of frame t of episode e are 100 e + t."""
    root = tmp_path_factory.mktemp("windows") / "data"
    with LeRobotWriter(root, CONTRACT, "count") as writer:
        for e, length in enumerate((10, 6)):
            numbers = (100 * e + np.arange(length, dtype=np.float32))[:, None]
            writer.add_episode({"observation.state": numbers, "action": numbers})
    return LeRobotDataset(root)


def test_the_action_at_step_7_is_7(dataset):
    windows = Windows(dataset, Chunk(horizon=4, num_obs_steps=3))
    batch = windows.batch(np.array([7, 0, 9, 10, 15]))
    assert batch["observation.state"][..., 0].tolist() == [
        [5, 6, 7],
        [0, 0, 0],
        [7, 8, 9],
        [100, 100, 100],
        [103, 104, 105],
    ]
    assert batch["action"][..., 0].tolist() == [
        [7, 8, 9, 9],
        [0, 1, 2, 3],
        [9, 9, 9, 9],
        [100, 101, 102, 103],
        [105, 105, 105, 105],
    ]
    assert batch["action_is_pad"].tolist() == [
        [False, False, False, True],
        [False] * 4,
        [False, True, True, True],
        [False] * 4,
        [False, True, True, True],
    ]
    assert batch["index"].tolist() == [7, 0, 9, 10, 15]


def test_a_lead_puts_the_actions_before_now_in_front_and_the_episodes_start_is_padding(dataset):
    batch = Windows(dataset, Chunk(horizon=3, num_obs_steps=1), lead=2).batch(np.array([5, 1, 10, 15]))
    assert batch["action"][..., 0].tolist() == [
        [3, 4, 5, 6, 7],
        [0, 0, 1, 2, 3],
        [100, 100, 100, 101, 102],
        [103, 104, 105, 105, 105],
    ]
    assert batch["action_is_pad"].tolist() == [
        [False] * 5,
        [True, False, False, False, False],
        [True, True, False, False, False],
        [False, False, False, True, True],
    ]
    assert batch["observation.state"][:, 0, 0].tolist() == [5, 1, 100, 105]


def test_several_looks_ahead_are_windows_of_their_own_and_end_with_the_episode(dataset):
    windows = Windows(dataset, Chunk(num_obs_steps=2), future=(1, 4))
    batch = windows.batch(np.array([0, 7, 10]))
    assert batch["future.observation.state"][..., 0].tolist() == [
        [[0, 1], [3, 4]],
        [[7, 8], [8, 9]],
        [[100, 101], [103, 104]],
    ]
    assert batch["future_steps"].tolist() == [[1, 4], [1, 2], [1, 4]]
    single = Windows(dataset, Chunk(num_obs_steps=2), future=4).batch(np.array([0, 7, 10]))
    assert np.array_equal(single["future.observation.state"], batch["future.observation.state"][:, 1])
    assert np.array_equal(single["future_steps"], batch["future_steps"][:, 1])
    with pytest.raises(DatasetError, match="at least 1 is needed"):
        Windows(dataset, Chunk(), future=(0, 4))


def test_chosen_episodes_only(dataset):
    windows = Windows(dataset, Chunk(horizon=2, num_obs_steps=1), episodes=[1])
    assert len(windows) == 6
    assert windows.batch(np.arange(6))["observation.state"][:, 0, 0].tolist() == [100, 101, 102, 103, 104, 105]
    with pytest.raises(DatasetError, match="has 0 to 1"):
        Windows(dataset, Chunk(), episodes=[2])


@given(size=st.integers(1, 40), batch_size=st.integers(1, 50), seed=st.integers(0, 9), before=st.integers(0, 12))
def test_the_sampler_shuffles_epochs_and_resumes(size, batch_size, seed, before):
    sampler = ShuffledSampler(size, batch_size, seed)
    for _ in range(before):
        sampler.next()
    resumed = ShuffledSampler(size, batch_size, seed)
    resumed.load_state_dict(sampler.state_dict())
    assert all(np.array_equal(sampler.next(), resumed.next()) for _ in range(5))

    fresh = ShuffledSampler(size, batch_size, seed)
    drawn = np.concatenate([fresh.next() for _ in range(-(-3 * size // batch_size))])
    assert all(sorted(drawn[k * size : (k + 1) * size]) == list(range(size)) for k in range(len(drawn) // size))
