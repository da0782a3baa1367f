"""Area that polygons share with rectangles, exact."""

import numpy as np


def overlap(polygon: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Area of a polygon inside axis-aligned rectangles [m^2], the broadcast (...) of polygons and rectangles.

    Green's theorem: with F(x, y) = clip(y, y0, y1) where x0 <= x <= x1 and 0 elsewhere, dF/dy is 1 inside the rectangle
    and 0 outside, so the area is minus the integral of F dx around the polygon. On a straight edge it has a closed form.
    Convex or not, the polygon only has to be simple.

    Args:
        polygon: corners counter-clockwise, (..., V, 2) [m].
        lower: (..., 2) corner (x0, y0) [m].
        upper: (..., 2) corner (x1, y1) [m].
    """
    ends = np.concatenate([polygon[..., 1:, :], polygon[..., :1, :]], axis=-2)
    x_start, y_start = polygon[..., 0], polygon[..., 1]
    x_end, y_end = ends[..., 0], ends[..., 1]
    run = x_end - x_start
    slope = (y_end - y_start) / np.where(run == 0, 1.0, run)
    x_low, x_high = lower[..., 0, None], upper[..., 0, None]
    y_low, y_high = lower[..., 1, None], upper[..., 1, None]
    x_from = np.minimum(np.maximum(x_start, x_low), x_high)
    x_to = np.minimum(np.maximum(x_end, x_low), x_high)
    y_from, y_to = y_start + slope * (x_from - x_start), y_start + slope * (x_to - x_start)
    clip_from = np.minimum(np.maximum(y_from, y_low), y_high)
    clip_to = np.minimum(np.maximum(y_to, y_low), y_high)
    # The mean of clip(y) between two heights; clip has the antiderivative clip(y) (y - clip(y) / 2).
    rise = y_to - y_from
    level = np.abs(rise) < 1e-9
    primitive = clip_to * (y_to - clip_to / 2) - clip_from * (y_from - clip_from / 2)
    mean = np.where(level, clip_from, primitive / np.where(level, 1.0, rise))
    return -(mean * (x_to - x_from)).sum(axis=-1)
