"""From names to a simulation: the robot, the task and the scene that their configs describe, without any config system."""

from collections.abc import Mapping, Sequence
from typing import Any

from praxon.contract import PolicyContract
from praxon.errors import ConfigError
from praxon.robots.spec import RobotSpec
from praxon.sim.contract import offered_contract
from praxon.sim.episode import Simulation
from praxon.sim.scene import Scene
from praxon.sim.task import Task
from praxon.targets import load_option, load_target


def make_robot(config: Mapping[str, Any] | str) -> RobotSpec:
    """The RobotSpec of a config, or of the config of that name."""
    config = load_option("robot", config) if isinstance(config, str) else config
    robot = load_target(config["_target_"])
    if not isinstance(robot, RobotSpec):
        raise ConfigError(f"'{config['_target_']}' is a {type(robot).__name__}; a robot's config names a RobotSpec.")
    return robot


def make_task(config: Mapping[str, Any] | str, robot: RobotSpec) -> Task:
    """The task of a config, or of the config of that name, for this robot."""
    config = load_option("task", config) if isinstance(config, str) else config
    arguments = {key: value for key, value in config.items() if key != "_target_"}
    kind = load_target(config["_target_"])
    if not (isinstance(kind, type) and issubclass(kind, Task)):
        raise ConfigError(f"'{config['_target_']}' is not a Task; a task's config names a subclass of Task.")
    try:
        return kind(robot, **arguments)
    except TypeError as error:
        raise ConfigError(f"The task '{config['_target_']}' cannot be built: {error}.") from error


def make_simulation(
    task: Mapping[str, Any] | str,
    robot: Mapping[str, Any] | str = "panda",
    control_period_s: float = 0.05,
    cameras: Sequence[str] = (),
    image_size: Sequence[int] = (84, 84),
    policy_contract: PolicyContract | None = None,
) -> Simulation:
    """A task on a robot, compiled and ready.

    Args:
        task, robot: configs or names of configs; a robot's config may choose its model ('own' or 'menagerie').
        control_period_s: time between commands [s].
        cameras, image_size: pictures to observe, (height, width).
        policy_contract: of a policy that shall act here; its period and cameras then replace the three arguments
            before, and ``ContractError`` says what does not fit.
    """
    robot_config = load_option("robot", robot) if isinstance(robot, str) else robot
    spec = make_robot(robot_config)
    kind = make_task(task, spec)
    if policy_contract is not None:
        images = [feature for feature in policy_contract.observations if feature.kind == "image"]
        cameras = [feature.source for feature in images]
        image_size = images[0].shape[:2] if images else image_size
        control_period_s = policy_contract.chunk.control_period_s
    height, width = image_size
    contract = offered_contract(spec, kind, control_period_s, cameras, (height, width))
    if policy_contract is not None:
        policy_contract.require(contract, f"task '{kind.name}' on robot '{spec.name}'")
    scene = Scene(spec, kind.world, str(robot_config.get("model", "own")))
    return Simulation(kind, scene, contract)
