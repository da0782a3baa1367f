"""The training log: one JSON line per step in ``metrics.jsonl``, and the same curves for TensorBoard."""

import json
from contextlib import suppress
from pathlib import Path

from praxon.errors import CheckpointError


class MetricsLog:
    """Curves of a run. After a restart it continues where the checkpoint stands; later lines are cut off.

    Args:
        directory: of the run.
        step: of the checkpoint that the run continues from, 0 for a new one.
        tensorboard: also write event files into ``directory/tensorboard``.
    """

    def __init__(self, directory: Path, step: int, tensorboard: bool = True) -> None:
        self._path = directory / "metrics.jsonl"
        self._path.touch()
        kept = _length_up_to(self._path, step)
        self._file = self._path.open("r+", buffering=1, encoding="utf-8")
        self._file.seek(kept)
        self._file.truncate()
        self._writer = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter  # a second to import, so only where curves are wanted

            self._writer = SummaryWriter(str(directory / "tensorboard"), purge_step=step + 1 if step else None)

    def write(self, step: int, **values: float) -> None:
        """Add one step's values.

        Raises:
            CheckpointError: the file system refused.
        """
        try:
            self._file.write(json.dumps({"step": step, **values}) + "\n")
            if self._writer is not None:
                for name, value in values.items():
                    self._writer.add_scalar(f"training/{name}", value, step)
        except OSError as error:
            raise CheckpointError(
                f"The training log '{self._path}' could not be written: {error.strerror or error}; "
                "checkpoints are unchanged, and the same command continues from the last one."
            ) from error

    def close(self) -> None:
        """Flush and close; a disk that is full has been reported by ``write`` or by the checkpoint, so it is not again."""
        with suppress(OSError):
            self._file.close()
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()


def _length_up_to(path: Path, step: int) -> int:
    """Bytes of the lines up to ``step``; a line torn by a kill ends them."""
    length = 0
    with path.open("rb") as file:
        for line in file:
            try:
                if not line.endswith(b"\n") or json.loads(line)["step"] > step:
                    break
            except (ValueError, KeyError, TypeError):
                break
            length += len(line)
    return length
