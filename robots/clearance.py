"""Clearance: how far the tool is inside the workspace and bodies are apart, in a kinematic copy of the robot."""

from functools import lru_cache
from itertools import product

import mujoco
import numpy as np

from praxon.errors import RobotError, nearest
from praxon.robots.spec import RobotSpec

CAUSES = ("workspace", "self_distance")


class Clearance:
    """Margins of a joint configuration in [m]: entry 0 is the workspace, entry 1 self-distance (``CAUSES``).

    A margin is what is left: distance of the tool to the nearest face of the workspace (negative outside), and the
    least distance of the listed bodies beyond ``self_distance_m``.

    No point of a body moves further than sum_i reach_i |dq_i|, where reach_i bounds its distance from the axis of joint
    i in every configuration: the lengths of the links between, and the body's own extent. A margin therefore holds for
    a neighbourhood of the configuration it was measured in, and most steps need no forward kinematics at all.

    Args:
        spec: robot whose workspace and pairs are meant; its own model, base at the origin, is compiled once a process.
    """

    def __init__(self, spec: RobotSpec) -> None:
        self._model = _compiled(spec)
        self._data = mujoco.MjData(self._model)
        self._lower, self._upper = np.array(spec.workspace.lower), np.array(spec.workspace.upper)
        self._tool = self._data.site_xpos[_identity(self._model, spec, "site", spec.tool_site)]
        self._required = spec.self_distance_m
        bodies = [tuple(_identity(self._model, spec, "body", name) for name in p) for p in spec.self_distance_pairs]
        geoms = [pair for a, b in bodies for pair in product(self._geoms(spec, a), self._geoms(spec, b))]
        self._first, self._second = np.array(geoms, int).reshape(-1, 2).T
        self._radii = self._model.geom_rbound[self._first] + self._model.geom_rbound[self._second] + self._required
        self._addresses, self._copies = self._joint_addresses(spec)
        self._reach = self._reaches(spec, bodies)
        self._measured_at = np.zeros(len(spec.joints))
        self._measured = np.full(2, -np.inf)

    def snapshot(self) -> tuple[np.ndarray, np.ndarray]:
        """What ``restore`` takes: where was measured last, and what."""
        return self._measured_at, self._measured

    def restore(self, kept: tuple[np.ndarray, np.ndarray]) -> None:
        """Go on from a ``snapshot``."""
        self._measured_at, self._measured = kept

    def covers(self, positions: np.ndarray, travel: np.ndarray) -> bool:
        """Whether the last measurement already proves positive margins at ``positions`` and within ``travel`` of them.

        Args:
            positions, travel: (num_joints,) [rad or m].
        """
        moved = np.abs(positions - self._measured_at) + travel
        return bool((self._reach @ moved <= self._measured).all())

    def measure(self, positions: np.ndarray, travel: np.ndarray | None = None) -> np.ndarray:
        """Margins (2,) at ``positions`` (num_joints,); from above, self-distance is a lower bound once it is ample.

        Args:
            travel: motion in prospect; what it needs, twice over, is ample.
        """
        self._data.qpos[self._addresses] = positions[self._copies]
        mujoco.mj_kinematics(self._model, self._data)
        workspace = min((self._tool - self._lower).min(), (self._upper - self._tool).min())
        ample = 0.1 if travel is None else 0.1 + 2 * float(self._reach[1] @ travel)
        self._measured = np.array([workspace, self._self_distance(ample)])
        self._measured_at = positions
        return self._measured

    def lowest(self, path: np.ndarray, floor: np.ndarray, tolerance_m: float) -> np.ndarray:
        """Least margins (2,) along a path, or those of the first row found to lie below ``floor``.

        Rows that cannot differ from a measured one by more than its margin, or by more than ``tolerance_m``, are
        skipped: no margin on the path is lower than the lesser of the result and zero, minus ``tolerance_m``.

        Args:
            path: (num_rows, num_joints); the last row, where a braking robot ends, is looked at first.
            floor: (2,) [m].
        """
        lowest = self.measure(path[-1])
        row = 0
        while row < len(path) - 1 and (lowest >= floor).all():
            margins = self.measure(path[row])
            lowest = np.minimum(lowest, margins)
            moved = np.abs(path[row + 1 :] - path[row]) @ self._reach.T
            uncovered = (moved > np.maximum(margins, tolerance_m)).any(axis=1)
            row = row + 1 + int(uncovered.argmax()) if uncovered.any() else len(path)
        return lowest

    # -- geometry ---------------------------------------------------------------------------------

    def _self_distance(self, ample: float) -> float:
        """Least margin of all pairs of geoms: bounding spheres first, exact distances where they are not ``ample``."""
        if not len(self._radii):
            return np.inf
        centers = self._data.geom_xpos
        between = centers[self._first] - centers[self._second]
        margins = np.sqrt((between * between).sum(axis=1)) - self._radii
        least = min(float(margins.min()), ample)
        if least == ample:
            return ample
        least = ample
        for pair in np.argsort(margins):
            if margins[pair] >= least:
                break
            first, second = int(self._first[pair]), int(self._second[pair])
            distance = mujoco.mj_geomDistance(self._model, self._data, first, second, least + self._required, None)
            # MuJoCo sometimes finds 0 between boxes that are far apart (google-deepmind/mujoco#3383); spheres know better.
            least = min(least, max(distance - self._required, float(margins[pair])))
        return least

    def _geoms(self, spec: RobotSpec, body: int) -> range:
        start, count = self._model.body_geomadr[body], self._model.body_geomnum[body]
        if count == 0:
            name = self._model.body(body).name
            raise RobotError(f"Body '{name}' of '{spec.name}' has no geoms that could keep a distance.")
        return range(start, start + count)

    def _joint_addresses(self, spec: RobotSpec) -> tuple[np.ndarray, np.ndarray]:
        """Addresses in qpos of every joint and its mimics, and which entry of the joint vector each takes."""
        driven = [(name, i) for i, joint in enumerate(spec.joints) for name in (joint.name, *joint.mimics)]
        addresses = [self._model.jnt_qposadr[_identity(self._model, spec, "joint", name)] for name, _ in driven]
        return np.array(addresses), np.array([index for _, index in driven])

    def _reaches(self, spec: RobotSpec, bodies: list[tuple[int, ...]]) -> np.ndarray:
        """(2, num_joints): how far a unit of joint motion moves the tool, and one body of a pair against the other."""
        model, reach = self._model, np.zeros((2, len(spec.joints)))
        site = model.site(spec.tool_site)
        for index, joint in enumerate(spec.joints):
            for name in (joint.name, *joint.mimics):
                moving = model.joint(name).id
                reach[0, index] += self._lever(moving, int(site.bodyid[0]), float(np.linalg.norm(site.pos)))
                levers = [0.0]
                for first, second in bodies:
                    # A joint that carries both bodies does not change their distance.
                    ends = [body for body in (first, second) if self._carries(moving, body)]
                    levers += [self._lever(moving, ends[0], self._extent(ends[0]))] if len(ends) == 1 else []
                reach[1, index] += max(levers)
        return reach

    def _extent(self, body: int) -> float:
        """Radius about the body's origin that holds all its geoms [m]."""
        model, start = self._model, self._model.body_geomadr[body]
        geoms = range(start, start + model.body_geomnum[body])
        return max(float(np.linalg.norm(model.geom_pos[geom]) + model.geom_rbound[geom]) for geom in geoms)

    def _carries(self, joint: int, body: int) -> bool:
        return self._model.jnt_bodyid[joint] in self._ancestors(body)

    def _ancestors(self, body: int) -> list[int]:
        """The body, its parent, and so on up to the world."""
        chain = [body]
        while chain[-1]:
            chain.append(int(self._model.body_parentid[chain[-1]]))
        return chain

    def _lever(self, joint: int, body: int, extent: float) -> float:
        """Largest distance from a joint's axis of a point of a body; 1 for a slide, 0 if the joint does not move it."""
        model = self._model
        if not self._carries(joint, body):
            return 0.0
        if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_SLIDE:
            return 1.0
        chain = self._ancestors(body)
        between = chain[: chain.index(int(model.jnt_bodyid[joint]))]
        lever = extent + float(np.linalg.norm(model.jnt_pos[joint]))
        for link in between:
            lever += float(np.linalg.norm(model.body_pos[link]))
            start = model.body_jntadr[link]
            for other in range(start, start + model.body_jntnum[link]):
                if model.jnt_type[other] == mujoco.mjtJoint.mjJNT_SLIDE:
                    lever += float(np.abs(model.jnt_range[other]).max())
                else:
                    lever += 2 * float(np.linalg.norm(model.jnt_pos[other]))
        return lever


@lru_cache(maxsize=8)
def _compiled(spec: RobotSpec) -> mujoco.MjModel:
    return spec.build("own").compile()


def _identity(model: mujoco.MjModel, spec: RobotSpec, kind: str, name: str) -> int:
    """Id of a named element of the model; ``RobotError`` lists the names there are."""
    kinds = {"site": (mujoco.mjtObj.mjOBJ_SITE, model.nsite), "body": (mujoco.mjtObj.mjOBJ_BODY, model.nbody)}
    kinds["joint"] = (mujoco.mjtObj.mjOBJ_JOINT, model.njnt)
    enumeration, count = kinds[kind]
    identity = mujoco.mj_name2id(model, enumeration, name)
    if identity < 0:
        known = [mujoco.mj_id2name(model, enumeration, i) for i in range(count)]
        raise RobotError(
            f"The {kind} '{name}' is not in the model of '{spec.name}'.{nearest(name, filter(None, known))} "
            f"Known: {', '.join(filter(None, known))}."
        )
    return identity
