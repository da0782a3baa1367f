"""push_t: push a T-shaped block onto a T-shaped marker."""

from pathlib import Path

import numpy as np

from praxon.contract import Observation
from praxon.robots.spec import RobotSpec
from praxon.sim.expert import ScriptedExpert, ToolTarget, yaw_of
from praxon.sim.overlap import overlap
from praxon.sim.planar_pushing import PlanarPushing
from praxon.sim.push_planner import Push, PushPlanner
from praxon.sim.scene import Scene
from praxon.sim.task import Task

UNIT_M = 0.04
CENTROID = 6 / 7
BAR = (np.array([-2, CENTROID - 0.5]) * UNIT_M, np.array([2, CENTROID + 0.5]) * UNIT_M)
STEM = (np.array([-0.5, CENTROID - 3.5]) * UNIT_M, np.array([0.5, CENTROID - 0.5]) * UNIT_M)
OUTLINE = np.array(
    [
        BAR[1],
        [BAR[0][0], BAR[1][1]],
        BAR[0],
        [STEM[0][0], STEM[1][1]],
        STEM[0],
        [STEM[1][0], STEM[0][1]],
        STEM[1],
        [BAR[1][0], BAR[0][1]],
    ]
)
AREA_M2 = 7 * UNIT_M**2
HEIGHT_M = 0.03
GOAL = np.array([0.5, 0.0, -np.pi / 4])
AREA = ((0.45, -0.18), (0.60, 0.18))
SOLVED = 0.95


def coverage(pose: np.ndarray, goal: np.ndarray = GOAL) -> float:
    c, s = np.cos(pose[2] - goal[2]), np.sin(pose[2] - goal[2])
    cg, sg = np.cos(goal[2]), np.sin(goal[2])
    d = pose[:2] - goal[:2]
    d = np.array([cg * d[0] + sg * d[1], cg * d[1] - sg * d[0]])
    polygon = OUTLINE @ np.array([[c, s], [-s, c]]) + d
    return float(overlap(polygon, *BAR) + overlap(polygon, *STEM)) / AREA_M2


class PushT(Task):
    name = "push_t"
    instruction = "Push the T-shaped block onto the green marker."
    world = Path(__file__).with_suffix(".xml")
    objects = ("tee",)
    time_limit_s = 60.0

    def start(self, rng: np.random.Generator) -> np.ndarray:
        positions = super().start(rng)
        positions[self.robot.index(self.robot.gripper)] = 0.0
        return positions

    def place(self, scene: Scene, rng: np.random.Generator) -> None:
        while True:
            pose = np.array([*rng.uniform(*AREA), rng.uniform(-np.pi, np.pi)])
            if coverage(pose) < 0.5:
                break
        scene.place("tee", np.array([*pose[:2], HEIGHT_M / 2]), _about_z(pose[2]))
        scene.place("goal", np.array([*GOAL[:2], 0.0]), _about_z(GOAL[2]))

    def success(self, scene: Scene) -> bool:
        return self._coverage(scene) >= SOLVED

    def reward(self, scene: Scene) -> float:
        return min(self._coverage(scene) / SOLVED, 1.0)

    def metrics(self, scene: Scene) -> dict[str, float]:
        return {"coverage": self._coverage(scene)}

    def expert(self, scene: Scene, period_s: float) -> "PushTExpert":
        return PushTExpert(self.robot, period_s)

    def _coverage(self, scene: Scene) -> float:
        tee = scene.data.body("tee")
        if tee.xmat[8] < 0.99 or abs(tee.xpos[2] - HEIGHT_M / 2) > 0.005:
            return 0.0
        goal = scene.data.body("goal")
        return coverage(_planar(scene.pose(tee.id)), _planar(scene.pose(goal.id)))


class PushTExpert(ScriptedExpert):
    LOW_M, HIGH_M = 0.026, 0.052
    PUSHER = (0.0105, 0.014)

    def __init__(self, robot: RobotSpec, period_s: float) -> None:
        super().__init__(robot, period_s)
        boxes = np.array(
            [
                [*(BAR[0] + BAR[1]) / 2, *(BAR[1] - BAR[0]) / 2],
                [0, (STEM[0][1] + BAR[1][1]) / 2, UNIT_M / 2, 2 * UNIT_M],
            ]
        )
        corners = OUTLINE[[0, 1, 2, 4, 5, 7]]
        model = PlanarPushing(boxes, corners, self.PUSHER, 0.0, 0.079, 1.5)
        self.planner = PushPlanner(model, OUTLINE, 0.062, GOAL, np.array([0.29, -0.4]), np.array([0.75, 0.4]))
        self.push: Push | None = None
        self.pushing = False
        self.log = []

    def reset(self, seed: int) -> None:
        self.push, self.pushing = None, False
        self.rng=np.random.default_rng(seed)

    def target(self, observation: Observation, tool: np.ndarray, yaw: float) -> ToolTarget:
        pose = _planar(observation.features["observation.tee_pose"].astype(float))
        if self.push is not None and self.pushing:
            self.push = self.planner.follow(pose, tool[:2], self.push)
        elif self.push is not None and self.planner.distance(pose, self.push.pose) > 0.003:
            self.push = None
            self.log[-1] += (-1,)
        if self.push is None:
            if coverage(pose) >= SOLVED:
                return ToolTarget(tool, 0.0, 0.0)
            self.push, self.pushing = self.planner.plan(pose, tool[:2], self.rng), False
            self.log.append((observation.stamp_ns / 1e9, float(self.planner.distance(pose,GOAL)), self.push.length, self.push.gain))
        push = self.push
        away = float(np.linalg.norm(tool[:2] - push.start))
        if not self.pushing and away < 0.005 and tool[2] < self.LOW_M + 0.004:
            self.pushing = True
        if self.pushing:
            return ToolTarget(
                np.array([*(tool[:2] + push.direction * push.length), self.LOW_M]),
                0.0,
                0.0,
                speed=self.planner.push_speed,
            )
        return self._approach(tool, push, away)

    WORTH = 1.0

    def _approach(self, tool: np.ndarray, push: Push, away: float) -> ToolTarget:
        # A funnel: as high as needed to cross the block, lower only over the start.
        height = self.LOW_M + float(np.clip(3 * (away - 0.006), 0, self.HIGH_M - self.LOW_M))
        if tool[2] < height - 0.012:
            return ToolTarget(np.array([*tool[:2], height]), 0.0, 0.0, speed=0.35)
        return ToolTarget(np.array([*push.start, height]), 0.0, 0.0, speed=0.4)


def _planar(pose: np.ndarray) -> np.ndarray:
    return np.array([pose[0], pose[1], yaw_of(pose)])


def _about_z(yaw: float) -> np.ndarray:
    return np.array([np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)])
