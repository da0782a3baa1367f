"""Point clouds to one token each, whatever the order of their points.

DP3 (Ze et al., arXiv 2403.03954): one small network for every point, the maximum over points, a projection.

Shapes: B batch, N points, D width.
"""

from torch import Tensor, nn

WIDTHS = (64, 128, 256)


class PointCloudEncoder(nn.Module):
    """Points (B, N, 3) -> (B, D): per-point layers with layer norm and ReLU, maximum, linear layer with layer norm.

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inner, outer in zip((3, *WIDTHS[:-1]), WIDTHS, strict=True):
            layers += [nn.Linear(inner, outer), nn.LayerNorm(outer), nn.ReLU()]
        self.points = nn.Sequential(*layers)
        self.out = nn.Sequential(nn.Linear(WIDTHS[-1], width), nn.LayerNorm(width))

    def forward(self, point_BN3: Tensor) -> Tensor:
        return self.out(self.points(point_BN3).amax(dim=1))
