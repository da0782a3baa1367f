"""Polygon and rectangle: hand-computed areas, and agreement with counting points."""

import numpy as np
import pytest

from praxon.sim.overlap import overlap

UNIT = (np.array([0.0, 0.0]), np.array([1.0, 1.0]))
TRIANGLE = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])


@pytest.mark.parametrize(
    ("polygon", "area"),
    [
        (TRIANGLE, 1.0),  # the square touches the hypotenuse
        (TRIANGLE / 2, 0.5),
        (TRIANGLE + [0.5, 0.5], 0.25),
        (TRIANGLE + [1.0, 0.0], 0.0),
        (TRIANGLE * 10 - 5, 1.0),
        (np.array([[-1.0, 0.5], [0.5, -1.0], [2.0, 0.5], [0.5, 2.0]]), 1.0),
        (np.array([[0.5, -0.5], [1.5, 0.5], [0.5, 1.5], [-0.5, 0.5]]), 1.0),
        (np.array([[0.5, 0.0], [1.0, 0.5], [0.5, 1.0], [0.0, 0.5]]), 0.5),
    ],
)
def test_hand_computed(polygon, area):
    assert overlap(polygon, *UNIT) == pytest.approx(area)


def test_a_polygon_need_not_be_convex():
    corner = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 0.5], [0.5, 0.5], [0.5, 2.0], [0.0, 2.0]])
    assert overlap(corner, *UNIT) == pytest.approx(0.75)


def test_many_polygons_and_rectangles_at_once():
    polygons = np.stack([TRIANGLE, TRIANGLE / 2])
    lower, upper = np.array([[0.0, 0.0], [1.0, 0.0], [5.0, 5.0]]), np.array([[1.0, 1.0], [2.0, 1.0], [6.0, 6.0]])
    assert overlap(polygons[:, None], lower, upper) == pytest.approx(np.array([[1.0, 0.5, 0.0], [0.5, 0.0, 0.0]]))
