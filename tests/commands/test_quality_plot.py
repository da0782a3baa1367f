"""The figure of quality: one panel for each measure, outliers marked where they are."""

import cv2
import numpy as np

from praxon.commands.data import _quality_plot
from praxon.datasets.measures.measured import Measure
from praxon.datasets.quality import Quality

VALUES = {"duration": [2.0, 2.1, 1.9, 2.05, 1.95, 9.0], "jerk": [1.0] * 6, "return": [np.nan] * 6}
QUALITY = Quality(
    {name: Measure(name, "s", 0, "") for name in VALUES},
    {},
    {name: np.array(values) for name, values in VALUES.items()},
    np.ones(6, int),
)


def test_every_measure_has_a_panel_and_every_outlier_a_line(tmp_path, monkeypatch):
    panels = []
    draw = _quality_plot._plot_measure
    monkeypatch.setattr(_quality_plot, "_plot_measure", lambda axes, *args: (panels.append(axes), draw(axes, *args)))
    _quality_plot.plot_quality(QUALITY, tmp_path / "quality.png")
    assert [axes.get_title(loc="left") for axes in panels] == list(VALUES)
    assert [[float(line.get_xdata()[0]) for line in axes.lines] for axes in panels] == [[9.0], [], []]
    assert [text.get_text().strip() for text in panels[0].texts] == ["5"]
    assert sum(bar.get_height() for bar in panels[0].patches) == 6
    assert cv2.imread(str(tmp_path / "quality.png")).shape[2] == 3
