"""A MuJoCo model in a browser: its geoms as a viser scene whose bodies are moved to where the simulation has them."""

import errno
import socket
from collections.abc import Collection
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from praxon.errors import ConfigError
from praxon.sim import surfaces

if TYPE_CHECKING:
    import viser

VISIBLE_GROUPS = (0, 1, 2)
"""Geom groups that are shown, MuJoCo's own default; models keep their collision shapes in the others."""
DEFAULT_RGBA = (0.5, 0.5, 0.5, 1.0)
"""What a geom has that was given no colour; only then does its material's colour count (MuJoCo, XML reference, geom rgba)."""
INFINITE_PLANE_M = 10.0
NEIGHBOURING_PORTS = 200


class WebScene:
    """The geoms of a model as browsers see them; a body is moved only when its pose has changed.

    Textures are shown as their mean colour. Several scenes may share one server under different roots.

    Args:
        server: of viser, which may have any number of clients.
        model: what is shown.
        root: name of the scene's node in viser's tree.
        bodies: indices of the bodies to show; all of them by default.
        tint: (r, g, b) in [0, 1] in place of every colour.
        opacity: in [0, 1], times each geom's own.
        swell: factor of every geom's size; a little over 1 keeps a scene apart from another one at the same place.
    """

    def __init__(
        self,
        server: "viser.ViserServer",
        model: mujoco.MjModel,
        root: str = "/scene",
        bodies: Collection[int] | None = None,
        tint: tuple[float, float, float] | None = None,
        opacity: float = 1.0,
        swell: float = 1.0,
    ) -> None:
        self.model = model
        self._swell = swell
        self._server = server
        self._frames: dict[int, viser.FrameHandle] = {}
        self._root = server.scene.add_frame(root, show_axes=False)
        for geom in range(model.ngeom):
            body = int(model.geom_bodyid[geom])
            if model.geom_group[geom] not in VISIBLE_GROUPS or (bodies is not None and body not in bodies):
                continue
            place = f"{root}/{body}_{model.body(body).name}"
            if body not in self._frames:
                self._frames[body] = server.scene.add_frame(place, show_axes=False)
            rgba = geom_colour(model, geom)
            if rgba[3] * opacity > 0:
                self._add(f"{place}/{geom}", geom, (*(tint or rgba[:3]), rgba[3] * opacity))
        self._bodies = np.array(sorted(self._frames), int)
        self._shown = np.full((len(self._bodies), 7), np.nan)

    def _add(self, name: str, geom: int, rgba: tuple[float, float, float, float]) -> None:
        """One geom at its place in its body."""
        model = self.model
        colour: tuple[int, int, int] = tuple(round(255 * float(part)) for part in rgba[:3])  # type: ignore[assignment]
        pose = {"position": model.geom_pos[geom], "wxyz": model.geom_quat[geom]}
        if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_PLANE:
            width, height = (2 * half if half > 0 else 2 * INFINITE_PLANE_M for half in model.geom_size[geom, :2])
            line: tuple[int, int, int] = tuple(round(0.9 * part) for part in colour)  # type: ignore[assignment]
            self._server.scene.add_grid(
                name,
                width,
                height,
                plane="xy",
                cell_size=0.1,
                section_size=0.5,
                cell_color=line,
                section_color=line,
                plane_color=colour,
                plane_opacity=rgba[3],
                fade_distance=20.0,
                **pose,
            )
            return
        surface = surfaces.of_geom(model, geom)
        self._server.scene.add_mesh_simple(
            name,
            surface.vertices.astype(np.float32),
            surface.faces.astype(np.uint32),
            color=colour,
            opacity=rgba[3] if rgba[3] < 1 else None,
            flat_shading=surface.flat,
            scale=self._swell,
            side="double" if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_HFIELD else "front",
            **pose,
        )

    @property
    def visible(self) -> bool:
        """Whether browsers show it."""
        return self._root.visible

    @visible.setter
    def visible(self, visible: bool) -> None:
        self._root.visible = visible

    def update(self, data: mujoco.MjData) -> None:
        """Move the bodies to ``data.xpos`` and ``data.xquat``, as ``mj_kinematics`` or ``mj_forward`` left them."""
        poses = np.concatenate([data.xpos[self._bodies], data.xquat[self._bodies]], axis=1)
        moved = np.flatnonzero((poses != self._shown).any(axis=1))
        with self._server.atomic():
            for index in moved:
                frame = self._frames[int(self._bodies[index])]
                frame.position, frame.wxyz = poses[index, :3], poses[index, 3:]
        self._shown = poses

    def look(self, data: mujoco.MjData, azimuth: float = -35.0, elevation: float = 25.0) -> None:
        """Put the camera of every new client where it sees all that is shown except planes.

        Args:
            data: with the poses to be seen.
            azimuth: direction from the middle of the scene to the camera, from the x axis towards y [deg].
            elevation: the same above the horizon [deg].
        """
        chosen = [
            geom
            for geom in range(self.model.ngeom)
            if self.model.geom_type[geom] != mujoco.mjtGeom.mjGEOM_PLANE
            and self.model.geom_bodyid[geom] in self._frames
        ]
        if not chosen:
            return
        around = self.model.geom_rbound[chosen, None]
        lower = (data.geom_xpos[chosen] - around).min(axis=0)
        upper = (data.geom_xpos[chosen] + around).max(axis=0)
        middle, distance = (lower + upper) / 2, 0.9 * float(np.linalg.norm(upper - lower))
        turn, rise = np.radians(azimuth), np.radians(elevation)
        towards = np.array([np.cos(rise) * np.cos(turn), np.cos(rise) * np.sin(turn), np.sin(rise)])
        self._server.initial_camera.position = middle + distance * towards
        self._server.initial_camera.look_at = middle


def geom_colour(model: mujoco.MjModel, geom: int) -> np.ndarray:
    """(r, g, b, a) in [0, 1] of a geom: its own colour, or where it has none its material's times the mean of the texture."""
    own, material = model.geom_rgba[geom].astype(float), int(model.geom_matid[geom])
    if material < 0:
        return own
    rgba = own if not np.allclose(own, DEFAULT_RGBA) else model.mat_rgba[material].astype(float)
    texture = int(model.mat_texid[material, mujoco.mjtTextureRole.mjTEXROLE_RGB])
    if texture < 0:
        return rgba
    start, channels = int(model.tex_adr[texture]), int(model.tex_nchannel[texture])
    size = int(model.tex_height[texture]) * int(model.tex_width[texture]) * channels
    mean = model.tex_data[start : start + size].reshape(-1, channels)[:, :3].mean(axis=0) / 255
    return np.array([*(rgba[:3] * mean), rgba[3]])


# -- server ---------------------------------------------------------------------------------------


def open_server(host: str, port: int, title: str) -> "viser.ViserServer":
    """A viser server that browsers reach at ``http://host:port``.

    Args:
        host: address to listen on; 127.0.0.1 is reached from this machine only.
        port: 0 to 65535; 0 takes one that is free.
        title: of the page.

    Raises:
        ConfigError: viser is missing, or the address cannot be listened on; the sentence names a port that is free.
    """
    try:
        import rich
        import viser
    except ImportError as error:
        raise ConfigError(
            f"A view in the browser needs viser ({error}), which pip install 'praxon[view]' installs."
        ) from error
    if not 0 <= port <= 65535:
        raise ConfigError(f"port is {port}; ports are 0 to 65535, and 0 takes one that is free.")
    # viser would silently take the next free port, and would wait forever for an address that is not this machine's.
    problem = _problem(host, port)
    if problem is not None:
        raise ConfigError(f"Port {port} of '{host}' cannot be listened on: {problem}.{_suggestion(host, port)}")
    with rich.get_console().capture():  # of a banner that viser prints however quiet it is asked to be
        server = viser.ViserServer(host=host, port=port, label=title, verbose=False)
    if port not in (0, server.get_port()):
        server.stop()
        raise ConfigError(f"Port {port} of '{host}' was taken just now.{_suggestion(host, port)}")
    # The button would publish the data through somebody else's machine.
    server.gui.configure_theme(show_share_button=False, show_logo=False, control_width="large")
    return server


def _problem(host: str, port: int) -> str | None:
    """Why the address cannot be listened on, None where it can."""
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        return "another program uses it" if error.errno == errno.EADDRINUSE else (error.strerror or str(error))
    return None


def _suggestion(host: str, port: int) -> str:
    above = range(port + 1, min(port + NEIGHBOURING_PORTS, 65536))
    free = next((number for number in (*above, 8080) if _problem(host, number) is None), None)
    return "" if free is None else f" Port {free} is free."
