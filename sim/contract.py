"""The contract that a task on a robot offers: what a policy trained there may see and command."""

from collections.abc import Sequence
from dataclasses import replace

from praxon.contract import TASK, Chunk, Feature, PolicyContract, task_value
from praxon.errors import ConfigError, nearest
from praxon.robots.cartesian import pose_action, tool_pose_feature
from praxon.robots.spec import RobotSpec
from praxon.sim.task import Task

ACTIONS = ("joint_position", "pose")
"""Kinds of action that a simulated robot takes."""


def offered_contract(
    robot: RobotSpec,
    task: Task,
    control_period_s: float,
    cameras: Sequence[str] = (),
    image_size: tuple[int, int] = (84, 84),
    action: str = "joint_position",
    tool_pose: bool = False,
    point_clouds: Sequence[str] = (),
    num_points: int = 512,
    goals: Sequence[str] = (),
    tasks: Sequence[str] = (),
) -> PolicyContract:
    """Joint positions, object poses and, if asked for, camera pictures and point clouds in; absolute joint positions or tool
    poses out.

    Args:
        cameras: names of cameras to observe.
        image_size: (height, width) of their pictures.
        action: one of ``ACTIONS``.
        tool_pose: whether the tool's pose is observed; where it is commanded, it always is.
        point_clouds: names of cameras that see points.
        num_points: in each of their clouds.
        goals: observations of which a goal is wanted; offered for those that the task knows (``Task.goals``).
        tasks: instructions that a policy tells apart; this task's must be among them.
    """
    if action not in ACTIONS:
        raise ConfigError(
            f"There are no actions of kind '{action}' here. Kinds: {', '.join(ACTIONS)}.{nearest(action, ACTIONS)}"
        )
    state = Feature("observation.state", "joint_position", (len(robot.joints),), robot.joint_names, unit=robot.unit)
    images = tuple(
        Feature(name=f"observation.images.{name}", kind="image", shape=(*image_size, 3), dtype="uint8", source=name)
        for name in cameras
    )
    clouds = tuple(
        Feature(
            name=f"observation.point_clouds.{name}",
            kind="point_cloud",
            shape=(num_points, 3),
            unit="m",
            frame=robot.base_frame,
            source=name,
        )
        for name in point_clouds
    )
    tool = (tool_pose_feature(robot),) if tool_pose or action == "pose" else ()
    contract = PolicyContract(
        robot=robot.name,
        task=task.name,
        observations=(state, *tool, *task.features(), *images, *clouds),
        action=pose_action(robot) if action == "pose" else replace(state, name="action"),
        chunk=Chunk(control_period_s=control_period_s),
    )
    contract = contract.with_goals(
        [each.name for each in contract.observations if each.name in goals and task.knows(each)]
    )
    if tasks:
        contract = contract.with_tasks(tasks)
        task_value(contract.feature(TASK), task.instruction)
    return contract
