"""The observation encoder: which tokens there are, in which order, what augmentation and conditioning change."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from praxon.contract import Feature
from praxon.errors import ConfigError, ContractError
from praxon.policies.build import build_policy, policy_contract
from praxon.policies.bundle import load_bundle, save_bundle
from praxon.policies.networks.encoders import ObservationEncoder
from praxon.policies.networks.pretrained import load_pretrained
from praxon.policies.normalizer import Normalizer

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "policy").glob("*.yaml"))
TASKS = ("Lift the cube.", "Push the block.", "Wait.")
CLOUD = Feature("observation.point_clouds.front", "point_cloud", (16, 3), unit="m", frame="base", source="front")
POLICY = {
    "_target_": "praxon.policies.flow_matching.FlowMatchingPolicy",
    "encoder": {"_target_": "praxon.policies.networks.encoders.ObservationEncoder", "width": 16},
    "network": {
        "_target_": "praxon.policies.networks.transformer.TransformerDenoiser",
        "width": 16,
        "depth": 1,
        "num_heads": 2,
    },
}


@pytest.fixture
def everything(camera_contract):
    """State, camera and point cloud, goals of each, and the task."""
    with_cloud = replace(camera_contract, observations=(*camera_contract.observations, CLOUD))
    goals = ("observation.environment_state", "observation.images.front", CLOUD.name)
    return with_cloud.with_goals(goals).with_tasks(TASKS)


def encoder_of(contract, **options):
    torch.manual_seed(0)
    return ObservationEncoder(contract, width=16, **options)


@pytest.fixture
def normalizer_of(statistics_of):
    def make(contract):
        normalizer = Normalizer(contract)
        normalizer.fit(statistics_of(contract))
        return normalizer

    return make


@pytest.fixture
def inputs(everything, batch_of, normalizer_of):
    batch = batch_of(everything, 3)
    batch["task"] = torch.eye(3)[:, None].expand(3, 2, 3)
    return batch, normalizer_of(everything)


def test_one_token_per_step_and_camera_and_step(contract, camera_contract, batch_of, normalizer_of):
    for described, count in ((contract, 2), (camera_contract, 4)):
        encoder = encoder_of(described)
        tokens = encoder(batch_of(described, 3), normalizer_of(described))
        assert tokens.shape == (3, count, 16)
        assert torch.isfinite(tokens).all()
        assert encoder.goal_slice == slice(count, count)


@pytest.mark.parametrize(("kind", "per_picture"), [("keypoints", 1), ("summary", 1), ("grid", 2 * 2)])
def test_each_feature_changes_its_own_tokens_alone(everything, inputs, kind, per_picture):
    batch, normalizer = inputs
    encoder = encoder_of(everything, image_tokens=kind).eval()
    P = per_picture
    owners = {
        "observation.state": range(2),
        "observation.environment_state": range(2),
        "observation.images.front": range(2, 2 + 2 * P),
        CLOUD.name: range(2 + 2 * P, 4 + 2 * P),
        "goal.observation.environment_state": [4 + 2 * P],
        "goal.observation.images.front": range(5 + 2 * P, 5 + 3 * P),
        f"goal.{CLOUD.name}": [5 + 3 * P],
        "task": [6 + 3 * P],
    }
    tokens = encoder(batch, normalizer)
    assert tokens.shape == (3, 7 + 3 * P, 16)
    assert encoder.goal_slice == slice(4 + 2 * P, 6 + 3 * P)
    for name, owned in owners.items():
        value = batch[name]
        changed = 255 - value if value.dtype == torch.uint8 else value + 0.3
        different = (encoder({**batch, name: changed}, normalizer) != tokens).any(-1).any(0)
        assert different.nonzero().flatten().tolist() == list(owned), name


def test_positions_come_with_the_tokens_or_apart(everything, inputs):
    batch, normalizer = inputs
    together, apart = (encoder_of(everything, image_tokens="grid", carry_positions=c).eval() for c in (True, False))
    assert together.positions() is None
    torch.testing.assert_close(apart(batch, normalizer) + apart.positions(), together(batch, normalizer))


def test_a_goal_is_normalised_as_its_observation(everything, inputs):
    batch, normalizer = inputs
    value = batch["observation.environment_state"]
    assert torch.equal(
        normalizer.normalize("goal.observation.environment_state", value),
        normalizer.normalize("observation.environment_state", value),
    )


def test_points_have_no_order(everything, inputs):
    batch, normalizer = inputs
    encoder = encoder_of(everything)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    shuffled = {**batch, CLOUD.name: batch[CLOUD.name][:, :, order]}
    torch.testing.assert_close(encoder(shuffled, normalizer), encoder(batch, normalizer))


def test_augmentation_is_drawn_from_the_loss_generator_in_training_only(camera_contract, batch_of, statistics_of):
    encoder = {**POLICY["encoder"], "augmentation": {"crop": 0.9, "brightness": 0.3}}
    policy = build_policy({**POLICY, "encoder": encoder}, camera_contract)
    policy.normalizer.fit(statistics_of(camera_contract))
    batch = batch_of(camera_contract, 3)
    tokens = policy.encoder.train()(batch, policy.normalizer, torch.Generator().manual_seed(1))
    again, other = (policy.encoder(batch, policy.normalizer, torch.Generator().manual_seed(s)) for s in (1, 2))
    assert torch.equal(tokens, again)
    assert not torch.equal(tokens, other)
    seen = []
    policy.encoder.augmentation.register_forward_hook(lambda module, given, out: seen.append(out))
    policy.train().loss(batch, torch.Generator().manual_seed(1))
    policy.eval().loss(batch, torch.Generator().manual_seed(1))
    policy.sample(batch, policy.noise(3, torch.Generator().manual_seed(1)))
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(seen[1], seen[2])


def test_the_config_chooses_observations_goals_and_task(camera_contract):
    chosen = policy_contract(
        {"observations": ["observation.state"], "goals": ["observation.images.front"], "condition_on_task": True},
        camera_contract,
        TASKS,
    )
    assert [f.name for f in chosen.observations] == ["observation.state", "goal.observation.images.front", "task"]
    assert chosen.feature("task").names == TASKS
    assert policy_contract({}, camera_contract) == camera_contract
    with pytest.raises(ContractError, match="no observation 'observation.states'. Did you mean 'observation.state'"):
        policy_contract({"observations": ["observation.states"]}, camera_contract)
    with pytest.raises(ConfigError, match="which tasks there are"):
        policy_contract({"condition_on_task": True}, camera_contract)


def test_goals_and_task_survive_in_a_bundle(contract, batch_of, statistics_of, tmp_path):
    config = {**POLICY, "goals": ["observation.environment_state"], "condition_on_task": True, "chunk": {"horizon": 4}}
    policy = build_policy(config, contract, TASKS)
    policy.normalizer.fit(statistics_of(contract))
    save_bundle(tmp_path / "bundle", policy.eval(), {"policy": config})
    loaded = load_bundle(tmp_path / "bundle").policy
    assert loaded.contract == policy.contract
    window = batch_of(policy.contract, 2)
    noise = policy.noise(2, torch.Generator().manual_seed(0))
    assert torch.equal(policy.sample(window, noise), loaded.sample(window, noise))


def test_task_embeddings_are_read_once_and_live_in_the_weights(contract, batch_of, statistics_of, tmp_path):
    path = tmp_path / "texts.safetensors"
    table = {name: torch.rand(5) for name in (*TASKS, "Another.")}
    save_file(table, path)
    task = {"embeddings": str(path), "size": 5}
    config = {**POLICY, "encoder": {**POLICY["encoder"], "task": task}, "condition_on_task": True}
    policy = build_policy(config, contract, TASKS)
    load_pretrained(policy)
    policy.normalizer.fit(statistics_of(contract))
    assert torch.equal(policy.encoder.task.table_KE, torch.stack([table[name] for name in TASKS]))
    save_bundle(tmp_path / "bundle", policy.eval(), {"policy": config})
    path.unlink()
    loaded = load_bundle(tmp_path / "bundle").policy
    assert torch.equal(loaded.encoder.task.table_KE, policy.encoder.task.table_KE)


@pytest.mark.parametrize(
    ("table", "size", "sentence"),
    [
        ({"Lift the cub.": torch.rand(5)}, 5, "none for the task 'Lift the cube.'. Did you mean 'Lift the cub.'"),
        ({name: torch.rand(4) for name in TASKS}, 5, r"has shape \(4,\); the config says size 5"),
    ],
)
def test_task_embeddings_that_do_not_fit_are_refused(contract, tmp_path, table, size, sentence):
    save_file(table, tmp_path / "texts.safetensors")
    task = {"embeddings": str(tmp_path / "texts.safetensors"), "size": size}
    encoder = ObservationEncoder(contract.with_tasks(TASKS), width=16, task=task)
    with pytest.raises(ConfigError, match=sentence):
        load_pretrained(encoder)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_policy_takes_pictures_clouds_goals_and_a_task(path, everything, batch_of, statistics_of):
    config = yaml.safe_load(path.read_text())
    config["encoder"] = {**config["encoder"], "width": 16, "augmentation": {"crop": 0.9}}
    offered = everything.with_observations(
        [f.name for f in everything.observations if not f.is_goal and f.name != "task"]
    )
    goals = ["observation.images.front", "observation.environment_state"]
    policy = build_policy({**config, "goals": goals, "condition_on_task": True}, offered, TASKS)
    statistics = statistics_of(policy.contract)
    if policy.actions.row_shape:
        rows = (policy.contract.chunk.horizon, policy.actions.size)
        statistics["action"] = {k: np.broadcast_to(v, rows).copy() for k, v in statistics["action"].items()}
    policy.normalizer.fit(statistics)
    batch = batch_of(policy.contract, 2, needs=policy.needs())
    first, again = (policy.train().loss(batch, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, again)
    first.mean().backward()
    window = {feature.name: batch[feature.name] for feature in policy.contract.observations}
    chunk = policy.eval().sample(window, policy.noise(2, torch.Generator().manual_seed(1)))
    assert chunk.shape == (2, policy.contract.chunk.horizon, 3)
    assert torch.isfinite(chunk).all()
