"""`praxon train` on datasets of two tasks, of pose actions, and with goals: what is accepted, refused and said."""

import json

import pytest

from praxon.cli import run
from praxon.contract import PolicyContract
from praxon.sim.factory import make_robot, make_task

QUICK = ["policy=debug", "steps=3", "training.tensorboard=false"]
CAMERA = "observation.images.front"
SEEN = f"policy.observations=[observation.state,{CAMERA}]"


def praxon(*arguments, expect=0):
    assert run([str(argument) for argument in arguments]) == expect


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Two filmed episodes of lift and of reach, with the tool's pose."""
    root = tmp_path_factory.mktemp("two tasks")
    for task in ("lift", "reach"):
        offered = ["tool_pose=true", "cameras=[front]", "image_size=[32,32]"]
        praxon("collect", f"task={task}", "episodes=2", *offered, f"run_dir='{root / task}'")
    return root


def both(recorded):
    return f"dataset=['{recorded / 'lift/dataset'}','{recorded / 'reach/dataset'}']"


def test_a_policy_of_two_tasks_needs_of_both_what_it_sees(recorded, tmp_path, capsys):
    """Only lift has a cube and only reach a goal pose; a policy that sees neither is trained on both and evaluated on each."""
    praxon("train", *QUICK, both(recorded), f"run_dir={tmp_path / 'all'}", expect=1)
    assert "'observation.cube_pose': the first needs it, the second only" in capsys.readouterr().err
    assert not (tmp_path / "all").exists()
    told = "policy.condition_on_task=true"
    praxon("train", *QUICK, both(recorded), SEEN, told, f"run_dir={tmp_path / 'seen'}")
    contract = PolicyContract.load(tmp_path / "seen/bundle/contract.yaml")
    assert [feature.name for feature in contract.observations] == ["observation.state", CAMERA, "task"]
    assert contract.feature("task").names == tuple(
        make_task(task, make_robot("panda")).instruction for task in ("lift", "reach")
    )
    for task in ("lift", "reach"):
        praxon("eval", f"bundle={tmp_path / 'seen/bundle'}", f"task={task}", "episodes=1", f"run_dir={tmp_path / task}")
        assert json.loads((tmp_path / task / "result.json").read_text())["task"] == task


@pytest.mark.parametrize(
    ("task", "goals", "said"),
    [
        ("lift", "observation.state", "The task 'lift' cannot tell where observation.state shall get to"),
        ("lift", "observation.cube_pose", None),
        ("lift", CAMERA, None),
        ("reach", "observation.tool_pose", None),
        ("reach", CAMERA, f"The task 'reach' cannot tell where {CAMERA} shall get to"),
    ],
)
def test_goals_that_the_task_cannot_tell_are_named_before_the_training(recorded, tmp_path, capsys, task, goals, said):
    praxon("train", *QUICK, recorded / task / "dataset", f"policy.goals=[{goals}]", f"run_dir={tmp_path / 'run'}")
    shown = " ".join(capsys.readouterr().out.split())
    assert (said in shown) if said else ("cannot tell" not in shown)
    evaluate = ["eval", f"bundle={tmp_path / 'run/bundle'}", "episodes=1", f"run_dir={tmp_path / 'judged'}"]
    if said:
        praxon(*evaluate, expect=1)
        assert f"'goal.{goals}': policy needs it" in capsys.readouterr().err


def test_the_quality_of_pose_actions_is_measured_and_sampled_by(tmp_path, capsys):
    praxon("collect", "task=lift", "action=pose", "episodes=3", f"run_dir={tmp_path / 'poses'}")
    capsys.readouterr()
    praxon("data", "info", tmp_path / "poses/dataset")
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("action_spike", "tracking_gap", "action_deviation"))
    praxon("train", *QUICK, tmp_path / "poses/dataset", "sampling=quality", f"run_dir={tmp_path / 'run'}")
