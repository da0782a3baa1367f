"""A figure of a dataset's quality: how each measure is spread over the episodes, with those marked that stand out."""

from pathlib import Path
from typing import Any

import numpy as np

from praxon.datasets.quality import Quality

COLUMNS = 4
PLAIN, MARKED = "#20507a", "#c46a2b"
MAX_LABELS = 6
"""Outliers of one measure whose episode is written beside them."""


def plot_quality(quality: Quality, path: Path) -> None:
    """Write a histogram over episodes for each measure; the format follows the name's suffix.

    Args:
        quality: of a dataset.
        path: of the figure, e.g. ``quality.png`` or ``quality.svg``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(quality.measures)
    rows = -(-len(names) // COLUMNS)
    figure = Figure(figsize=(3.2 * COLUMNS, 2.3 * rows), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for place, name in enumerate(names, start=1):
        _plot_measure(figure.add_subplot(rows, COLUMNS, place), quality, name)
    figure.savefig(path)


def _plot_measure(axes: Any, quality: Quality, name: str) -> None:
    measure, values = quality.measures[name], quality.episodes[name]
    outliers = quality.find_outliers([name])
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(name, fontsize=9, loc="left")
    axes.set_xlabel({"1": ""}.get(measure.unit, f"[{measure.unit}]"), fontsize=8)
    axes.tick_params(labelsize=7)
    finite = values[np.isfinite(values)]
    if not len(finite):
        return
    counts, _, _ = axes.hist(finite, bins=min(30, max(8, len(finite) // 3)), color=PLAIN, alpha=0.75)
    for rank, outlier in enumerate(outliers):
        axes.axvline(outlier.value, color=MARKED, linewidth=1)
        if rank < MAX_LABELS:
            height = counts.max() * (1 - 0.14 * rank)
            axes.text(outlier.value, height, f" {outlier.episode}", color=MARKED, fontsize=7, va="top")
