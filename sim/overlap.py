"""Area that polygons share with a rectangle, exact, for many polygons at once."""

import numpy as np


def overlap(polygons: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Area of each polygon inside an axis-aligned rectangle [m^2], (...).

    Green's theorem: with F(x, y) = clip(y, y0, y1) where x0 <= x <= x1 and 0 elsewhere, dF/dy is 1 inside the rectangle
    and 0 outside, so the area is -∮ F dx over the polygon's boundary. Each edge is a straight line, on which the
    integral has a closed form. Convex or not, the polygon only has to be simple.

    Args:
        polygons: corners counter-clockwise, (..., V, 2) [m].
        lower: (x0, y0) [m].
        upper: (x1, y1) [m].
    """
    ends = np.concatenate([polygons[..., 1:, :], polygons[..., :1, :]], axis=-2)
    x_start, x_end = polygons[..., 0], ends[..., 0]
    y_start, run, rise = polygons[..., 1], x_end - x_start, ends[..., 1] - polygons[..., 1]
    left, right = np.clip(x_start, lower[0], upper[0]), np.clip(x_end, lower[0], upper[0])
    slope = rise / np.where(run == 0, 1.0, run)
    y_left, y_right = y_start + slope * (left - x_start), y_start + slope * (right - x_start)
    change = y_right - y_left
    level = np.abs(change) < 1e-9
    clipped_left, clipped_right = np.clip(y_left, lower[1], upper[1]), np.clip(y_right, lower[1], upper[1])
    # Antiderivative of clip: y * clip - clip^2 / 2 up to a constant per side, which drops out.
    primitive = clipped_right * (y_right - clipped_right / 2) - clipped_left * (y_left - clipped_left / 2)
    height = np.where(level, clipped_left, primitive / np.where(level, 1.0, change))
    return -(height * (right - left)).sum(axis=-1)
