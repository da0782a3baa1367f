"""Rotations: conventions by hand, every rotation survives, what is no rotation becomes one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from praxon.policies.rotations import (
    matrix_to_quaternion,
    matrix_to_six,
    quaternion_to_matrix,
    six_to_matrix,
)

COMPONENT = st.sampled_from([0.0, 1.0, -1.0, 1e-4, -1e-8]) | st.floats(-1, 1)


def test_conventions_by_hand():
    quarter = torch.tensor([0.5**0.5, 0.0, 0.0, 0.5**0.5], dtype=torch.float64)  # about z
    matrix = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(quaternion_to_matrix(quarter), matrix)
    # Two columns, one after the other; two rows would begin (0, -1, 0).
    assert torch.equal(matrix_to_six(matrix), torch.tensor([0.0, 1, 0, -1, 0, 0], dtype=torch.float64))


@settings(max_examples=200, deadline=None)
@given(st.lists(COMPONENT, min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 1e-2))
def test_every_rotation_survives_the_way_through_six_numbers(components):
    quaternion = torch.tensor(components, dtype=torch.float64)
    matrix = quaternion_to_matrix(quaternion)
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(3, dtype=torch.float64), atol=1e-12, rtol=0)
    back = matrix_to_quaternion(six_to_matrix(matrix_to_six(matrix)))
    assert back[0] >= 0
    assert abs(float(back @ quaternion / quaternion.norm())) == pytest.approx(1, abs=1e-12)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1.0, -2.0, 1e-9, 3e-7]) | st.floats(-5, 5), min_size=6, max_size=6))
def test_any_six_numbers_give_a_rotation(numbers):
    matrix = six_to_matrix(torch.tensor(numbers, dtype=torch.float64))
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(3, dtype=torch.float64), atol=1e-9, rtol=0)
    assert torch.linalg.det(matrix).item() == pytest.approx(1, abs=1e-9)


def test_gram_schmidt_keeps_the_first_column_and_the_plane():
    matrix = six_to_matrix(torch.tensor([0.0, 2.0, 0.0, -3.0, 5.0, 0.0]))
    torch.testing.assert_close(matrix, torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]))
    # Nothing to go by: the first column is the x axis, the second the axis farthest from it.
    torch.testing.assert_close(six_to_matrix(torch.zeros(6)), torch.eye(3))
    torch.testing.assert_close(six_to_matrix(torch.tensor([1.0, 0, 0, 4.0, 0, 0])), torch.eye(3))


def test_numbers_that_are_none_stay_none():
    assert torch.isnan(six_to_matrix(torch.full((6,), torch.nan))).any()


def test_gradients_are_finite_at_half_turns():
    six = matrix_to_six(quaternion_to_matrix(torch.tensor([0.0, 1.0, 0.0, 0.0]))).requires_grad_()
    matrix_to_quaternion(six_to_matrix(six)).sum().backward()
    assert torch.isfinite(six.grad).all()
