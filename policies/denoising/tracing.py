"""A chunk function as a straight line of operations, derivatives included: what exporters take."""

from typing import Any

from torch import Tensor, nn
from torch._decomp import core_aten_decompositions
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel

from praxon.errors import ConfigError
from praxon.policies.base import Policy


def straight_line(function: nn.Module, examples: tuple[Tensor, ...]) -> nn.Module:
    """The same function of tensors of these shapes, its derivatives (``torch.func.vjp``) written out.

    ``torch.export`` follows no derivative; a trace of the operations that were really carried out holds none.

    Args:
        function: whose Python decides nothing by the values of tensors.
        examples: its arguments.
    """
    function.requires_grad_(False)
    with sdpa_kernel(SDPBackend.MATH):  # attention by plain products: the fused kernels' derivatives are in no export
        traced = make_fx(function, decomposition_table=dict(core_aten_decompositions()), tracing_mode="real")(*examples)
    return _Called(traced)


class _Called(nn.Module):
    """A traced module behind a plain ``forward``."""

    def __init__(self, traced: Any) -> None:
        super().__init__()
        self.traced = traced

    def forward(self, *arrays: Tensor) -> Tensor:
        answer: Tensor = self.traced(*arrays)
        return answer


def require_fixed(policy: Policy) -> None:
    """Refuse a policy whose steps depend on values.

    Raises:
        ConfigError: it does.
    """
    if not policy.fixed:
        raise ConfigError(
            f"{type(policy).__name__} decides while it draws how many steps it takes, so that it is no fixed graph; "
            "backend=eager draws its chunks."
        )


def differentiates(policy: Policy) -> bool:
    """Whether a network is differentiated while a chunk is drawn: to be guided, or because it predicts by a slope."""
    engine, network = getattr(policy, "engine", None), getattr(policy, "network", None)
    return (engine is not None and engine.method == "guided") or bool(getattr(network, "differentiates", False))
