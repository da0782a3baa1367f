"""Processes that train one policy together, each on its share of every batch; a single process is the simplest case.

``torchrun`` and ``accelerate launch`` start them and tell each its place through the environment; accelerate reads it and
opens the connection. What is said between processes is tensors and JSON.
"""

import inspect
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from praxon.errors import ConfigError

REFUSED = ("FSDP", "DEEPSPEED", "MEGATRON_LM", "TP")
"""What accelerate can be configured for and this trainer is not made for: every process holds the whole policy."""


class Processes:
    """This process and those beside it.

    Args:
        index: of this process, from 0.
        count: of all.
        device: on which this process computes.
    """

    def __init__(self, index: int, count: int, device: torch.device) -> None:
        self.index, self.count, self.device = index, count, device

    @classmethod
    def join(cls, device: str) -> "Processes":
        """The processes that were launched together; this one alone where nothing was launched. Safe to call again.

        Args:
            device: ``cpu`` or ``cuda``; in several processes ``cuda`` is each one's own.

        Raises:
            ConfigError: there is no such device, or a launcher asks for a way of training that is not supported.
        """
        require_device(device)
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls(0, 1, torch.device(device))
        for name in REFUSED:
            if os.environ.get(f"ACCELERATE_USE_{name}", "false").lower() == "true":
                raise ConfigError(
                    f"accelerate is configured for {name}; policies are trained with every process holding the whole network: "
                    "choose plain multi-GPU in accelerate config."
                )
        from accelerate import PartialState

        state = PartialState(cpu=torch.device(device).type == "cpu")
        return cls(state.process_index, state.num_processes, state.device)

    @property
    def is_main(self) -> bool:
        """Whether this process writes what is written: logs, checkpoints, bundles."""
        return self.index == 0

    def gather(self, tensor: Tensor, sizes: Sequence[int]) -> Tensor:
        """The rows of all processes, (sum(sizes), ...), in their order.

        Args:
            tensor: (sizes[index], ...) this process's rows.
            sizes: rows of each process.
        """
        if self.count == 1:
            return tensor
        padded = tensor.new_zeros((max(sizes), *tensor.shape[1:]))
        padded[: len(tensor)] = tensor
        received = [torch.empty_like(padded) for _ in sizes]
        torch.distributed.all_gather(received, padded.contiguous())
        return torch.cat([rows[:size] for rows, size in zip(received, sizes, strict=True)])

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over processes, in place."""
        if self.count > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def say(self, value: Any) -> list[Any]:
        """Every process's value, in their order; plain JSON values."""
        if self.count == 1:
            return [value]
        content = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8).to(self.device)
        sizes = self.gather(torch.tensor([len(content)], device=self.device), [1] * self.count).tolist()
        received = self.gather(content, sizes).cpu().numpy().tobytes()
        ends = torch.tensor(sizes).cumsum(0).tolist()
        return [json.loads(received[end - size : end]) for size, end in zip(sizes, ends, strict=True)]

    def from_main(self, value: Any = None) -> Any:
        """The value of process 0."""
        return self.say(value if self.is_main else None)[0]

    @torch.no_grad()
    def copy_from_main(self, module: nn.Module) -> None:
        """Give the module the parameters that it has in process 0."""
        if self.count > 1:
            for parameter in module.parameters():
                torch.distributed.broadcast(parameter, 0)

    def averaging_gradients(self, module: nn.Module, unused: bool) -> nn.Module:
        """The module, its gradients averaged over the processes by every backward pass.

        Args:
            unused: whether there are parameters that have no part in what it returns.
        """
        if self.count == 1:
            return module
        kind = nn.parallel.DistributedDataParallel
        known = inspect.signature(kind).parameters
        # Buffers are equal everywhere already; from torch 2.13 on the setting has another name.
        buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        settings: dict[str, Any] = {"find_unused_parameters": unused, "gradient_as_bucket_view": True, buffers: False}
        return kind(module, **settings)

    def leave(self) -> None:
        """Close the connection, at the very end."""
        if self.count > 1:
            from accelerate import PartialState

            PartialState().destroy_process_group()


def require_device(name: str) -> None:
    """Refuse a device that this machine has not.

    Raises:
        ConfigError: listing what there is.
    """
    there = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if name not in (*there, *(["cuda"] if len(there) > 1 else [])):
        raise ConfigError(f"Device '{name}' is not available here; training.device={' or '.join(there)} is.")


def accumulating(module: nn.Module, more: bool) -> AbstractContextManager[Any]:
    """Where ``more`` backward passes follow for the same step, processes do not exchange gradients yet."""
    if more and isinstance(module, nn.parallel.DistributedDataParallel):
        return module.no_sync()
    return nullcontext()


class WholeBatch(Mapping[str, Tensor]):
    """The batch of all processes; an entry is gathered when it is read, which all of them have to do.

    Args:
        parts: of this process.
        processes: all.
        sizes: samples of each process.
    """

    def __init__(self, parts: Sequence[Mapping[str, Tensor]], processes: Processes, sizes: Sequence[int]) -> None:
        self._parts, self._processes, self._sizes = parts, processes, sizes
        self._gathered: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._gathered:
            mine = torch.cat([part[name] for part in self._parts])
            flags = mine.dtype is torch.bool  # which NCCL and Gloo do not carry alike
            whole = self._processes.gather(mine.to(torch.uint8) if flags else mine, self._sizes)
            self._gathered[name] = whole.bool() if flags else whole
        return self._gathered[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts[0])

    def __len__(self) -> int:
        return len(self._parts[0])
