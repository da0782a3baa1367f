"""torch's compiler: the whole of ``Policy.sample`` as one compiled function, kept beside the bundle as a shared library.

Compiling takes tens of seconds, once; loading takes well under one. A library that this user did not compile is never loaded.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from praxon.errors import ConfigError
from praxon.policies.bundle import Bundle
from praxon.policies.denoising.backends.machine import cpu_flags
from praxon.policies.denoising.backends.registry import Serving, cache_folder
from praxon.policies.denoising.backends.seal import seal, sealed
from praxon.policies.denoising.tracing import differentiates, require_fixed, straight_line
from praxon.policies.torch_runtime import TorchRuntime


class CompiledRuntime(TorchRuntime):
    """A bundle's function compiled ahead of time, for one number of chunks.

    Args:
        bundle: whose policy is compiled.
        serving: how.

    Raises:
        ConfigError: the compiler refused the policy.
    """

    name = "compile"

    def __init__(self, bundle: Bundle, serving: Serving) -> None:
        require_fixed(bundle.policy)
        super().__init__(bundle.policy.to(serving.device), serving.precision)
        torch.set_num_threads(serving.threads)
        self.batch = serving.batch
        flags = hashlib.sha256(" ".join(sorted(cpu_flags())).encode()).hexdigest()[:8]
        folder = cache_folder(bundle, serving, {"torch": torch.__version__, "processor": flags})
        package = folder / "chunk.pt2"
        if not sealed(package):
            folder.mkdir(parents=True, exist_ok=True)
            self._compile(package)
        self._compiled: Any = torch._inductor.aoti_load_package(str(package))

    def call(self, arrays: list[Tensor]) -> np.ndarray:
        """See ``TorchRuntime.call``."""
        if len(arrays[0]) != self.batch:
            raise ConfigError(
                f"This function was compiled for {self.batch} chunks at once; {len(arrays[0])} were asked for. "
                f"batch={len(arrays[0])} compiles one for as many."
            )
        with torch.no_grad():
            chunks: Tensor = self._compiled(*(array.to(self.policy.device) for array in arrays))
        return chunks.cpu().numpy()

    def _compile(self, package: Path) -> None:
        partial = package.with_name(f".{package.stem}.{os.getpid()}.pt2")
        try:
            with torch.no_grad(), torch._inductor.config.patch({"freezing": True}):
                examples = self.function.examples(self.batch)
                differs = differentiates(self.policy)
                function = straight_line(self.function, examples) if differs else self.function
                program = torch.export.export(function, examples)
                torch._inductor.aoti_compile_and_package(program, package_path=str(partial))
            partial.replace(package)
            seal(package)
        except Exception as error:
            kind = type(self.policy).__name__
            first = str(error).strip().splitlines()[:1]
            raise ConfigError(
                f"{kind} cannot be compiled: {type(error).__name__}: {''.join(first)}. backend=eager runs every policy."
            ) from error
        finally:
            partial.unlink(missing_ok=True)
