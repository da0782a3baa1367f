"""The viewer: an episode in every browser that is connected, with cameras, curves and the robot, played or sought by a slider.

One thread owns the page and the scene, a second one decodes pictures; what browsers do only leaves wishes for the first.
"""

import html
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

from praxon.commands.data._panels import Cameras, Plots
from praxon.commands.data._posing import Stage
from praxon.commands.data._recording import Recording, Recordings
from praxon.contract import Feature
from praxon.errors import PraxonError
from praxon.sim.web_scene import WebScene

if TYPE_CHECKING:
    import viser

SPEEDS = {"1/4": 0.25, "1/2": 0.5, "1": 1.0, "2": 2.0, "4": 4.0}
FRAME_S = 1 / 30
"""Between two looks at the clock while playing [s]."""
CURSOR_S = 0.12
"""Between two updates of the cursors in the curves while playing; each one sends the curves again [s]."""
COMMANDED: dict[str, Any] = {"tint": (0.15, 0.45, 0.95), "opacity": 0.3, "swell": 1.02}
"""How the robot looks that follows the action."""


@dataclass(frozen=True)
class Wish:
    """What browsers asked for and is not shown yet: another episode, a frame of it, play or pause."""

    episode: int | None = None
    frame: int | None = None
    playing: bool | None = None


class Viewer:
    """One episode at a time, the same for every browser.

    Args:
        server: of viser.
        recordings: the episodes there are.
        features: of the recordings, in the order in which their curves are shown.
        stage: the robot and its world, or None where they are not known.
        title: what is shown, one line.
        episode: shown first.

    Attributes:
        recording: shown now.
        frame: of it, shown now.
        playing: whether the clock runs.
        problem: what keeps something from being shown, empty where nothing does.
    """

    def __init__(
        self,
        server: "viser.ViserServer",
        recordings: Recordings,
        features: Sequence[Feature],
        stage: Stage | None,
        title: str,
        episode: int = 0,
    ) -> None:
        self._server, self._recordings, self._stage = server, recordings, stage
        self.recording, self.frame, self.playing = recordings[episode], 0, False
        self._lock, self._awake, self._stopped = threading.Lock(), threading.Event(), False
        self._wish, self.problem = Wish(), ""
        self._clock_s, self._cursor_at = 0.0, 0.0
        self._measured: WebScene | None = None
        self._commanded: WebScene | None = None
        if stage is not None:
            self._show_stage(stage)
        self._add_controls(title)
        self._cameras = Cameras(server, list(self.recording.pictures), self._tell)
        self._plots = Plots(server, features)
        self._begin(self.recording)
        self._thread = threading.Thread(target=self._run, name="viewer", daemon=True)
        self._thread.start()

    def wish(self, episode: int | None = None, frame: int | None = None, playing: bool | None = None) -> None:
        """Show another episode, another frame, play or pause: what the page's controls do."""
        with self._lock:
            if episode is not None:
                self._wish = Wish(episode=episode)
            if frame is not None:
                self._wish = replace(self._wish, frame=frame)
            if playing is not None:
                self._wish = replace(self._wish, playing=playing)
        self._awake.set()

    def picture(self, feature: str) -> "viser.GuiImageHandle":
        """The place of a camera on the page."""
        return self._cameras.images[feature]

    def close(self) -> None:
        """Stop playing and let the browsers go."""
        self._stopped = True
        self._awake.set()
        self._thread.join()
        self._cameras.close()
        self._server.stop()

    # -- page -------------------------------------------------------------------------------------

    def _show_stage(self, stage: Stage) -> None:
        self._measured = WebScene(self._server, stage.model, "/measured", stage.bodies)
        if stage.commanded:
            bodies = stage.commanded.driven_bodies()
            self._commanded = WebScene(self._server, stage.model, "/commanded", bodies, **COMMANDED)
        self._measured.look(stage.measured.pose(self.recording.values, 0))

    def _add_controls(self, title: str) -> None:
        gui, last = self._server.gui, len(self._recordings) - 1
        gui.set_panel_label(title)
        gui.main_panel.dock_right()
        gui.main_panel.set_width(360)
        self._task = gui.add_html("")
        chooser = gui.add_number("episode", self.recording.number, min=0, max=last, step=1, disabled=last == 0)
        self._slider: Any = gui.add_slider("frame", 0, max(len(self.recording) - 1, 1), 1, 0)
        self._button = gui.add_button("play")
        self._speed = gui.add_dropdown(
            "speed", tuple(SPEEDS), initial_value="1", hint="1 is as fast as it was recorded"
        )
        self._repeat = gui.add_checkbox("repeat", False)
        if self._commanded is not None:
            ghost, scene = (
                gui.add_checkbox("commanded joints", True, hint="the action, as a blue robot"),
                self._commanded,
            )
            ghost.on_update(lambda _: setattr(scene, "visible", ghost.value))
        self._status = gui.add_html("")
        # What this side sets comes back without a client; only what a person did is a wish.
        chooser.on_update(lambda event: self.wish(episode=int(chooser.value)) if event.client else None)
        self._slider.on_update(lambda event: self.wish(frame=int(self._slider.value)) if event.client else None)
        self._button.on_click(lambda _: self.wish(playing=not self.playing))
        command = gui.add_command("play or pause", hotkey="space")
        command.on_trigger(lambda _: self.wish(playing=not self.playing))

    def _tell(self, problem: str) -> None:
        """Show a problem until it is over."""
        self.problem = problem
        self._show_status()

    def _show_status(self) -> None:
        times = self.recording.times_s
        text = f"frame {self.frame} of {len(times)}, {times[self.frame]:.2f} of {times[-1]:.2f} s"
        # HTML, escaped: viser runs what is written in its markdown, and the task comes from a file.
        task = html.escape(self.recording.task_at(self.frame))
        self._task.content = f'<div style="padding:0 0.8em 0.3em">{task}</div>'
        problem = f'<br><span style="color:#c0392b">{html.escape(self.problem)}</span>' if self.problem else ""
        self._status.content = f'<div style="padding:0 0.8em;font-size:0.8em">{text}{problem}</div>'

    # -- the viewer's thread ----------------------------------------------------------------------

    def _run(self) -> None:
        looked = perf_counter()
        while not self._stopped:
            self._awake.wait(FRAME_S if self.playing else None)
            self._awake.clear()
            with self._lock:
                wish, self._wish = self._wish, Wish()
            now = perf_counter()
            passed, looked = now - looked, now
            if wish.episode is not None and wish.episode != self.recording.number:
                self._open(wish.episode)
            if wish.frame is not None:
                self._seek(wish.frame)
            if wish.playing is not None:
                self._set_playing(wish.playing)
            elif self.playing:
                self._advance(passed * SPEEDS[self._speed.value])

    def _open(self, episode: int) -> None:
        try:
            self._begin(self._recordings[min(max(episode, 0), len(self._recordings) - 1)])
        except (PraxonError, OSError, ValueError, KeyError) as error:
            self._tell(f"Episode {episode} cannot be shown: {error}")

    def _begin(self, recording: Recording) -> None:
        """Show an episode from its first frame."""
        self.recording, self.frame, self._clock_s, self.problem = recording, 0, 0.0, ""
        self._set_playing(False)
        self._slider.value = 0
        self._slider.max = max(len(recording) - 1, 1)
        self._plots.show(recording, 0)
        self._show_frame()

    def _set_playing(self, playing: bool) -> None:
        if playing and self.frame == len(self.recording) - 1:
            self._seek(0)
        self.playing = playing
        self._button.label = "pause" if playing else "play"
        self._plots.move_cursor(self.recording, self.frame)

    def _seek(self, frame: int) -> None:
        self.frame = min(max(frame, 0), len(self.recording) - 1)
        self._clock_s = float(self.recording.times_s[self.frame])
        self._show_frame()

    def _advance(self, passed_s: float) -> None:
        """Go on by recorded time; frames are left out where this machine is slower than the recording."""
        self._clock_s += passed_s
        frame = self.recording.frame_at(self._clock_s)
        at_end = self._clock_s >= self.recording.times_s[-1]
        if frame != self.frame:
            self.frame = frame
            self._show_frame()
        if at_end and self._repeat.value:
            self._seek(0)
        elif at_end:
            self._set_playing(False)

    def _show_frame(self) -> None:
        """The present frame everywhere; the cursors of the curves less often."""
        recording, frame = self.recording, self.frame
        self._cameras.show(recording, frame)
        if self._stage is not None and self._measured is not None:
            self._measured.update(self._stage.measured.pose(recording.values, frame))
        if self._stage is not None and self._commanded is not None:
            self._commanded.update(self._stage.commanded.pose(recording.values, frame))
        self._slider.value = frame
        self._show_status()
        now = perf_counter()
        if not self.playing or now - self._cursor_at >= CURSOR_S:
            self._cursor_at = now
            self._plots.move_cursor(recording, frame)
