"""The contract: what does not fit is listed with both sides, and YAML keeps every bit of it."""

from dataclasses import replace

import numpy as np
import pytest
import yaml

from praxon.contract import Chunk, Feature, PolicyContract
from praxon.errors import ContractError

STATE = Feature("observation.state", "joint_position", (2,), ("a", "b"), unit="rad", frame="base")
CUBE = Feature(
    "observation.cube_pose", "pose", (7,), ("x", "y", "z", "qw", "qx", "qy", "qz"), unit="m,m,m,1,1,1,1", source="cube"
)
ACTION = Feature("action", "joint_position", (2,), ("a", "b"), unit="rad")
CONTRACT = PolicyContract("arm", "pick", (STATE, CUBE), ACTION, Chunk(16, 8, 0.05, 2))


def test_yaml_round_trip(tmp_path):
    CONTRACT.save(tmp_path / "contract.yaml")
    assert PolicyContract.load(tmp_path / "contract.yaml") == CONTRACT
    assert "!!" not in (tmp_path / "contract.yaml").read_text()


def test_a_contract_fits_itself_and_a_world_that_offers_more():
    more = replace(
        CONTRACT, observations=(Feature("observation.extra", "vector", (3,)), CUBE, STATE), chunk=Chunk(1, 1, 0.05)
    )
    assert CONTRACT.mismatches(CONTRACT) == []
    assert CONTRACT.mismatches(more) == []


@pytest.mark.parametrize(
    ("offered", "both"),
    [
        (replace(CONTRACT, robot="leg"), ("'arm'", "'leg'")),
        (replace(CONTRACT, observations=(STATE,)), ("observation.cube_pose", "only observation.state")),
        (replace(CONTRACT, observations=(replace(STATE, names=("b", "a")), CUBE)), ("[a, b]", "[b, a]")),
        (replace(CONTRACT, observations=(replace(STATE, unit="deg"), CUBE)), ("'rad'", "'deg'")),
        (replace(CONTRACT, observations=(replace(STATE, frame="tool"), CUBE)), ("'base'", "'tool'")),
        (replace(CONTRACT, action=replace(ACTION, kind="joint_velocity")), ("'joint_position'", "'joint_velocity'")),
        (CONTRACT.with_chunk(control_period_s=0.02), ("0.05 s", "0.02 s")),
    ],
)
def test_what_does_not_fit_is_listed_with_both_sides(offered, both):
    with pytest.raises(ContractError) as error:
        CONTRACT.require(offered, "the robot in the test")
    assert all(side in str(error.value) for side in (*both, "the robot in the test"))


def test_impossible_contracts_are_refused_at_once():
    with pytest.raises(ContractError, match="1 to 4 would do"):
        Chunk(horizon=4, num_execute=5)
    for wrong in ({"horizon": "many"}, {"horizon": 8.5}, {"num_obs_steps": None}):
        with pytest.raises(ContractError, match=f"{next(iter(wrong))} is .*; a whole number is needed"):
            Chunk(**wrong)
    with pytest.raises(ContractError, match="ensemble is 'x'; a number is needed"):
        Chunk(ensemble="x")
    with pytest.raises(ContractError, match="names 2 components but has shape"):
        replace(STATE, shape=(3,))
    with pytest.raises(ContractError, match="Kinds: joint_position"):
        replace(STATE, kind="angle")
    with pytest.raises(ContractError, match="distinct names"):
        replace(CONTRACT, observations=(STATE, STATE))
    with pytest.raises(ContractError, match="Features: observation.state"):
        CONTRACT.feature("observation.stat")


def test_a_sample_of_another_shape_or_type_is_refused():
    STATE.check(np.zeros(2, np.float32))
    for wrong in (np.zeros(3, np.float32), np.zeros(2), np.zeros((1, 2), np.float32)):
        with pytest.raises(ContractError, match=r"float32\(2,\)"):
            STATE.check(wrong)


@pytest.mark.parametrize(
    "text", ["", "[1, 2]", "a: [", "robot: arm", yaml.safe_dump(CONTRACT.to_dict() | {"colour": "red"})]
)
def test_a_file_that_is_no_contract_is_refused(tmp_path, text):
    (tmp_path / "contract.yaml").write_text(text)
    with pytest.raises(ContractError):
        PolicyContract.load(tmp_path / "contract.yaml")


def test_a_goal_is_its_observation_under_another_name_and_travels_below_goal():
    from praxon.contract import observed_name
    from praxon.datasets.messages import observation_topic

    pose = Feature("observation.cube_pose", "pose", (7,), source="cube", frame="base")
    contract = PolicyContract("arm", "stack", (pose,), Feature("action", "vector", (1,))).with_goals([pose.name])
    goal = contract.feature("goal.observation.cube_pose")
    assert (goal.is_goal, pose.is_goal) == (True, False)
    assert observed_name(goal.name) == observed_name(pose.name) == pose.name
    assert replace(goal, name=pose.name) == pose
    assert observation_topic(pose) == "objects/cube/pose"
    assert observation_topic(goal) == "goal/objects/cube/pose"
    assert contract.with_observations([goal.name]).observations == (goal,)
    assert PolicyContract.from_dict(contract.to_dict()) == contract


def test_a_task_is_one_hot_over_the_instructions():
    from praxon.contract import task_feature, task_value

    feature = task_feature(("Lift.", "Push."))
    value = task_value(feature, "Push.")
    feature.check(value)
    assert value.tolist() == [0.0, 1.0]
    with pytest.raises(ContractError, match="does not know the task 'Pull.'. Did you mean 'Push.'.*: Lift.; Push."):
        task_value(feature, "Pull.")
