"""Surfaces of MuJoCo's geoms as triangles, for viewers that know only meshes."""

from dataclasses import dataclass

import mujoco
import numpy as np

SEGMENTS = 32
"""Around a full circle."""


@dataclass(frozen=True)
class Surface:
    """Triangles in the geom's frame.

    Args:
        vertices: (V, 3) [m].
        faces: (F, 3) indices of vertices, counter-clockwise seen from outside.
        flat: whether each face is shaded alone; else shading is smooth between faces that share vertices.
    """

    vertices: np.ndarray
    faces: np.ndarray
    flat: bool = False


def of_geom(model: mujoco.MjModel, geom: int) -> Surface:
    """The surface of any geom that is not a plane. Sizes are MuJoCo's: radii and half lengths [m]."""
    kind, size = mujoco.mjtGeom(model.geom_type[geom]), model.geom_size[geom]
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        return box(size)
    if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        return ellipsoid(np.full(3, size[0]))
    if kind == mujoco.mjtGeom.mjGEOM_ELLIPSOID:
        return ellipsoid(size)
    if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        return capsule(size[0], size[1])
    if kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        return cylinder(size[0], size[1])
    if kind == mujoco.mjtGeom.mjGEOM_HFIELD:
        return height_field(model, int(model.geom_dataid[geom]))
    if kind in (mujoco.mjtGeom.mjGEOM_MESH, mujoco.mjtGeom.mjGEOM_SDF):
        return mesh(model, int(model.geom_dataid[geom]))
    raise ValueError(f"A geom of type {kind.name} has no surface of its own.")


def box(half: np.ndarray) -> Surface:
    """A box of half lengths (3,)."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * half
    sides = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return Surface(corners, np.array([part for a, b, c, d in sides for part in ((a, b, c), (a, c, d))]), flat=True)


def ellipsoid(radii: np.ndarray) -> Surface:
    """An ellipsoid of radii (3,)."""
    unit = revolved([_arc(-np.pi / 2, np.pi / 2)])
    return Surface(unit.vertices * radii, unit.faces)


def capsule(radius: float, half: float) -> Surface:
    """A cylinder of half length ``half`` along z between two half spheres."""
    below, above = radius * _arc(-np.pi / 2, 0) - [0, half], radius * _arc(0, np.pi / 2) + [0, half]
    return revolved([np.concatenate([below, above])])


def cylinder(radius: float, half: float) -> Surface:
    """A cylinder along z; its three parts share no vertices, so that the rims stay sharp."""
    return revolved(
        [
            np.array([[0, -half], [radius, -half]]),
            np.array([[radius, -half], [radius, half]]),
            np.array([[radius, half], [0, half]]),
        ]
    )


def _arc(start: float, end: float) -> np.ndarray:
    """Points (radius, height) on the unit circle between two latitudes [rad], (n, 2)."""
    latitudes = np.linspace(start, end, round(SEGMENTS / 2 * (end - start) / np.pi) + 1)
    return np.stack([np.cos(latitudes), np.sin(latitudes)], axis=1)


def revolved(profiles: list[np.ndarray]) -> Surface:
    """The surface that profiles of (radius, height) from bottom to top, (n, 2) each, sweep about the z axis."""
    around = 2 * np.pi * np.arange(SEGMENTS) / SEGMENTS
    circle = np.stack([np.cos(around), np.sin(around)], axis=1)
    vertices, faces, first = [], [], 0
    for profile in profiles:
        rings = np.empty((len(profile), SEGMENTS, 3))
        rings[..., :2] = profile[:, None, :1] * circle
        rings[..., 2] = profile[:, 1:]
        vertices.append(rings.reshape(-1, 3))
        index = first + np.arange(rings.shape[0] * SEGMENTS).reshape(-1, SEGMENTS)
        low, high = index[:-1], index[1:]
        low_next, high_next = np.roll(low, -1, axis=1), np.roll(high, -1, axis=1)
        faces += [np.stack([low, low_next, high_next], -1).reshape(-1, 3)]
        faces += [np.stack([low, high_next, high], -1).reshape(-1, 3)]
        first += index.size
    return _without_slivers(np.concatenate(vertices), np.concatenate(faces))


def _without_slivers(vertices: np.ndarray, faces: np.ndarray) -> Surface:
    """Faces that have an area: at a pole one side of each quadrilateral is a point."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    return Surface(vertices, faces[areas > 1e-12 * max(areas.max(), 1e-30)])


def mesh(model: mujoco.MjModel, index: int) -> Surface:
    """A mesh of the model; a vertex with several normals becomes several vertices, which keeps hard edges hard."""
    vertices = _rows(model.mesh_vert, model.mesh_vertadr[index], model.mesh_vertnum[index])
    faces = _rows(model.mesh_face, model.mesh_faceadr[index], model.mesh_facenum[index])
    normals = _rows(model.mesh_facenormal, model.mesh_faceadr[index], model.mesh_facenum[index])
    corners = np.stack([faces, normals], axis=-1).reshape(-1, 2)
    pairs, places = np.unique(corners, axis=0, return_inverse=True)
    return Surface(vertices[pairs[:, 0]].astype(float), places.reshape(-1, 3))


def _rows(array: np.ndarray, first: int, count: int) -> np.ndarray:
    return array[int(first) : int(first) + int(count)]


def height_field(model: mujoco.MjModel, index: int) -> Surface:
    """The upper side of a height field: rows along y, columns along x, heights in [0, 1] times its elevation."""
    rows, columns = int(model.hfield_nrow[index]), int(model.hfield_ncol[index])
    half_x, half_y, elevation, _ = model.hfield_size[index]
    heights = elevation * _rows(model.hfield_data, model.hfield_adr[index], rows * columns).reshape(rows, columns)
    x, y = np.meshgrid(np.linspace(-half_x, half_x, columns), np.linspace(-half_y, half_y, rows))
    number = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1]
    faces = [np.stack(corners, -1).reshape(-1, 3) for corners in ((a, b, c), (a, c, d))]
    return Surface(np.stack([x, y, heights], axis=-1).reshape(-1, 3), np.concatenate(faces))
