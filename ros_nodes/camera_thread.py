"""Pictures of a live simulation, rendered in a thread of their own so that physics never waits for OpenGL."""

import copy
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import mujoco

from praxon.errors import RobotError
from praxon.ros_nodes.live_simulation import LiveSimulation
from praxon.ros_nodes.streams import Stream
from praxon.sim.rendering import Camera, rendering_problem


class CameraThread:
    """Renders every stream's camera at a rate, from a copy of the state.

    Args:
        live: what is seen.
        streams: of image features.
        rate_hz: pictures per second and camera.
        publish: called with topic and message.
        failed: called from the thread with one sentence when no more pictures will come.

    Raises:
        RobotError: this machine cannot render.
    """

    def __init__(
        self,
        live: LiveSimulation,
        streams: Sequence[Stream],
        rate_hz: float,
        publish: Callable[[str, Any], None],
        failed: Callable[[str], None],
    ) -> None:
        problem = rendering_problem()
        if problem:
            raise RobotError(problem)
        self._live, self._streams, self._publish, self._failed = live, list(streams), publish, failed
        self._period_s = 1 / rate_hz
        self._scene = copy.copy(live.simulation.scene)
        self._scene.data = mujoco.MjData(self._scene.model)
        self._halt = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin rendering."""
        self._halt.clear()
        self._thread = threading.Thread(target=self._run, name="cameras", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the present picture."""
        self._halt.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        # An OpenGL context belongs to one thread: cameras are made, used and closed here.
        cameras = [Camera(self._scene, each.feature.source, *each.feature.shape[:2]) for each in self._streams]
        try:
            deadline_s = time.monotonic()
            while not self._halt.wait(max(0.0, deadline_s - time.monotonic())):
                stamp_ns = self._live.copy_state(self._scene.data)
                for each, camera in zip(self._streams, cameras, strict=True):
                    self._publish(each.topic, each.to_message(camera.render(), stamp_ns))
                deadline_s = max(deadline_s + self._period_s, time.monotonic())
        except Exception as error:
            traceback.print_exc()
            self._failed(f"The cameras stopped: {type(error).__name__}: {error}")
        finally:
            for camera in cameras:
                camera.close()
