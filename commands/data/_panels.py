"""What stands beside the 3D scene: pictures of the cameras, curves with a time cursor and the values under it."""

import html
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from praxon.commands.data._curves import COLOURS, Curves, grouped, thinned
from praxon.commands.data._recording import Recording
from praxon.contract import Feature
from praxon.errors import PraxonError

if TYPE_CHECKING:
    import viser

NO_PICTURE = np.full((96, 96, 3), 230, np.uint8)
LEAST_WIDTH = 300
PLOT_HEIGHT = 130
JPEG_QUALITY = 85


class Cameras:
    """A panel of pictures, decoded in a thread that always goes on with the newest wish.

    Args:
        server: of viser.
        names: of the features that are pictures.
        tell: called with a sentence when pictures cannot be read, with an empty one when they can again.

    Attributes:
        images: where the pictures are on the page, by feature.
    """

    def __init__(self, server: "viser.ViserServer", names: Sequence[str], tell: Callable[[str], None]) -> None:
        self._tell = tell
        self.images = {
            name: server.gui.add_image(NO_PICTURE, label=name, format="jpeg", jpeg_quality=JPEG_QUALITY)
            for name in names
        }
        self._wish: tuple[Recording, int] | None = None
        self._changed, self._stopped = threading.Condition(), False
        self._thread = threading.Thread(target=self._run, name="pictures", daemon=True)
        self._thread.start()

    def show(self, recording: Recording, frame: int) -> None:
        """Show this frame as soon as it is decoded, unless another is asked for before."""
        with self._changed:
            self._wish = recording, frame
            self._changed.notify()

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        failed = False
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._wish is not None)
                if self._stopped or self._wish is None:
                    return
                (recording, frame), self._wish = self._wish, None
            try:
                for name, image in self.images.items():
                    image.image = enlarged(recording.pictures[name](frame))
                if failed:
                    self._tell("")
                failed = False
            except (PraxonError, OSError, ValueError, KeyError) as error:
                failed = True
                self._tell(str(error))


def enlarged(picture: np.ndarray) -> np.ndarray:
    """A picture at least about ``LEAST_WIDTH`` wide: small ones with every pixel repeated, which browsers would not do."""
    factor = max(round(LEAST_WIDTH / picture.shape[1]), 1)
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


class Plots:
    """A panel of curves: one folder for each feature, in it one plot for each unit and the values under the cursor.

    Args:
        server: of viser.
        features: whose components are drawn.
    """

    def __init__(self, server: "viser.ViserServer", features: Sequence[Feature]) -> None:
        self._server = server
        self._plots: list[_Plot] = []
        groups = list(grouped(features))
        if not groups:
            return
        panel = server.gui.add_panel()
        with panel.add_tab("curves"):
            for feature in dict.fromkeys(curves.feature for curves in groups):
                with server.gui.add_folder(feature):
                    self._plots += [_Plot(server, curves) for curves in groups if curves.feature == feature]
        panel.dock_left()
        panel.set_width(400)

    def show(self, recording: Recording, frame: int) -> None:
        """The curves of another episode."""
        with self._server.atomic():
            for plot in self._plots:
                plot.show(recording, frame)

    def move_cursor(self, recording: Recording, frame: int) -> None:
        """The cursors and the values under them."""
        with self._server.atomic():
            for plot in self._plots:
                plot.move_cursor(recording, frame)


class _Plot:
    """One plot. The cursor is one more curve, from below the plot to above it at the present time."""

    def __init__(self, server: "viser.ViserServer", curves: Curves) -> None:
        self._curves = curves
        self._times, self._lines, self._values = np.zeros(2), np.zeros((2, len(curves.names))), np.zeros((2, 0))
        series: list[Any] = [{}]
        for index in range(len(curves.names)):
            series.append({"stroke": COLOURS[index], "width": 1.5, "points": {"show": False}})
        series.append({"scale": "cursor", "stroke": "#222222", "width": 1, "points": {"show": False}})
        self._plot = server.gui.add_uplot(
            with_cursor(self._times, self._lines, 0.0),
            tuple(series),
            scales={"x": {"time": False}, "cursor": {"auto": False, "range": (0.25, 0.75)}},
            axes=({"size": 28, "font": "10px sans-serif"}, {"size": 44, "font": "10px sans-serif"}),
            legend={"show": False},
            height=PLOT_HEIGHT,
            padding=(6, 8, 0, 0),
        )
        self._legend = server.gui.add_html("")

    def show(self, recording: Recording, frame: int) -> None:
        self._values = self._curves.values(recording)
        self._times, self._lines = thinned(recording.times_s, self._values)
        self.move_cursor(recording, frame)

    def move_cursor(self, recording: Recording, frame: int) -> None:
        self._plot.data = with_cursor(self._times, self._lines, float(recording.times_s[frame]))
        self._legend.content = legend(self._curves, self._values[frame])


def with_cursor(times: np.ndarray, lines: np.ndarray, now_s: float) -> tuple[np.ndarray, ...]:
    """Columns of a plot: time, each of (T, C) lines, and a cursor that is 0 before ``now_s`` and 1 after it.

    Two points are put in at ``now_s``, so that the cursor rises vertically; every line goes straight through them.
    """
    place = int(np.searchsorted(times, now_s, side="right"))
    passing = [np.interp(now_s, times, line) for line in lines.T]
    columns = [np.insert(line, place, [value, value]) for line, value in zip(lines.T, passing, strict=True)]
    cursor = np.concatenate([np.zeros(place + 1), np.ones(len(times) - place + 1)])
    return np.insert(times, place, [now_s, now_s]), *columns, cursor


def legend(curves: Curves, values: np.ndarray) -> str:
    """HTML with colour, name and present value of each component; names come from files, so they are escaped."""
    entries = "".join(
        f'<span style="white-space:nowrap"><span style="color:{colour}">&#9632;</span> {html.escape(name)} '
        f"<b>{value:.4g}</b></span>"
        for colour, name, value in zip(COLOURS, curves.names, values, strict=False)
    )
    return (
        '<div style="display:flex;flex-wrap:wrap;gap:0 0.9em;padding:0 0.8em 0.4em;font-size:0.72em;line-height:1.5;'
        f'font-variant-numeric:tabular-nums"><span>[{html.escape(curves.unit)}]</span>{entries}</div>'
    )
