"""praxon data augment: same seed, same bytes, whatever the number of workers; killed, it goes on; mistakes in a sentence."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from praxon.commands._hydra import compose_config
from praxon.commands.collect import run as collect
from praxon.commands.data.augment import LEDGER, run
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.errors import ConfigError, DatasetError


def augment(*overrides):
    return run(compose_config("data augment", [str(override) for override in overrides]))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = tmp_path_factory.mktemp("source")
    collect(compose_config("collect", ["task=lift", "episodes=2", "seed=3", f"run_dir={root}"]))
    return root / "dataset"


@pytest.fixture(scope="module")
def augmented(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("augmented") / "out"
    return out, augment(f"dataset={source}", f"out={out}", "per_episode=3")


def test_what_is_kept_is_a_dataset_of_the_same_contract(source, augmented):
    out, result = augmented
    dataset, there = LeRobotDataset(out), LeRobotDataset(source)
    assert dataset.contract == there.contract
    assert dataset.num_episodes == result["episodes"] > 0
    assert dataset.num_frames == result["frames"]
    note = dataset.metadata["augmentation"]
    assert (note["source_digest"], note["seed"]) == (there.digest(), 0)


def test_counts_add_up_and_carry_an_interval(augmented):
    _, result = augmented
    replays = result["episodes"] + sum(result["rejected"].values())
    assert (result["replay_successes"], result["replay_attempts"]) == (result["episodes"], replays)
    low, high = result["replay_interval_95"]
    assert low <= result["replay_success_rate"] <= high


def test_the_ledger_says_where_every_episode_comes_from(source, augmented):
    out, result = augmented
    there, dataset = LeRobotDataset(source), LeRobotDataset(out)
    lines = [json.loads(line) for line in (out / LEDGER).read_text().splitlines()]
    assert [line["copy"] for line in lines] == list(range(6))
    kept = [line for line in lines if line["episode"] is not None]
    assert [line["episode"] for line in kept] == list(range(result["episodes"]))
    assert sum(len(line["rejected"]) for line in lines) == sum(result["rejected"].values())
    for line in kept:
        cube = dataset.columns["observation.cube_pose"][dataset.episode_slice(line["episode"]).start]
        was = there.columns["observation.cube_pose"][there.episode_slice(line["source_episode"]).start]
        motion = line["transforms"]["cube"]
        cos, sin = np.cos(motion["angle"]), np.sin(motion["angle"])
        x, y = was[0], -was[1] if motion["mirrored"] else was[1]
        moved = [cos * x - sin * y + motion["shift"][0], sin * x + cos * y + motion["shift"][1]]
        assert np.allclose(cube[:2], moved, atol=1e-5)


def test_two_processes_give_the_bytes_of_one(source, augmented, tmp_path):
    out, result = augmented
    again = augment(f"dataset={source}", f"out={tmp_path / 'out'}", "per_episode=3", "workers=2")
    assert {**again, "dataset": ""} == {**result, "dataset": ""}
    assert files(tmp_path / "out") == files(out)


@pytest.mark.parametrize("kept_lines", [1, 2])
def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(source, augmented, tmp_path, kept_lines):
    """As a kill leaves it: an episode that is written, and its line cut off in the middle."""
    out = tmp_path / "out"
    augment(f"dataset={source}", f"out={out}", "per_episode=2")
    lines = (out / LEDGER).read_text().splitlines(keepends=True)
    (out / LEDGER).write_text("".join(lines[:kept_lines]) + lines[kept_lines][:25])
    augment(f"dataset={source}", f"out={out}", "per_episode=3", "resume=true")
    assert files(out) == files(augmented[0])


def test_resuming_with_other_settings_is_refused(source, augmented, tmp_path):
    shutil.copytree(augmented[0], tmp_path / "out")
    before = files(tmp_path / "out")
    with pytest.raises(DatasetError, match="metadata differ"):
        augment(f"dataset={source}", f"out={tmp_path / 'out'}", "per_episode=3", "seed=1", "resume=true")
    assert files(tmp_path / "out") == before


def test_a_folder_that_holds_something_is_left_alone(source, augmented):
    before = files(augmented[0])
    with pytest.raises(DatasetError, match="already holds something"):
        augment(f"dataset={source}", f"out={augmented[0]}")
    assert files(augmented[0]) == before


def test_nothing_kept_is_an_error_that_says_why(source, tmp_path):
    with pytest.raises(DatasetError, match=r"None of 2 replays .* was kept \(2: the tool left the path"):
        augment(f"dataset={source}", f"out={tmp_path / 'out'}", "per_episode=1", "attempts=1", "max_deviation_m=0")


@pytest.mark.parametrize(
    ("overrides", "answer"),
    [
        ([], "No dataset was given"),
        (["dataset=nowhere"], "No folder was given"),
        (["dataset=nowhere", "out=out", "per_episode=0"], "per_episode is 0; at least 1 is needed"),
    ],
)
def test_mistakes_are_answered_in_a_sentence(overrides, answer):
    with pytest.raises(ConfigError, match=answer):
        augment(*overrides)


def test_another_task_is_refused_before_anything_is_written(source, tmp_path):
    with pytest.raises(DatasetError, match="was not recorded on task 'push_t'"):
        augment(f"dataset={source}", f"out={tmp_path / 'out'}", "task=push_t")
    assert not (tmp_path / "out").exists()
