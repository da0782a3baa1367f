"""Which task is asked for, as a token: one learned vector per task, or its text's embedding through a linear layer.

Shapes: B batch, K tasks, E size of a text embedding, D width.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from praxon.errors import ConfigError, nearest
from praxon.policies.networks.pretrained import read_tensors


class TaskEncoder(nn.Module):
    """One-hot tasks (B, K) -> (B, D).

    Args:
        names: the tasks' instructions in words, (K,).
        width: D.
        embeddings: local safetensors file with one vector (E,) per instruction, under the instruction's own words; learned
            vectors where None.
        size: E, where there are embeddings.

    Raises:
        ConfigError: embeddings without a size.
    """

    table_KE: Tensor

    def __init__(
        self, names: Sequence[str], width: int, embeddings: str | None = None, size: int | None = None
    ) -> None:
        super().__init__()
        self.names, self.embeddings = tuple(names), embeddings
        if embeddings is not None and not size:
            raise ConfigError(
                f"The task embeddings '{embeddings}' were given without their size; the length of one vector is needed."
            )
        inner = len(self.names)
        if embeddings is not None and size:
            inner = size
            # Part of the weights: whoever loads them needs the file no more.
            self.register_buffer("table_KE", torch.full((len(self.names), size), torch.nan))
        self.out = nn.Linear(inner, width)

    def forward(self, one_hot_BK: Tensor) -> Tensor:
        return self.out(one_hot_BK if self.embeddings is None else one_hot_BK @ self.table_KE)

    @torch.no_grad()
    def load_pretrained(self) -> None:
        """Read the embeddings of this policy's tasks; ``ConfigError`` where one is missing or of another size."""
        if self.embeddings is None:
            return
        found = read_tensors(Path(self.embeddings))
        for row_E, name in zip(self.table_KE, self.names, strict=True):
            if name not in found:
                raise ConfigError(
                    f"The embeddings '{self.embeddings}' have none for the task '{name}'.{nearest(name, found)}"
                )
            if found[name].shape != row_E.shape:
                raise ConfigError(
                    f"The embedding of '{name}' in '{self.embeddings}' has shape {tuple(found[name].shape)}; the config says "
                    f"size {len(row_E)}."
                )
            row_E.copy_(found[name])
