"""Numbers to tokens.

Shapes: B batch, O observation steps, D width.
"""

from torch import Tensor, nn
from torch.nn import functional as F


class StateEncoder(nn.Module):
    """Two-layer perceptron, (B, O, size) -> (B, O, D)."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(size, 2 * width)
        self.out = nn.Linear(2 * width, width)

    def forward(self, state: Tensor) -> Tensor:
        return self.out(F.gelu(self.hidden(state)))
