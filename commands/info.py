"""Print what a robot is (limits, interfaces, model, a picture) or what a bundle holds.

Example: praxon info robot=panda picture=panda.png
Example: praxon info bundle=runs/demo/bundle
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from praxon.commands._hydra import Config
from praxon.commands._run import plain
from praxon.contract import PolicyContract
from praxon.robots.spec import RobotSpec

console = Console(width=max(150, Console().width), soft_wrap=True)  # names and limits are never cut


def run(config: Config) -> dict[str, Any]:
    """Print the robot or the bundle."""
    if config.bundle is not None:
        return _show_bundle(Path(config.bundle))
    from praxon.sim.factory import make_robot

    robot = make_robot(plain(config.robot))
    model = robot.build(config.robot.model).compile()
    _show_robot(robot)
    console.print(
        f"model '{config.robot.model}': {model.nbody - 1} bodies, {model.nu} servos, {model.body_mass.sum():.2f} kg"
    )
    if config.picture is not None:
        _picture(robot, config.robot.model, Path(config.picture))
    return {"robot": robot.name, "joints": list(robot.joint_names)}


def _show_robot(robot: RobotSpec) -> None:
    table = Table(title=f"{robot.name}: {len(robot.joints)} joints")
    for column in ("joint", "home", "lower", "upper", "velocity", "acceleration", "jerk", "effort", "unit"):
        table.add_column(column, justify="left" if column in ("joint", "unit") else "right")
    for joint, home in zip(robot.joints, robot.home, strict=True):
        limits = joint.limits
        numbers = (home, limits.lower, limits.upper, limits.velocity, limits.acceleration, limits.jerk, limits.effort)
        table.add_row(joint.name, *(f"{number:g}" for number in numbers), joint.unit)
    console.print(table)
    box = robot.workspace
    console.print(f"workspace of '{robot.tool_site}' in {robot.base_frame}: {box.lower} to {box.upper} m")
    console.print(
        f"commands on {robot.ros.trajectory_topic} (JointTrajectory), states on {robot.ros.joint_states_topic}"
    )
    console.print(f"cameras: {', '.join(robot.cameras) or 'none'}")


def _show_bundle(path: Path) -> dict[str, Any]:
    from praxon.policies.bundle import load_bundle

    bundle = load_bundle(path)
    console.print(bundle.card)
    console.print(_features(bundle.contract))
    chunk = bundle.contract.chunk
    averaged = "" if chunk.ensemble is None else f" as the mean of all chunks (m = {chunk.ensemble:g})"
    console.print(
        f"chunk of {chunk.horizon} actions every {chunk.control_period_s:g} s, {chunk.num_execute} executed{averaged}, "
        f"{chunk.num_obs_steps} observations; engine: {_engine(bundle.engine)}"
    )
    console.print(f"digest {bundle.digest}")
    return {"bundle": str(path), "digest": bundle.digest}


def _engine(settings: Mapping[str, Any]) -> str:
    """Settings by name; of a cache schedule how much it runs."""
    from praxon.policies.denoising.block_cache import CacheSchedule

    shown = {key: value for key, value in settings.items() if key != "cache"}
    if settings.get("cache") is not None:
        shown["cache"] = f"{100 * CacheSchedule.from_dict(settings['cache']).share_run:.0f} % of the blocks are run"
    parts = {key: _inner(value) if isinstance(value, Mapping) else value for key, value in shown.items()}
    return ", ".join(f"{key}={'null' if value is None else value}" for key, value in parts.items())


def _inner(settings: Mapping[str, Any]) -> str:
    return "{" + ",".join(f"{key}:{value}" for key, value in settings.items() if value is not None) + "}"


def _features(contract: PolicyContract) -> Table:
    table = Table(title=f"contract: {contract.task} on {contract.robot}")
    for column in ("feature", "kind", "shape", "unit", "frame", "components"):
        table.add_column(column)
    for feature in contract:
        shape = "x".join(map(str, feature.shape))
        table.add_row(feature.name, feature.kind, shape, feature.unit, feature.frame, ", ".join(feature.names))
    return table


def _picture(robot: RobotSpec, source: str, path: Path) -> None:
    import cv2
    import mujoco

    from praxon.errors import ConfigError, RobotError
    from praxon.sim.rendering import rendering_problem

    if path.suffix.lower() != ".png":
        raise ConfigError(f"The picture '{path}' is not a .png.")
    problem = rendering_problem()
    if problem:
        raise RobotError(problem)
    spec = robot.build(source)
    sky = {"name": "sky", "type": mujoco.mjtTexture.mjTEXTURE_SKYBOX, "builtin": mujoco.mjtBuiltin.mjBUILTIN_FLAT}
    spec.add_texture(**sky, rgb1=[0.93, 0.95, 0.97], rgb2=[0.93, 0.95, 0.97], width=64, height=64)
    spec.worldbody.add_light(pos=[1, -1, 2], dir=[-0.4, 0.4, -0.8])
    spec.visual.global_.offheight, spec.visual.global_.offwidth = 600, 800
    model = spec.compile()
    data = mujoco.MjData(model)
    for name, position in zip(robot.joint_names, robot.home, strict=True):
        data.joint(name).qpos = position
    mujoco.mj_forward(model, data)
    camera = mujoco.MjvCamera()
    camera.lookat, camera.distance, camera.azimuth, camera.elevation = [0.25, 0, 0.4], 1.9, 140, -20
    with mujoco.Renderer(model, 600, 800) as renderer:
        renderer.update_scene(data, camera)
        picture = renderer.render()
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise RobotError(f"The picture '{path}' could not be written.")
    console.print(f"picture in [bold]{path}[/bold]")
