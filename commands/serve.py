"""Serve a policy on the robot's ROS 2 interfaces: simulated robot and policy as lifecycle nodes in their own processes.

Runs until Ctrl-C, or with episodes=N runs N unseen episodes through the graph and writes result.json.
Example: praxon serve bundle=runs/demo/bundle robot=panda
"""

from typing import Any

from praxon.commands._hydra import Config


def run(config: Config) -> dict[str, Any]:
    raise NotImplementedError
