"""The contract that a task on a robot offers: what a policy trained there may see and command."""

from collections.abc import Sequence
from dataclasses import replace

from praxon.contract import Chunk, Feature, PolicyContract
from praxon.robots.spec import RobotSpec
from praxon.sim.task import Task


def offered_contract(
    robot: RobotSpec,
    task: Task,
    control_period_s: float,
    cameras: Sequence[str] = (),
    image_size: tuple[int, int] = (84, 84),
) -> PolicyContract:
    """Joint positions, object poses and, if asked for, camera pictures in; absolute joint positions out.

    Args:
        cameras: names of cameras to observe.
        image_size: (height, width) of their pictures.
    """
    state = Feature("observation.state", "joint_position", (len(robot.joints),), robot.joint_names, unit=robot.unit)
    images = tuple(
        Feature(name=f"observation.images.{name}", kind="image", shape=(*image_size, 3), dtype="uint8", source=name)
        for name in cameras
    )
    return PolicyContract(
        robot=robot.name,
        task=task.name,
        observations=(state, *task.features(), *images),
        action=replace(state, name="action"),
        chunk=Chunk(control_period_s=control_period_s),
    )
