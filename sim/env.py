"""The tasks as gymnasium environments: the same simulation, safety filter included, driven one action at a time."""

from typing import Any

import gymnasium
import numpy as np

from praxon.contract import Feature
from praxon.errors import ConfigError
from praxon.sim.episode import Simulation
from praxon.sim.factory import make_simulation
from praxon.sim.rendering import Camera


class PraxonEnv(gymnasium.Env):
    """One task on one robot.

    Observations are a dictionary of the contract's features; actions are absolute joint targets in the RobotSpec's
    order [rad or m]. Success terminates, the task's time limit truncates. ``info`` holds ``success``, the task's
    metrics and ``safety``, the causes for which the filter changed the action.

    Args:
        task: name of the task's config.
        robot: name of the robot's config.
        cameras: names of cameras to observe.
        image_size: (height, width) of their pictures.
        control_period_s: time between actions [s].
        render_mode: 'rgb_array' or None.
        render_size: (height, width) of rendered pictures.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012  (gymnasium's interface)

    def __init__(
        self,
        task: str,
        robot: str = "panda",
        cameras: tuple[str, ...] = (),
        image_size: tuple[int, int] = (84, 84),
        control_period_s: float = 0.05,
        render_mode: str | None = None,
        render_size: tuple[int, int] = (480, 640),
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(f"Render mode '{render_mode}' is not offered. Modes: rgb_array or None.")
        self.render_mode = render_mode
        self.simulation: Simulation = make_simulation(task, robot, control_period_s, cameras, image_size)
        contract = self.simulation.contract
        spec = self.simulation.scene.robot
        self.observation_space = gymnasium.spaces.Dict({f.name: _space(f) for f in contract.observations})
        self.action_space = gymnasium.spaces.Box(
            spec.limit("lower").astype(np.float32), spec.limit("upper").astype(np.float32), dtype=np.float32
        )
        self.metadata = {**self.metadata, "render_fps": round(1 / contract.chunk.control_period_s)}
        self._period_ns = round(contract.chunk.control_period_s * 1e9)
        self._limit = round(self.simulation.task.time_limit_s / contract.chunk.control_period_s)
        self._camera = Camera(self.simulation.scene, self.simulation.task.cameras[0], *render_size)
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Begin the episode of ``seed``, or of the next seed of this environment's own generator."""
        super().reset(seed=seed)
        simulation = self.simulation
        start = simulation.reset(seed if seed is not None else int(self.np_random.integers(2**31)))
        simulation.safety.reset(start)
        self._steps = 0
        return dict(simulation.robot.observe().features), self._info(())

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        """Filter the action, let one control period pass, observe and judge."""
        simulation = self.simulation
        robot = simulation.robot
        now_ns = robot.now_ns()
        command = simulation.safety.filter(np.asarray(action, np.float64)[None], now_ns, now_ns)
        robot.command(command)
        robot.wait_until(now_ns + self._period_ns)
        self._steps += 1
        info = self._info(command.report.causes)
        observation = dict(robot.observe().features)
        return observation, simulation.task.reward(simulation.scene), info["success"], self._steps >= self._limit, info

    def render(self) -> np.ndarray | None:
        """A picture from the task's first camera, (height, width, 3) uint8."""
        return self._camera.render() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Free the OpenGL contexts."""
        self._camera.close()
        self.simulation.robot.close()

    def _info(self, causes: tuple[str, ...]) -> dict[str, Any]:
        task, scene = self.simulation.task, self.simulation.scene
        return {"success": task.success(scene), "safety": causes, **task.metrics(scene)}


def _space(feature: Feature) -> gymnasium.Space:
    if feature.kind == "image":
        return gymnasium.spaces.Box(0, 255, feature.shape, np.uint8)
    return gymnasium.spaces.Box(-np.inf, np.inf, feature.shape, np.float32)
