"""Windows over some frames alone: chunks end with their run, labels come from the column that was asked for."""

import numpy as np
import pytest

from praxon.contract import Chunk, Feature, PolicyContract
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.lerobot_writer import LeRobotWriter
from praxon.datasets.windows import Windows
from praxon.errors import DatasetError

CONTRACT = PolicyContract(
    robot="toy",
    task="toy",
    observations=(Feature("observation.state", "vector", (1,), ("x",)),),
    action=Feature("action", "vector", (1,), ("x",)),
    chunk=Chunk(horizon=4, num_execute=2, control_period_s=0.1, num_obs_steps=2),
)
OTHER = Feature("expert_action", "vector", (1,), ("x",))


@pytest.fixture
def dataset(tmp_path):
    """Episodes of 6 and 4 frames; states and actions count frames, labels are 100 more."""
    with LeRobotWriter(tmp_path / "d", CONTRACT, "count", "toy", extra_features=[OTHER]) as writer:
        for start, length in ((0, 6), (6, 4)):
            count = np.arange(start, start + length, dtype=np.float32)[:, None]
            writer.add_episode({"observation.state": count, "action": count, "expert_action": count + 100})
    return LeRobotDataset(tmp_path / "d")


def test_chunks_end_with_the_run_and_observations_reach_before_it(dataset):
    keep = np.array([0, 0, 1, 1, 0, 1, 1, 1, 0, 1], bool)
    windows = Windows(dataset, CONTRACT.chunk, keep=keep)
    assert len(windows) == 6
    assert windows.frames.tolist() == [2, 3, 5, 6, 7, 9]
    assert windows.episode_lengths.tolist() == [3, 3]
    batch = windows.batch(np.arange(6))
    assert batch["observation.state"][..., 0].tolist() == [[1, 2], [2, 3], [4, 5], [6, 6], [6, 7], [8, 9]]
    assert batch["action"][..., 0].tolist() == [
        [2, 3, 3, 3],
        [3, 3, 3, 3],
        [5, 5, 5, 5],  # the run goes no further than the episode
        [6, 7, 7, 7],
        [7, 7, 7, 7],
        [9, 9, 9, 9],
    ]
    assert batch["action_is_pad"].sum(axis=1).tolist() == [2, 3, 3, 2, 3, 3]


def test_all_kept_is_as_if_nothing_were_said(dataset):
    plain, kept = Windows(dataset, CONTRACT.chunk), Windows(dataset, CONTRACT.chunk, keep=np.ones(10, bool))
    one, other = (windows.batch(np.arange(10)) for windows in (plain, kept))
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name])
    assert len(Windows(dataset, CONTRACT.chunk, keep=np.zeros(10, bool))) == 0


def test_labels_of_another_column(dataset):
    batch = Windows(dataset, CONTRACT.chunk, labels="expert_action").batch(np.array([0]))
    assert batch["action"][0, :, 0].tolist() == [100, 101, 102, 103]
    with pytest.raises(DatasetError, match="no column 'luck'"):
        Windows(dataset, CONTRACT.chunk, labels="luck")
    with pytest.raises(DatasetError, match="one for each of its 10 frames"):
        Windows(dataset, CONTRACT.chunk, keep=np.ones(3, bool))
