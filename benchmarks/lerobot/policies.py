"""Makes checkpoints of LeRobot's own policies and keeps what they answer, for praxon import lerobot to be held against.

Request: out (folder), cases: name -> {kind ("diffusion" or "act"), cameras (count), settings (of the policy's config)}.
For each case out/<name>/ gets the checkpoint with its processors, and answers.safetensors: observations in physical units,
the noise of each step and the actions, in physical units.
"""

from pathlib import Path
from typing import Any

import torch
from answer import answer, request
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.factory import get_policy_class, make_policy_config, make_pre_post_processors
from safetensors.torch import save_file

STATE, ENVIRONMENT, ACTIONS, BATCH = 6, 5, 4, 3
IMAGE = (3, 96, 112)
CAMERA = "observation.images.camera"


def main() -> None:
    """Make every case."""
    asked = request()
    sizes = {}
    for number, (name, case) in enumerate(asked["cases"].items()):
        torch.manual_seed(number)
        sizes[name] = make(Path(asked["out"]) / name, case)
    answer({"parameters": sizes})


def make(folder: Path, case: dict[str, Any]) -> int:
    """One checkpoint and its answers; how many parameters it has."""
    cameras = [f"{CAMERA}{number}" for number in range(case["cameras"])]
    inputs = {"observation.state": PolicyFeature(FeatureType.STATE, (STATE,))}
    if case.get("environment", not cameras):
        inputs["observation.environment_state"] = PolicyFeature(FeatureType.ENV, (ENVIRONMENT,))
    inputs |= {name: PolicyFeature(FeatureType.VISUAL, IMAGE) for name in cameras}
    outputs = {"action": PolicyFeature(FeatureType.ACTION, (ACTIONS,))}
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in case["settings"].items()}
    config = make_policy_config(
        case["kind"],
        input_features=inputs,
        output_features=outputs,
        device="cpu",
        pretrained_backbone_weights=None,
        push_to_hub=False,
        **settings,
    )
    policy = get_policy_class(case["kind"])(config).eval()
    with torch.no_grad():
        for name, tensor in [*policy.named_parameters(), *policy.named_buffers()]:
            if "running_var" in name:
                tensor.uniform_(0.5, 2.0)
            elif "running_mean" in name or ".bias" in name:
                tensor.normal_(0, 0.1)
    statistics = {name: statistics_of(feature.shape) for name, feature in {**inputs, **outputs}.items()}
    before, after = make_pre_post_processors(config, dataset_stats=statistics)
    policy.save_pretrained(folder)
    before.save_pretrained(folder)
    after.save_pretrained(folder)

    steps = config.n_obs_steps
    kept: dict[str, torch.Tensor] = {}
    batch = {}
    for name, feature in inputs.items():
        if feature.type is FeatureType.VISUAL:
            pictures = torch.randint(0, 256, (BATCH, steps, *feature.shape), dtype=torch.uint8)
            kept[name], value = pictures.permute(0, 1, 3, 4, 2).contiguous(), pictures.float() / 255
        else:
            kept[name] = value = torch.randn(BATCH, steps, *feature.shape)
        batch[name] = value if case["kind"] == "diffusion" else value[:, -1]
    if case["kind"] == "diffusion":
        shape = (BATCH, config.horizon, ACTIONS)
        draws = config.num_inference_steps or config.num_train_timesteps
        torch.manual_seed(1)
        kept["noise"] = torch.stack([torch.randn(shape) for _ in range(draws)], dim=1)
        start = kept["noise"][:, 0]
        torch.manual_seed(1)
        torch.randn(shape)  # so that the steps of an ancestral sampler go on with the second draw
        with torch.no_grad():
            ready = before(batch)
            ready["observation.images"] = torch.stack([ready[name] for name in cameras], dim=2) if cameras else None
            conditions = policy.diffusion._prepare_global_conditioning(ready)
            chunk = policy.diffusion.conditional_sample(BATCH, global_cond=conditions, noise=start)
    else:
        chunk = policy.predict_action_chunk(before(batch))
    kept["actions"] = after(chunk)
    save_file({name: tensor.contiguous() for name, tensor in kept.items()}, folder / "answers.safetensors")
    return sum(parameter.numel() for parameter in policy.parameters())


def statistics_of(shape: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """Plausible statistics; of pictures one number for each channel."""
    size = (shape[0], 1, 1) if len(shape) == 3 else shape
    low, high = torch.rand(size) * -2, 0.1 + torch.rand(size) * 2
    mean = torch.rand(size)
    return {"min": low, "max": high, "mean": mean, "std": 0.1 + torch.rand(size), "q01": low * 0.9, "q99": high * 0.9}


if __name__ == "__main__":
    main()
