"""Several datasets as one, windows into the future, packing, and choosing episodes."""

from dataclasses import replace

import numpy as np
import pytest

from praxon.contract import Chunk, Feature, PolicyContract
from praxon.datasets.conversion import copy_episodes
from praxon.datasets.joined import JoinedWindows, joined_digest, joined_statistics, require_alike
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.lerobot_writer import LeRobotWriter
from praxon.datasets.packing import pack
from praxon.datasets.selection import select_episodes
from praxon.datasets.windows import Windows
from praxon.errors import ContractError, DatasetError

CAMERA = "observation.images.front"
CONTRACT = PolicyContract(
    "arm",
    "count",
    (Feature("observation.state", "vector", (1,)), Feature(CAMERA, "image", (64, 64, 3), dtype="uint8")),
    Feature("action", "vector", (1,)),
    Chunk(control_period_s=0.1),
)
EXTRA = (Feature("is_intervention", "vector", (1,), dtype="bool"), Feature("next.reward", "vector", (1,)))


@pytest.fixture(scope="module")
def roots(tmp_path_factory, film):
    """Episodes of 6, 4 and of 5 frames; state and picture count on through both, actions are their negatives."""
    folder = tmp_path_factory.mktemp("joined")
    start = 0
    for name, lengths in (("a", (6, 4)), ("b", (5,))):
        with LeRobotWriter(folder / name, CONTRACT, f"count {name}", "arm", extra_features=EXTRA) as writer:
            for length in lengths:
                number = np.arange(start, start + length)
                values = number.astype(np.float32)[:, None]
                pictures = np.stack([film.numbered(n) for n in number])
                flags = (number % 3 == 0)[:, None]
                frames = {"observation.state": values, CAMERA: pictures, "action": -values}
                writer.add_episode(frames | {"is_intervention": flags, "next.reward": values / 4})
                start += length
    return folder / "a", folder / "b"


@pytest.fixture
def datasets(roots):
    return [LeRobotDataset(root) for root in roots]


def test_joined_windows_are_those_of_the_parts(datasets, film):
    joined = JoinedWindows([Windows(dataset, Chunk(horizon=3, num_obs_steps=2)) for dataset in datasets])
    assert len(joined) == 15
    order = np.array([14, 0, 9, 10, 3, 5])
    batch = joined.batch(order)
    assert batch["observation.state"][..., 0].tolist() == [[13, 14], [0, 0], [8, 9], [10, 10], [2, 3], [4, 5]]
    shown = [[film.shown(picture) for picture in window] for window in batch[CAMERA]]
    assert shown == batch["observation.state"][..., 0].tolist()
    assert batch["action"][:, 0, 0].tolist() == [-14, 0, -9, -10, -3, -5]
    assert batch["is_intervention"].tolist()[1] == [True, False, False]
    assert batch["index"].tolist() == order.tolist()
    assert np.array_equal(joined.frames, np.arange(15))
    assert CAMERA not in joined.batch(order, pictures=False)


def test_every_batch_has_the_same_entries_whichever_parts_it_is_from(datasets):
    joined = JoinedWindows([Windows(datasets[0], Chunk(), extras=["next.reward"]), Windows(datasets[1], Chunk())])
    names = [set(joined.batch(np.array(order), pictures=False)) for order in ([0, 1], [12], [0, 12])]
    assert names[0] == names[1] == names[2]
    assert "next.reward" not in names[0]
    assert "is_intervention" in names[0]


def test_joined_statistics_are_those_of_all_frames(datasets):
    found = joined_statistics([Windows(dataset, Chunk()) for dataset in datasets])
    assert found["observation.state"]["mean"] == pytest.approx(7)
    assert found["action"]["count"] == [15]
    assert found["action"]["q50"] == pytest.approx(-7)
    assert found[CAMERA]["count"] == [15]
    assert joined_digest(datasets) not in {dataset.digest() for dataset in datasets}
    assert joined_digest(datasets[:1]) == datasets[0].digest()


def test_statistics_are_of_the_chosen_episodes_alone(datasets):
    found = joined_statistics([Windows(datasets[0], Chunk(), [1]), Windows(datasets[1], Chunk())])
    assert found["observation.state"]["min"] == 6
    assert found["action"]["count"] == [9]
    assert found[CAMERA]["count"] == [9]


def test_datasets_that_do_not_fit_are_refused_with_both_sides(datasets):
    datasets[1].contract = datasets[1].contract.with_chunk(control_period_s=0.05)
    with pytest.raises(ContractError, match=r"the first 0.1 s, the second 0.05 s"):
        require_alike(datasets)


def test_only_what_is_seen_must_fit(datasets):
    """The second dataset has another state; a policy that sees the pictures alone can be trained on both."""
    datasets[1].contract = other = replace(
        CONTRACT, observations=(replace(CONTRACT.feature("observation.state"), name="other"), CONTRACT.feature(CAMERA))
    )
    datasets[1].columns["other"] = datasets[1].columns.pop("observation.state")
    with pytest.raises(ContractError, match=r"'observation.state': the first needs it, the second only other"):
        require_alike(datasets)
    with pytest.raises(ContractError, match=r"'observation.state': the first needs it"):
        require_alike(datasets, [CAMERA, "observation.state"])
    require_alike(datasets, [CAMERA])
    seen = CONTRACT.with_observations([CAMERA]).with_goals([CAMERA])
    parts = [Windows(dataset, Chunk(), contract=seen) for dataset in datasets]
    found = joined_statistics(parts)
    assert set(found) == {CAMERA, "action"}
    assert found["action"]["mean"] == pytest.approx(-7)
    assert "observation.state" not in JoinedWindows(parts).batch(np.array([0, 14]))
    datasets[1].contract = other.with_chunk(control_period_s=0.05)
    with pytest.raises(ContractError, match=r"the first 0.1 s, the second 0.05 s"):
        require_alike(datasets, [CAMERA])


def test_the_future_ends_with_the_episode(datasets):
    windows = Windows(datasets[0], Chunk(horizon=2, num_obs_steps=2), extras=["next.reward"], future=4)
    batch = windows.batch(np.array([0, 3, 5, 6]))
    assert batch["future.observation.state"][..., 0].tolist() == [[3, 4], [4, 5], [4, 5], [8, 9]]
    assert batch["future_steps"].tolist() == [4, 2, 0, 3]
    assert batch["next.reward"].tolist() == [[0, 0.25], [0.75, 1], [1.25, 1.25], [1.5, 1.75]]
    assert batch["is_intervention"].tolist() == [[True, False], [True, False], [False, False], [True, False]]
    assert batch["observation_is_pad"].tolist() == [[True, False], [False, False], [False, False], [True, False]]
    with pytest.raises(DatasetError, match=r"no column nix; beyond its contract it has is_intervention, next.reward"):
        Windows(datasets[0], Chunk(), extras=["nix"])


@pytest.mark.parametrize("limit_mb", [1000, 1e-6])
def test_packed_and_copied_datasets_hold_the_same(datasets, tmp_path, limit_mb):
    original = datasets[0]
    pack(original, tmp_path / "packed", limit_mb, limit_mb)
    packed = LeRobotDataset(tmp_path / "packed")
    assert len(packed.index.data_files) == len(packed.index.videos[CAMERA].files) == (1 if limit_mb > 1 else 2)
    with LeRobotWriter(tmp_path / "copy", CONTRACT, "count a", "arm", extra_features=EXTRA) as writer:
        copy_episodes(packed, writer, [1, 0])
    copied = LeRobotDataset(tmp_path / "copy")
    back = [6, 7, 8, 9, 0, 1, 2, 3, 4, 5]
    for name, values in original.columns.items():
        assert np.array_equal(packed.columns[name], values)
        if name not in ("index", "episode_index"):
            assert np.array_equal(copied.columns[name], values[back])
    pictures = original.frames(CAMERA, np.arange(10))
    assert np.array_equal(packed.frames(CAMERA, np.arange(10)), pictures)
    assert np.array_equal(copied.frames(CAMERA, np.arange(10)), pictures[back])


def test_named_splits_follow_their_episodes(datasets, tmp_path):
    datasets[0].splits = {"train": [0, 1], "valid": [1]}
    with LeRobotWriter(tmp_path / "copy", CONTRACT, "count a", extra_features=EXTRA) as writer:
        copy_episodes(datasets[0], writer, [1, 0])
    assert LeRobotDataset(tmp_path / "copy").splits == {"train": [0, 1], "valid": [0]}


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (None, [0, 1, 2, 3]),
        ("valid", [1, 3]),
        ("1:3", [1, 2]),
        ("2:", [2, 3]),
        (":2", [0, 1]),
        ("3", [3]),
        (2, [2]),
        ([3, 0], [3, 0]),
    ],
)
def test_episodes_are_chosen_in_a_word(asked, found):
    assert select_episodes(asked, 4, {"valid": [1, 3]}, "x") == found


@pytest.mark.parametrize("asked", ["vald", "0:9", [4], [-1], "a:b", [], [True], 7, 1.5, "0:99999999999999", "none"])
def test_what_cannot_be_chosen_is_answered(asked):
    with pytest.raises(DatasetError, match="'x'"):
        select_episodes(asked, 4, {"valid": [1, 3], "none": []}, "x")
