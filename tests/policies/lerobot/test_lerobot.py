"""LeRobot's checkpoints: the small ones here were made, and their observations answered, by LeRobot 0.6.1's own classes
(benchmarks/lerobot_policies.py --fixtures)."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from praxon.cli import run
from praxon.datasets.lerobot_writer import LeRobotWriter
from praxon.errors import BundleError, ContractError
from praxon.policies.bundle import load_bundle
from praxon.policies.lerobot.checkpoint import read_checkpoint
from praxon.policies.lerobot.convert import KINDS, bare_contract, convert
from praxon.policies.lerobot.encoders import StepEncoder
from praxon.policies.lerobot.pictures import Pictures

CHECKPOINTS = Path(__file__).parent / "checkpoints"


@pytest.fixture(params=sorted(KINDS))
def checkpoint(request, tmp_path):
    return Path(shutil.copytree(CHECKPOINTS / request.param, tmp_path / request.param))


def policy_of(folder):
    checkpoint = read_checkpoint(folder, KINDS)
    return convert(checkpoint, bare_contract(checkpoint, "toy", "toy", 0.05)).policy


@torch.inference_mode()
def answered(policy, folder):
    """Ours and LeRobot's actions from the newest observation on."""
    answers = safetensors.torch.load_file(folder / "answers.safetensors")
    window = {feature.name: answers[feature.name] for feature in policy.contract.observations}
    noise = answers["noise"][:, 0] if "noise" in answers else policy.noise(3, torch.Generator())
    chunk = policy.sample(window, noise)
    return chunk, answers["actions"][:, -chunk.shape[1] :]


def test_the_same_actions_as_lerobot(checkpoint):
    policy = policy_of(checkpoint)
    ours, theirs = answered(policy, checkpoint)
    assert ours.shape == (3, policy.contract.chunk.horizon, 4)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_statistics_that_lie_among_the_weights_as_before_0_4(checkpoint):
    tensors = safetensors.torch.load_file(checkpoint / "model.safetensors")
    for pipeline in ("policy_preprocessor.json", "policy_postprocessor.json"):
        for step in json.loads((checkpoint / pipeline).read_text())["steps"]:
            if "state_file" in step:
                for key, value in safetensors.torch.load_file(checkpoint / step["state_file"]).items():
                    name, _, statistic = key.rpartition(".")
                    part = "unnormalize_outputs" if name == "action" else "normalize_inputs"
                    tensors[f"{part}.buffer_{name.replace('.', '_')}.{statistic}"] = value
        (checkpoint / pipeline).unlink()
    safetensors.torch.save_file(tensors, checkpoint / "model.safetensors")
    ours, theirs = answered(policy_of(checkpoint), checkpoint)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_the_verb_leaves_a_bundle_that_acts_alike(checkpoint, tmp_path):
    arguments = ["robot=toy", "task=toy", "control_hz=20", f"run_dir={tmp_path / 'run'}"]
    nested = tmp_path / "last" / "pretrained_model"
    shutil.copytree(checkpoint, nested)
    assert run(["import", "lerobot", f"path={nested.parent}", f"out={tmp_path / 'bundle'}", *arguments]) == 0
    policy = load_bundle(tmp_path / "bundle").policy
    assert policy.contract.chunk.control_period_s == pytest.approx(0.05)
    torch.testing.assert_close(*answered(policy, checkpoint), atol=1e-5, rtol=0)


def test_a_dataset_says_what_the_features_are(checkpoint, tmp_path, capsys):
    bare = bare_contract(read_checkpoint(checkpoint, KINDS), "arm", "carry", 0.04)
    joints = ("a", "b", "c", "d")
    action = replace(bare.action, kind="joint_position", names=joints, unit="rad")
    named = replace(bare, action=action, observations=bare.observations[::-1])
    with LeRobotWriter(tmp_path / "dataset", named, "carry", "arm") as writer:
        writer.add_episode({feature.name: np.zeros((5, *feature.shape), np.float32) for feature in named})
    arguments = ["import", "lerobot", f"path={checkpoint}", f"dataset={tmp_path / 'dataset'}"]
    assert run([*arguments, f"out={tmp_path / 'bundle'}", f"run_dir={tmp_path / 'run'}"]) == 0
    policy = load_bundle(tmp_path / "bundle").policy
    assert policy.contract.action.names == joints
    assert (policy.contract.robot, policy.contract.task) == ("arm", "carry")
    assert policy.contract.chunk.control_period_s == pytest.approx(0.04)
    torch.testing.assert_close(*answered(policy, checkpoint), atol=1e-5, rtol=0)
    assert run([*arguments, "robot=other"]) == 1
    assert "The dataset says its robot; leave that out" in capsys.readouterr().err


def test_what_is_missing_or_does_not_fit_is_named(checkpoint, tmp_path, capsys):
    assert run(["import", "lerobot", str(checkpoint), f"out={tmp_path / 'bundle'}"]) == 1
    assert "does not say its robot, task, control_hz" in capsys.readouterr().err
    for rate in ("fast", "0"):
        assert run(["import", "lerobot", f"path={checkpoint}", "robot=toy", "task=toy", f"control_hz={rate}"]) == 1
        assert f"control_hz is {rate}; at least 0.001 is needed" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()
    read = read_checkpoint(checkpoint, KINDS)
    contract = bare_contract(read, "toy", "toy", 0.05)
    wider = replace(contract, action=replace(contract.action, shape=(5,)))
    with pytest.raises(ContractError, match=r"'action' has shape \(5,\).*trained on \(4,\)"):
        convert(read, wider)
    with pytest.raises(ContractError, match=r"'observation.state' is not in the contract"):
        convert(read, replace(contract, observations=contract.observations[1:]))


def test_a_checkpoint_of_another_policy_or_without_a_file_is_refused(checkpoint):
    settings = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(settings | {"type": "smolvla"}))
    with pytest.raises(BundleError, match="type 'smolvla'; diffusion, act can be imported"):
        read_checkpoint(checkpoint, KINDS)
    (checkpoint / "config.json").write_text(json.dumps(settings))
    (checkpoint / "model.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(BundleError, match="cannot be read"):
        read_checkpoint(checkpoint, KINDS)
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(BundleError, match=r"has no model.safetensors"):
        read_checkpoint(checkpoint, KINDS)


def test_without_its_statistics_a_checkpoint_is_refused_and_not_served_unscaled(checkpoint):
    for file in checkpoint.glob("policy_*"):
        file.unlink()
    with pytest.raises(BundleError, match=r"holds no statistics to normalise with.*policy_preprocessor.json"):
        read_checkpoint(checkpoint, KINDS)


def test_a_processor_that_is_not_understood_is_refused_unless_it_is_off(checkpoint):
    path = checkpoint / "policy_preprocessor.json"
    pipeline = json.loads(path.read_text())
    step = {"registry_name": "relative_actions_processor", "config": {"enabled": True}}
    path.write_text(json.dumps(pipeline | {"steps": [*pipeline["steps"], step]}))
    with pytest.raises(BundleError, match=r"has a step 'relative_actions_processor'; rename_observations, "):
        read_checkpoint(checkpoint, KINDS)
    step["config"]["enabled"] = False
    path.write_text(json.dumps(pipeline | {"steps": [*pipeline["steps"], step]}))
    torch.testing.assert_close(*answered(policy_of(checkpoint), checkpoint), atol=1e-5, rtol=0)


def test_settings_and_weights_that_are_missing_or_no_numbers_are_named(checkpoint):
    name = "chunk_size" if checkpoint.name == "act" else "horizon"
    settings = json.loads((checkpoint / "config.json").read_text())
    for changed, message in (
        ({key: value for key, value in settings.items() if key != name}, f"has no setting '{name}'"),
        (settings | {name: "many"}, "a setting of the wrong kind|chunk's horizon is 'many'"),
    ):
        (checkpoint / "config.json").write_text(json.dumps(changed))
        with pytest.raises((BundleError, ContractError), match=message):
            policy_of(checkpoint)
    (checkpoint / "config.json").write_text(json.dumps(settings))
    tensors = safetensors.torch.load_file(checkpoint / "model.safetensors")
    name = next(name for name in tensors if name.endswith(("1d_feature_pos_embed.weight", "step_encoder.3.weight")))
    del tensors[name]
    safetensors.torch.save_file(tensors, checkpoint / "model.safetensors")
    with pytest.raises(BundleError, match=f"hold no '.*{name.removeprefix('diffusion.unet.')}', which its policy has"):
        policy_of(checkpoint)


def test_tool_poses_are_refused(checkpoint):
    read = read_checkpoint(checkpoint, KINDS)
    contract = bare_contract(read, "toy", "toy", 0.05)
    with pytest.raises(ContractError, match="'action' is a tool pose in the contract"):
        convert(read, replace(contract, action=replace(contract.action, kind="pose")))


def test_weights_that_do_not_fit_the_settings_are_named(checkpoint):
    tensors = safetensors.torch.load_file(checkpoint / "model.safetensors")
    name = next(name for name in tensors if name.endswith(("linear1.weight", "final_conv.1.weight")))
    tensors[name] = (
        tensors[name][..., :-1].contiguous() if tensors[name].shape[-1] > 1 else tensors[name][:, :-1].contiguous()
    )
    safetensors.torch.save_file(tensors, checkpoint / "model.safetensors")
    with pytest.raises(BundleError, match="do not fit its config.json"):
        policy_of(checkpoint)


def test_a_state_file_cannot_lead_out_of_the_folder(checkpoint, tmp_path):
    path = checkpoint / "policy_preprocessor.json"
    pipeline = json.loads(path.read_text())
    step = next(step for step in pipeline["steps"] if "state_file" in step)
    shutil.move(checkpoint / step["state_file"], tmp_path / "outside.safetensors")
    step["state_file"] = "../outside.safetensors"
    path.write_text(json.dumps(pipeline))
    with pytest.raises(BundleError, match=r"has no outside.safetensors"):
        read_checkpoint(checkpoint, KINDS)


def test_an_imported_policy_can_be_trained_further(checkpoint):
    policy = policy_of(checkpoint).train()
    chunk, lead = policy.contract.chunk, policy.needs().lead
    generator = torch.Generator().manual_seed(0)
    batch = {
        feature.name: torch.randn(4, chunk.num_obs_steps, *feature.shape, generator=generator)
        for feature in policy.contract.observations
    }
    batch["action"] = torch.randn(4, lead + chunk.horizon, 4, generator=generator)
    batch["action_is_pad"] = torch.zeros(4, lead + chunk.horizon, dtype=torch.bool)
    policy.loss(batch, generator).mean().backward()
    assert all(parameter.grad is not None for parameter in policy.network.parameters() if parameter.requires_grad)


def test_pictures_are_normalised_per_camera_and_cropped_to_the_centre(camera_contract):
    pictures = Pictures(camera_contract, crop=(20, 21))
    pictures.mean_NC.copy_(torch.tensor([[0.5, 0.25, 0.0]]))
    pictures.std_NC.copy_(torch.tensor([[0.5, 1.0, 2.0]]))
    image = torch.randint(0, 256, (2, 1, 24, 32, 3), dtype=torch.uint8)
    # torchvision's centre crop rounds half to even: 11 / 2 = 5.5 -> 6
    expected = image[:, 0, 2:22, 6:27].permute(0, 3, 1, 2).float() / 255
    expected = (expected - torch.tensor([0.5, 0.25, 0.0])[:, None, None]) / torch.tensor([0.5, 1.0, 2.0])[:, None, None]
    torch.testing.assert_close(pictures(image, 0), expected)


def test_one_network_for_all_cameras_or_one_for_each(camera_contract):
    second = replace(camera_contract.observations[-1], name="observation.images.wrist")
    contract = replace(camera_contract, observations=(*camera_contract.observations, second))
    shared, separate = (StepEncoder(contract, shared=each) for each in (True, False))
    assert len(shared.images) == 1
    assert len(separate.images) == 2
    assert shared.width == separate.width == 3 + 7 + 2 * 64
