"""The circle of a gymnasium environment on the command line: collect, train, evaluate, look at what came of it."""

import json
from pathlib import Path

import pytest

from praxon.cli import run
from praxon.commands.data._posing import make_stage
from praxon.contract import PolicyContract
from praxon.datasets.lerobot_reader import LeRobotDataset

WORLD = ["task=gym", "task.env_id=Mass-v0", "task.module=gym_worlds"]
COLLECT = ["collect", *WORLD, "task.expert=gym_worlds.expert", "episodes=4", "perturbation=0.2"]
TRAIN = ["train", "policy=debug", "steps=20", "training.tensorboard=false"]


@pytest.fixture(scope="module")
def circle(tmp_path_factory):
    """collect and train, once: folders a and b."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1] / "sim"))
        root = tmp_path_factory.mktemp("gym")
        assert run([*COLLECT, f"run_dir={root / 'a'}"]) == 0
        assert run([*TRAIN, *WORLD, f"dataset={root / 'a' / 'dataset'}", f"run_dir={root / 'b'}"]) == 0
        yield root


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def evaluate(tmp_path, *settings):
    assert run(["eval", "episodes=2", f"run_dir={tmp_path}", *settings]) == 0
    return json.loads((tmp_path / "result.json").read_text())


def test_what_is_refused_before_the_first_episode_leaves_no_dataset(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "sim"))
    folder = f"run_dir={tmp_path / 'a'}"
    for wrong, sentence in (
        ("task.expert=null", "has no scripted expert"),
        ("task.expert=gym_worlds.expart", "Did you mean 'expert'"),
        ("image_size=[0,84]", "image_size is [0, 84]; height and width of at least 1"),
        ("phases=true", "tells no phases"),
    ):
        assert run([*COLLECT, wrong, folder]) == 1
        assert sentence in capsys.readouterr().err
    assert not (tmp_path / "a" / "dataset").exists()
    assert run([*COLLECT, folder]) == 0


def test_several_processes_collect_what_one_collects(circle, tmp_path):
    assert run([*COLLECT, "workers=2", f"run_dir={tmp_path / 'a'}"]) == 0
    assert files(tmp_path / "a" / "dataset") == files(circle / "a" / "dataset")


@pytest.mark.parametrize("method", ["hg_dagger", "rlif"])
def test_a_gate_that_looks_ahead_is_refused_before_the_first_round_where_nobody_can(circle, tmp_path, capsys, method):
    start = [f"bundle={circle / 'b' / 'bundle'}", f"dataset={circle / 'a' / 'dataset'}"]
    looks = ["task.expert=gym_worlds.expert", f"method={method}", "gate=value"]
    assert run(["improve", *WORLD, *looks, *start, f"run_dir={tmp_path / 'i'}"]) == 1
    assert "'Mass': only environments on MuJoCo can be put back" in capsys.readouterr().err
    assert not (tmp_path / "i" / "rounds").exists()


def test_a_bundle_is_evaluated_in_its_own_environment(circle, tmp_path):
    bundle = f"bundle={circle / 'b' / 'bundle'}"
    result = evaluate(tmp_path / "one", bundle)
    assert (result["task"], result["robot"]) == ('gym/Mass-v0?module="gym_worlds"', "gymnasium")
    assert result["metrics"]["mean_return"] < 0
    assert evaluate(tmp_path / "same", bundle, *WORLD)["episode_results"] == result["episode_results"]


def test_expert_and_idleness_are_the_bounds(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "sim"))
    expert = evaluate(tmp_path / "expert", "agent=expert", *WORLD, "task.expert=gym_worlds.expert")
    assert expert["successes"] == 2
    assert evaluate(tmp_path / "hold", "agent=hold", *WORLD)["successes"] == 0


def test_a_video_shows_what_the_environment_renders(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "sim"))
    result = evaluate(tmp_path, "agent=expert", *WORLD, "task.expert=gym_worlds.expert", "video=true")
    assert [shown["success"] for shown in result["video"]] == [True]
    assert (tmp_path / "video.mp4").stat().st_size > 0


def test_another_environment_is_refused_listing_both_sides(circle, tmp_path, capsys):
    bundle = f"bundle={circle / 'b' / 'bundle'}"
    assert run(["eval", bundle, "task=gym", "task.env_id=Pendulum-v1", f"run_dir={tmp_path / 'run'}"]) == 1
    captured = capsys.readouterr()
    assert "The bundle was trained for 'gym/Mass-v0" in captured.out
    assert "control period: policy 0.1 s" in captured.err
    dataset = f"dataset={circle / 'a' / 'dataset'}"
    other = ["task=gym", "task.env_id=Pendulum-v1"]
    assert run([*TRAIN, *other, dataset, f"run_dir={tmp_path / 'run'}"]) == 1
    assert "not 'gym/Pendulum-v1'" in capsys.readouterr().err


def test_verbs_that_need_a_robot_say_so(circle, tmp_path, capsys):
    bundle = f"bundle={circle / 'b' / 'bundle'}"
    assert run(["serve", bundle, f"run_dir={tmp_path / 'run'}"]) == 1
    assert "The task 'gym' is a gymnasium environment" in capsys.readouterr().err
    data = str(circle / "a" / "dataset")
    assert run(["data", "augment", data, f"out={tmp_path / 'more'}"]) == 1
    assert "no robot 'gymnasium'" in capsys.readouterr().err


def test_datasets_and_bundles_can_be_looked_at(circle, capsys):
    dataset = circle / "a" / "dataset"
    assert run(["info", f"bundle={circle / 'b' / 'bundle'}"]) == 0
    for verb in ("info", "check", "stats"):
        assert run(["data", verb, str(dataset)]) == 0
    contract = PolicyContract.load(circle / "b" / "bundle" / "contract.yaml")
    stage, note = make_stage(contract)
    assert stage is None
    assert "Cameras and curves only" in note
    assert LeRobotDataset(dataset).contract.mismatches(contract) == []
    assert "gymnasium" in capsys.readouterr().out
