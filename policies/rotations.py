"""Rotations as networks and physics write them: quaternions (w, x, y, z), matrices, and six numbers without a seam.

Quaternions double-cover rotations and Euler angles jump, so that no continuous map leads from rotations to either; a
network has to approximate the jump. The first two **columns** of the rotation matrix are continuous: r6 = (R[:, 0],
R[:, 1]) (Zhou et al., "On the Continuity of Rotation Representations in Neural Networks", CVPR 2019, section 4). The other
convention, two rows (PyTorch3D and what builds on it), is the r6 of the inverse rotation: the two are not interchangeable.

Products are sums of elementwise products on purpose: under mixed precision a matrix product would be rounded to bfloat16.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

# Columns shorter than this have no direction to speak of; the rotation nearest to the identity then fills in.
DEGENERATE = 1e-6


def rotate(left: Tensor, right: Tensor) -> Tensor:
    """Matrix product (..., 3, 3) x (..., 3, n), in the precision of its factors."""
    return (left[..., :, :, None] * right[..., None, :, :]).sum(-2)


def quaternion_to_matrix(quaternion: Tensor) -> Tensor:
    """(..., 4) of any length but zero and either sign -> (..., 3, 3)."""
    w, x, y, z = F.normalize(quaternion, dim=-1).unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def matrix_to_quaternion(matrix: Tensor) -> Tensor:
    """(..., 3, 3) -> unit (..., 4) with w >= 0.

    The matrix ``4 q q^T`` is linear in R. Its row with the largest diagonal entry, which is at least 1, is a multiple of
    q: well conditioned for every rotation, half turns included.
    """
    r = [[matrix[..., i, j] for j in range(3)] for i in range(3)]
    wx, wy, wz = r[2][1] - r[1][2], r[0][2] - r[2][0], r[1][0] - r[0][1]
    xy, xz, yz = r[0][1] + r[1][0], r[0][2] + r[2][0], r[1][2] + r[2][1]
    diagonal = (
        1 + r[0][0] + r[1][1] + r[2][2],
        1 + r[0][0] - r[1][1] - r[2][2],
        1 - r[0][0] + r[1][1] - r[2][2],
        1 - r[0][0] - r[1][1] + r[2][2],
    )
    ww, xx, yy, zz = diagonal
    rows = ((ww, wx, wy, wz), (wx, xx, xy, xz), (wy, xy, yy, yz), (wz, xz, yz, zz))
    outer = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    best = torch.stack(diagonal, dim=-1).argmax(dim=-1)
    row = outer.take_along_dim(best[..., None, None], dim=-2).squeeze(-2)
    quaternion = F.normalize(row, dim=-1)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def matrix_to_six(matrix: Tensor) -> Tensor:
    """(..., 3, 3) -> (..., 6): the first column, then the second."""
    return torch.cat([matrix[..., 0], matrix[..., 1]], dim=-1)


def six_to_matrix(six: Tensor) -> Tensor:
    """Any (..., 6) -> rotation (..., 3, 3): Gram-Schmidt (Zhou et al., equation 15).

    A first column without length becomes the x axis; a second one along the first, the coordinate axis farthest from it.
    """
    first, second = six[..., :3], six[..., 3:]
    eye = torch.eye(3, dtype=six.dtype, device=six.device)
    x = F.normalize(torch.where(_short(first), eye[0].expand_as(first), first), dim=-1)
    y = _across(second, x)
    # A second column of any length may still point along the first.
    along = _short(y) | (y.norm(dim=-1, keepdim=True) <= DEGENERATE * second.norm(dim=-1, keepdim=True))
    y = F.normalize(torch.where(along, _across(eye[x.abs().argmin(dim=-1)], x), y), dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=-1)


def _across(vector: Tensor, unit: Tensor) -> Tensor:
    """The part of a vector at right angles to a unit vector."""
    return vector - (vector * unit).sum(-1, keepdim=True) * unit


def _short(vector: Tensor) -> Tensor:
    return vector.norm(dim=-1, keepdim=True) <= DEGENERATE
