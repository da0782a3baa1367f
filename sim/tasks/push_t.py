"""push_t: push a T-shaped block onto a T-shaped marker until they cover each other.

Proportions, goal orientation, success and reward follow the task of C. Chi et al., "Diffusion Policy: Visuomotor Policy
Learning via Action Diffusion", RSS 2023, section IV (after P. Florence et al., "Implicit Behavioral Cloning", CoRL 2021),
here on a table, with friction, pushed by an arm's closed fingers.
"""

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
"""Width of bar and stem; the bar is 4 units long, the stem 3 beyond it."""
HEIGHT_M = 0.03
RECTANGLES = UNIT_M * np.array([[[-2, 5 / 14], [2, 19 / 14]], [[-0.5, -37 / 14], [0.5, 5 / 14]]])
"""Bar and stem, lower and upper corners in the frame at the T's centroid, stem along -y (2, 2, 2) [m]."""
OUTLINE = np.array([[4, 19], [-4, 19], [-4, 5], [-1, 5], [-1, -37], [1, -37], [1, 5], [4, 5]]) * UNIT_M / [2, 14]
"""The T's corners counter-clockwise (8, 2) [m]: x in halves, y in fourteenths of a unit."""
FACE_M2 = 7 * UNIT_M**2

GOAL = np.array([0.5, 0.0, -np.pi / 4])
"""Where the T belongs: x, y [m], yaw [rad]."""
AREA = ((0.45, -0.18), (0.60, 0.18))
"""Corners of the rectangle in which the T's centroid starts [m]: fingers reach every side of it with the hand upright."""
START_COVERAGE = 0.5
SOLVED_COVERAGE = 0.95
UPRIGHT = 0.99
"""Cosine of the tilt from which the T no longer counts as lying flat."""


def coverage(pose: np.ndarray, goal: np.ndarray) -> float:
    """Share of the goal's area that the T covers, in [0, 1], exact; poses (x, y, yaw) (3,) [m, m, rad]."""
    outline = OUTLINE @ _rotation(pose[2] - goal[2]).T + (pose[:2] - goal[:2]) @ _rotation(goal[2])
    shared = float(overlap(outline, RECTANGLES[:, 0], RECTANGLES[:, 1]).sum()) / FACE_M2
    return min(max(shared, 0.0), 1.0)


class PushT(Task):
    """The T starts anywhere in ``AREA``, turned anyhow, covering at most ``START_COVERAGE`` of the goal.

    It declares no symmetry: the goal stays where it is, so that block and pushes cannot be moved together, and the one
    motion that keeps the goal, the mirror along its stem, turns the fingers by a quarter and mostly leaves ``AREA``.
    """

    name = "push_t"
    instruction = "Push the T-shaped block onto the green marker."
    world = Path(__file__).with_suffix(".xml")
    objects = ("tee",)
    goals = ("tee",)
    time_limit_s = 30.0

    def start(self, rng: np.random.Generator) -> np.ndarray:
        """Home with noise on the arm and the fingers closed: they are the stick that pushes."""
        positions = super().start(rng)
        if self.robot.gripper is not None:
            positions[self.robot.index(self.robot.gripper)] = 0.0
        return positions

    def place(self, scene: Scene, rng: np.random.Generator) -> None:
        """The marker at ``GOAL``; the T drawn until it has some way to go."""
        while True:
            pose = np.array([*rng.uniform(*AREA), rng.uniform(-np.pi, np.pi)])
            if coverage(pose, GOAL) <= START_COVERAGE:
                break
        scene.place("tee", np.array([*pose[:2], HEIGHT_M / 2]), _about_vertical(pose[2]))
        scene.place("goal", np.array([*GOAL[:2], 0.0]), _about_vertical(GOAL[2]))

    def goal(self, scene: Scene) -> dict[str, np.ndarray]:
        """The T on the marker."""
        return {"tee": np.array([*GOAL[:2], HEIGHT_M / 2, *_about_vertical(GOAL[2])])}

    def success(self, scene: Scene) -> bool:
        """The T covers 95 % of the marker."""
        return self._coverage(scene) >= SOLVED_COVERAGE

    def reward(self, scene: Scene) -> float:
        """Coverage as a share of what counts as solved."""
        return min(self._coverage(scene) / SOLVED_COVERAGE, 1.0)

    def metrics(self, scene: Scene) -> dict[str, float]:
        """Share of the marker that the T covers; its maximum over the episode is the literature's score."""
        return {"coverage": self._coverage(scene)}

    def expert(self, scene: Scene, period_s: float) -> "PushTExpert":
        """Straight pushes, replanned from the T's pose."""
        return PushTExpert(self.robot, period_s)

    def _coverage(self, scene: Scene) -> float:
        tee, goal = scene.data.body("tee"), scene.data.body("goal")
        if tee.xmat[8] < UPRIGHT or abs(tee.xpos[2] - HEIGHT_M / 2) > 0.005:
            return 0.0
        return coverage(_planar(scene.pose(tee.id)), _planar(scene.pose(goal.id)))


class PushTExpert(ScriptedExpert):
    """Plans a push, brings the fingers to its start from above, pushes while that is worth it, and plans the next.

    It remembers the push it is at; wherever block or tool turn up instead, it plans afresh.
    """

    phases = ("lift", "cross", "push", "rest")
    FINGERS_M = (0.0105, 0.014)
    """Half sizes of the closed pads' cross-section, x and y of the hand (robots/assets/panda.xml)."""
    REACH = ((0.29, -0.40), (0.75, 0.40))
    """Corners of the rectangle that the fingers keep to while pushing: beyond, the upright hand nears joint limits [m]."""
    FRICTION_RADIUS_M = 0.062
    """Characteristic length of the block's friction with the table [m]."""
    FRICTION = 0.7
    """Between pads and block: below the pads' own 1.5, because soft contacts creep. Both were fitted to sixty pushes in
    MuJoCo, whose outcome the model predicts with a median error of 12 % of the way the block goes."""
    LOW_M = 0.026
    """Tool height for pushing: the pads overlap the block by 13 mm, the wider fingers above them stay clear of it."""
    HIGH_M = 0.052
    """Tool height for crossing the block, fingertips 13 mm above it."""
    MOVED_M = 0.003
    """The block has moved if it is this far from where the push was planned."""
    LIFT_M_S, CROSS_M_S = 0.35, 0.4

    def __init__(self, robot: RobotSpec, period_s: float) -> None:
        super().__init__(robot, period_s)
        middle, half = RECTANGLES.mean(axis=1), (RECTANGLES[:, 1] - RECTANGLES[:, 0]) / 2
        areas = 4 * half.prod(axis=1)
        gyration = float(np.sqrt((areas * ((middle**2).sum(axis=1) + (half**2).sum(axis=1) / 3)).sum() / FACE_M2))
        solid = RECTANGLES.copy()
        solid[1, 1, 1] = solid[0, 1, 1]  # the stem runs on through the bar
        model = PlanarPushing(
            boxes=np.concatenate([solid.mean(axis=1), (solid[:, 1] - solid[:, 0]) / 2], axis=1),
            corners=OUTLINE[[0, 1, 2, 4, 5, 7]],
            pusher=self.FINGERS_M,
            pusher_yaw=0.0,
            radius=self.FRICTION_RADIUS_M,
            friction=self.FRICTION,
        )
        lower = np.maximum(self.REACH[0], robot.workspace.lower[:2])
        upper = np.minimum(self.REACH[1], robot.workspace.upper[:2])
        self.planner = PushPlanner(model, OUTLINE, gyration, GOAL, lower, upper)
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Forget the push."""
        self._rng = np.random.default_rng(seed)
        self._push: Push | None = None
        self._pushing = False

    def target(self, observation: Observation, tool: np.ndarray, yaw: float) -> ToolTarget:
        """The next tool pose: along the push, or on the way to its start."""
        pose = _planar(observation.features["observation.tee_pose"].astype(np.float64))
        self._push = self._still_good(pose, tool)
        if self._push is None:
            self._pushing = False
            if coverage(pose, GOAL) >= SOLVED_COVERAGE:
                return ToolTarget(tool, 0.0, 0.0, phase="rest")
            self._push = self.planner.plan(pose, tool[:2], self._rng)
        if self._push is None:  # out of reach from every side
            return ToolTarget(np.array([*tool[:2], max(tool[2], self.HIGH_M)]), 0.0, 0.0, self.LIFT_M_S, "lift")
        push, away = self._push, float(np.linalg.norm(tool[:2] - self._push.start))
        self._pushing = self._pushing or (away < 0.005 and tool[2] < self.LOW_M + 0.004)
        if self._pushing:
            end = tool[:2] + push.direction * push.length
            return ToolTarget(np.array([*end, self.LOW_M]), 0.0, 0.0, self.planner.push_speed, "push")
        # A funnel over the start: rise where the tool is, cross, come down.
        height = self.LOW_M + float(np.clip(3 * (away - 0.006), 0, self.HIGH_M - self.LOW_M))
        if tool[2] < height - 0.012:
            return ToolTarget(np.array([*tool[:2], height]), 0.0, 0.0, self.LIFT_M_S, "lift")
        return ToolTarget(np.array([*push.start, height]), 0.0, 0.0, self.CROSS_M_S, "cross")

    def _still_good(self, pose: np.ndarray, tool: np.ndarray) -> Push | None:
        """The push to go on with, corrected, or None to plan anew."""
        if self._push is None:
            return None
        if self._pushing:
            return self.planner.follow(pose, tool[:2], self._push) if tool[2] < self.LOW_M + 0.01 else None
        return self._push if self.planner.distance(pose, self._push.pose) <= self.MOVED_M else None


def _planar(pose: np.ndarray) -> np.ndarray:
    """(x, y, yaw) of a pose (x, y, z, qw, qx, qy, qz)."""
    return np.array([pose[0], pose[1], yaw_of(pose)])


def _rotation(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _about_vertical(yaw: float) -> np.ndarray:
    return np.array([np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)])
