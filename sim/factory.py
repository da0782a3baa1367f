"""From names to a simulation: the robot, the task and the scene that their configs describe, without any config system."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from praxon.contract import PolicyContract, observed_name
from praxon.errors import ConfigError
from praxon.robots.spec import RobotSpec
from praxon.sim.contract import offered_contract
from praxon.sim.episode import Simulation
from praxon.sim.gym_simulation import GymSimulation
from praxon.sim.gym_task import GymTask, config_of, identity
from praxon.sim.scene import Scene
from praxon.sim.task import Task
from praxon.sim.world import World
from praxon.targets import load_option, load_target


def is_environment(config: Mapping[str, Any]) -> bool:
    """Whether a task's config describes a gymnasium environment rather than a task for our robots."""
    kind = load_target(config["_target_"])
    return isinstance(kind, type) and issubclass(kind, GymTask)


def task_name(config: Mapping[str, Any]) -> str:
    """What contracts call the task of a config; ``task_config`` is the inverse."""
    return identity(config) if is_environment(config) else str(load_target(config["_target_"]).name)


def task_config(name: str) -> dict[str, Any]:
    """The config of the task that a contract names: ``lift``, ``metaworld/hammer-v3``."""
    return config_of(name) if "/" in name else load_option("task", name)


def make_robot(config: Mapping[str, Any] | str) -> RobotSpec:
    """The RobotSpec of a config, or of the config of that name."""
    config = load_option("robot", config) if isinstance(config, str) else config
    robot = load_target(config["_target_"])
    if not isinstance(robot, RobotSpec):
        raise ConfigError(f"'{config['_target_']}' is a {type(robot).__name__}; a robot's config names a RobotSpec.")
    return robot


def make_task(config: Mapping[str, Any] | str, robot: RobotSpec) -> Task:
    """The task of a config, or of the config of that name, for this robot."""
    config = task_config(config) if isinstance(config, str) else config
    arguments = {key: value for key, value in config.items() if key != "_target_"}
    kind = load_target(config["_target_"])
    if is_environment(config):
        raise ConfigError(
            f"The task '{config['name']}' is a gymnasium environment and has no robot of ours; collect, train and eval take it."
        )
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
    action: str | None = None,
    tool_pose: bool = False,
    point_clouds: Sequence[str] = (),
    num_points: int = 512,
) -> Simulation:
    """A task on a robot, compiled and ready.

    Args:
        task, robot: configs or names of configs; a robot's config may choose its model ('own' or 'menagerie').
        control_period_s: time between commands [s].
        cameras, image_size: pictures to observe, (height, width).
        policy_contract: of a policy that shall act here; its period, cameras, point clouds, kind of action and whether it
            sees the tool then replace the other arguments, its goals and tasks are offered as far as the task knows them,
            and ``ContractError`` says what does not fit.
        action: what is commanded, ``joint_position`` (as where None) or ``pose`` of the tool.
        tool_pose: whether the tool's pose is observed; where it is commanded, it always is.
        point_clouds, num_points: cameras that see points, and how many each.
    """
    robot_config = load_option("robot", robot) if isinstance(robot, str) else robot
    spec = make_robot(robot_config)
    kind = make_task(task, spec)
    goals: list[str] = []
    tasks: tuple[str, ...] = ()
    if policy_contract is not None:
        wanted = policy_contract.observations
        images = [feature for feature in wanted if feature.kind == "image"]
        cameras = list(dict.fromkeys(feature.source for feature in images))
        image_size = images[0].shape[:2] if images else image_size
        clouds = [feature for feature in wanted if feature.kind == "point_cloud"]
        point_clouds = list(dict.fromkeys(feature.source for feature in clouds))
        num_points = clouds[0].shape[0] if clouds else num_points
        goals = [observed_name(feature.name) for feature in wanted if feature.is_goal]
        tasks = next((feature.names for feature in wanted if feature.kind == "task"), ())
        control_period_s = policy_contract.chunk.control_period_s
        action = "pose" if policy_contract.action.kind == "pose" else None
        tool_pose = any(f.kind == "pose" and f.source == spec.tool_site for f in policy_contract.observations)
    height, width = image_size
    contract = offered_contract(
        spec,
        kind,
        control_period_s,
        cameras,
        (height, width),
        action or "joint_position",
        tool_pose,
        point_clouds,
        num_points,
        goals,
        tasks,
    )
    if policy_contract is not None:
        policy_contract.require(contract, f"task '{kind.name}' on robot '{spec.name}'")
        names = {feature.name for feature in policy_contract.observations}
        needed = [f for f in contract.observations if f.name in names or f.kind not in ("image", "point_cloud")]
        contract = replace(contract, observations=tuple(needed))  # a camera may be there for its goal alone
    scene = Scene(spec, kind.world, str(robot_config.get("model", "own")))
    return Simulation(kind, scene, contract)


def make_world(
    task: Mapping[str, Any] | str,
    robot: Mapping[str, Any] | str = "panda",
    control_period_s: float | None = None,
    cameras: Sequence[str] = (),
    image_size: Sequence[int] = (84, 84),
    policy_contract: PolicyContract | None = None,
    **more: Any,
) -> World:
    """Where episodes of a task run: ``make_simulation``, or the gymnasium environment that the config describes.

    Args:
        task: config, or what a contract calls it.
        robot: of our tasks; environments have their own body.
        control_period_s: time between commands [s]; None: 0.05, or the environment's own, which nothing can change.
        cameras, image_size, policy_contract: as in ``make_simulation``.
        **more: further settings of ``make_simulation``.
    """
    config = task_config(task) if isinstance(task, str) else task
    if not is_environment(config):
        period_s = 0.05 if control_period_s is None else control_period_s
        return make_simulation(config, robot, period_s, cameras, image_size, policy_contract, **more)
    given = [name for name, value in more.items() if value]
    if given:
        raise ConfigError(f"A gymnasium environment has no {', '.join(given)}; those are of our own tasks.")
    kind = _environment(config)
    world = GymSimulation(kind, identity(config), cameras, image_size, policy_contract)
    own_s = world.contract.chunk.control_period_s
    if policy_contract is not None:
        policy_contract.require(world.contract, f"task '{world.contract.task}'")
    elif control_period_s is not None and abs(control_period_s - own_s) > 1e-9:
        raise ConfigError(
            f"control_hz is {1 / control_period_s:g}; '{world.contract.task}' steps {1 / own_s:g} times per second, "
            "and null takes that."
        )
    return world


def _environment(config: Mapping[str, Any]) -> GymTask:
    """The GymTask of a config."""
    kind = load_target(config["_target_"])
    try:
        task: GymTask = kind(**{key: value for key, value in config.items() if key != "_target_"})
    except TypeError as error:
        raise ConfigError(f"The task '{config['_target_']}' cannot be built: {error}.") from error
    return task
