"""praxon classifier, as a user meets it: trained on what was collected, judged on other episodes, refused in one sentence."""

import json
import re

import numpy as np
import pytest

from praxon.cli import run
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.learning.rl.success import LearnedReward, load_classifier


def praxon(*arguments, expect=0):
    assert run([str(argument) for argument in arguments]) == expect


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    """Episodes of reach that go on after success, some that end with it, and one of which nobody noted whether it was solved."""
    root = tmp_path_factory.mktemp("classifier")
    praxon("collect", "task=reach", "episodes=6", "rewards=true", f"run_dir={root / 'good'}")
    praxon("collect", "task=reach", "episodes=2", "rewards=true", "linger_s=0", "seed=5", f"run_dir={root / 'brief'}")
    praxon("collect", "task=reach", "episodes=1", f"run_dir={root / 'plain'}")
    return root


def test_what_is_left_behind(collected, tmp_path):
    both = f"dataset=[{collected / 'good' / 'dataset'},{collected / 'brief' / 'dataset'}]"
    praxon("classifier", both, "steps=300", "batch_size=64", f"run_dir={tmp_path}")
    result = json.loads((tmp_path / "result.json").read_text())
    # A quarter of the six that show a solved state, and one of the two that end as they are solved.
    judging = result["held_out_episodes"]
    assert (sum(number < 6 for number in judging), sum(number >= 6 for number in judging)) == (2, 1)
    found = result["held_out"]
    assert [found[name]["of"] for name in ("unsolved_episodes_called_solved", "solved_episodes_found")] == [0, 2]
    assert found == next(row for row in result["other_thresholds"] if row["threshold"] == 0.85)

    dataset = LeRobotDataset(collected / "good" / "dataset")
    reward = LearnedReward(load_classifier(tmp_path / "classifier"), dataset.contract)
    names = [feature.name for feature in dataset.contract.observations]
    where = dataset.episode_slice(0)
    told = [reward({name: dataset.columns[name][row] for name in names}) for row in range(where.start, where.stop)]
    assert [each.reward for each in told] == [float(each.success) for each in told]
    assert not told[0].success


def test_the_same_seed_gives_the_same_classifier(collected, tmp_path):
    few = ["classifier", f"dataset={collected / 'good' / 'dataset'}", "steps=5", "batch_size=16"]
    for name in ("a", "b"):
        praxon(*few, f"run_dir={tmp_path / name}")
    praxon(*few, "seed=1", f"run_dir={tmp_path / 'c'}")
    a, b, c = ((tmp_path / name / "classifier" / "classifier.safetensors").read_bytes() for name in "abc")
    assert a == b != c


def test_what_is_looked_at_may_be_chosen(collected, tmp_path):
    only = "observations=[observation.state]"
    few = ["steps=5", "batch_size=16", f"run_dir={tmp_path}"]
    praxon("classifier", f"dataset={collected / 'good' / 'dataset'}", only, *few)
    names = [feature.name for feature in load_classifier(tmp_path / "classifier").contract.observations]
    assert names == ["observation.state"]


@pytest.mark.parametrize(
    ("settings", "answer"),
    [
        (["dataset=null"], "praxon collect rewards=true"),
        (["dataset={plain}"], "has no column next.success.*praxon collect rewards=true.*praxon improve"),
        (["dataset={brief}"], "is seen in 0 of 2 episodes.*linger_s=0.5"),
        (["dataset={good}", "threshold=1.5"], "threshold is 1.5"),
        (["dataset={good}", "held_out=1"], "held_out is 1"),
        (["dataset={good}", "observations=[observation.stat]"], "Did you mean 'observation.state'"),
        (["dataset={good}", "hold=0"], "hold is 0"),
    ],
)
def test_a_mistake_is_answered_in_one_sentence(collected, tmp_path, capsys, settings, answer):
    folders = {name: collected / name / "dataset" for name in ("good", "brief", "plain")}
    praxon("classifier", *(text.format(**folders) for text in settings), f"run_dir={tmp_path / 'run'}", expect=1)
    said = capsys.readouterr().err
    assert re.search(answer, said, re.DOTALL), said
    assert not (tmp_path / "run").exists()


def test_datasets_of_two_tasks_are_refused(collected, tmp_path, capsys):
    other = tmp_path / "lift"
    praxon("collect", "task=lift", "episodes=1", "rewards=true", f"run_dir={other}")
    praxon(
        "classifier",
        f"dataset=[{collected / 'good' / 'dataset'},{other / 'dataset'}]",
        "observations=[observation.state]",
        expect=1,
    )
    assert "task: classifier 'reach', here 'lift'" in capsys.readouterr().err


def test_success_is_of_the_state_after_the_step(collected):
    """The world's own word for the frame that follows: an episode lingers for half a second, ten steps, after the first success."""
    dataset = LeRobotDataset(collected / "good" / "dataset")
    success = dataset.columns["next.success"].reshape(-1)
    first = [int(np.flatnonzero(success[dataset.episode_slice(episode)])[0]) for episode in range(len(dataset))]
    assert [length - place for length, place in zip(dataset.episode_lengths, first, strict=True)] == [11] * len(dataset)
