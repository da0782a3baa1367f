"""Packed convolutions are the convolutions that they stand for."""

import pytest
import torch
from torch import nn

from praxon.policies.denoising.backends.packed import can_pack, pack

CASES = [
    (nn.Conv1d(16, 24, 5, padding=2), (2, 16, 8)),
    (nn.Conv1d(16, 16, 3, stride=2, padding=1), (1, 16, 8)),
    (nn.Conv1d(5, 7, 1), (1, 5, 8)),
    (nn.Conv1d(8, 8, 3, padding=2, dilation=2, groups=2, bias=False), (1, 8, 6)),
    (nn.ConvTranspose1d(16, 12, 4, stride=2, padding=1), (1, 16, 8)),
    (nn.ConvTranspose1d(6, 8, 3, stride=2, padding=1, output_padding=1), (2, 6, 5)),
    (nn.Conv2d(3, 8, 7, stride=2, padding=3), (2, 3, 32, 30)),
    (nn.ConvTranspose2d(6, 8, 3, stride=2, padding=1, output_padding=1), (2, 6, 5, 4)),
]
pytestmark = pytest.mark.skipif(not can_pack(), reason="this torch cannot pack")


@pytest.mark.parametrize(("convolution", "shape"), CASES, ids=lambda value: type(value).__name__)
def test_same_numbers(convolution, shape):
    convolution = type(convolution)(**_arguments(convolution))
    x, longer = torch.randn(shape), torch.randn(*shape[:2], *(size + 6 for size in shape[2:]))
    with torch.no_grad():
        expected = [convolution(value) for value in (x, longer, x[0])]
        pack(convolution)
        found = [convolution(value) for value in (x, longer, x[0])]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_state_and_derivatives_stay():
    convolution = nn.Conv1d(4, 6, 3, padding=1)
    names = list(convolution.state_dict())
    x = torch.randn(1, 4, 8, requires_grad=True)
    expected = torch.autograd.grad(convolution(x).square().sum(), x)[0]
    pack(convolution)
    with torch.no_grad():
        convolution(x)
    assert list(convolution.state_dict()) == names
    torch.testing.assert_close(torch.autograd.grad(convolution(x).square().sum(), x)[0], expected)


def test_lower_precision_stays():
    convolution = nn.Conv1d(4, 6, 3, padding=1)
    pack(convolution)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert convolution(torch.randn(1, 4, 8)).dtype == torch.bfloat16


def test_packed_weights_are_used():
    convolution = nn.Conv1d(4, 6, 3, padding=1)
    pack(convolution)
    x = torch.randn(1, 4, 8)
    with torch.no_grad(), torch.profiler.profile() as profiler:
        convolution(x)
        convolution(x)
    counts = {event.key: event.count for event in profiler.key_averages()}
    assert counts["mkldnn::_convolution_pointwise"] == 2
    assert counts["mkldnn::_reorder_convolution_weight"] == 1


def _arguments(convolution):
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "output_padding")
    found = {name: getattr(convolution, name) for name in names}
    if not convolution.transposed:
        del found["output_padding"]
    return found | {"bias": convolution.bias is not None}
