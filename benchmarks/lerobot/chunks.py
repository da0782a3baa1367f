"""Chunks of a checkpoint of LeRobot, drawn by LeRobot's own policy, one for each line of input.

Request: folder (of a checkpoint with the answers.safetensors of policies.py), threads. A line is a row of those
observations and noises; the answer is how many seconds the chunk took, from observation to physical actions with LeRobot's
processors, and the actions.
"""

import os
import sys
import time
from pathlib import Path

import torch
from answer import answer, request
from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from safetensors.torch import load_file


def main() -> None:
    """Answer rows until the input ends."""
    asked = request()
    torch.set_num_threads(asked["threads"])
    folder = Path(asked["folder"])
    config = PreTrainedConfig.from_pretrained(folder)
    policy = get_policy_class(config.type).from_pretrained(folder, config=config).eval()
    before, after = make_pre_post_processors(config, pretrained_path=str(folder))
    kept = load_file(folder / "answers.safetensors")
    batch = {name: kept[name] for name in config.input_features}
    for name in config.image_features:  # kept as pictures lie on disk; LeRobot's cameras hand out numbers up to one
        batch[name] = (batch[name].float() / 255).permute(0, 1, 4, 2, 3).contiguous()
    answer({"ready": True, "parameters": sum(parameter.numel() for parameter in policy.parameters())})
    for line in sys.stdin:
        row = slice(int(line), int(line) + 1)
        window, noise = {name: value[row] for name, value in batch.items()}, kept["noise"][row, 0]
        began = time.perf_counter()
        with torch.inference_mode():
            actions = after(policy.predict_action_chunk(before(window), noise=noise))
        answer({"seconds": time.perf_counter() - began, "actions": actions[0].tolist()})
    os._exit(0)


if __name__ == "__main__":
    main()
