"""Convolution weights kept as oneDNN multiplies them, so that a chunk on a CPU reads them once at every step.

torch's convolutions take weights as they are trained and rearrange them for the processor at every call: each is read,
written and read again, and in a large network that draws one chunk the rearranging takes most of the time. Here it is done
once. Library, weights and precision stay; only the order of sums may differ.
"""

from typing import Any

import torch
from torch import Tensor, nn

LINES = (nn.Conv1d, nn.ConvTranspose1d)
PICTURES = (nn.Conv2d, nn.ConvTranspose2d)
OPERATIONS = (
    "_reorder_convolution_weight",
    "_convolution_pointwise",
    "_reorder_convolution_transpose_weight",
    "_convolution_transpose_pointwise",
)


def can_pack() -> bool:
    """Whether this torch has the operations; plain convolutions serve where it has not."""
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in OPERATIONS)


def pack(module: nn.Module) -> None:
    """Let every convolution of a frozen module on the CPU use weights that are packed at its first call.

    The parameters stay as they are, for whatever saves, differentiates or traces the module; packed weights need as much
    memory again.
    """
    if not can_pack():
        return
    convolutions: list[Any] = [inner for inner in module.modules() if isinstance(inner, (*LINES, *PICTURES))]
    for convolution in convolutions:
        if convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str):
            convolution.forward = _Packed(convolution)


class _Packed:
    """The forward of a convolution. What is differentiated, traced or not in float32 is computed as torch does.

    A convolution along a line (B, C, T) is one of pictures (B, C, 1, T), which is what can be packed.
    """

    def __init__(self, convolution: Any) -> None:
        self.convolution = convolution
        self.line = isinstance(convolution, LINES)
        across, operations = int(self.line), torch.ops.mkldnn
        padding = [*[0] * across, *convolution.padding]
        ways = [[*[1] * across, *sides] for sides in (convolution.stride, convolution.dilation)]
        if isinstance(convolution, nn.ConvTranspose1d | nn.ConvTranspose2d):
            self.settings = [padding, [*[0] * across, *convolution.output_padding], *ways, convolution.groups]
            self.reorder = operations._reorder_convolution_transpose_weight
            self.multiply = operations._convolution_transpose_pointwise
        else:
            self.settings = [padding, *ways, convolution.groups]
            self.reorder, self.multiply = operations._reorder_convolution_weight, operations._convolution_pointwise
        self.weight: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        plain = self.convolution
        differs = torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu")
        if differs or not x.is_cpu or x.dtype != torch.float32 or x.ndim != plain.weight.ndim:
            answer: Tensor = type(plain).forward(plain, x)
            return answer
        x_BCHW = x[:, :, None] if self.line else x
        if self.weight is None:
            weight = plain.weight.detach()
            self.weight = self.reorder(weight[:, :, None] if self.line else weight, *self.settings, list(x_BCHW.shape))
        y_BCHW: Tensor = self.multiply(x_BCHW, self.weight, plain.bias, *self.settings, "none", [], "")
        return y_BCHW[:, :, 0] if self.line else y_BCHW
