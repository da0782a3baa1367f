"""Pictures that lie as PNG or JPEG files in a Parquet column: without loss, at ten times the size of a video."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

from praxon.datasets.columns import Storage, one_line, open_parquet
from praxon.errors import DatasetError

PNG_MARK = b"\x89PNG\r\n\x1a\n"


def encode_png(picture: np.ndarray) -> bytes:
    """A picture (height, width, 3) uint8 RGB as a PNG file."""
    return cv2.imencode(".png", cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2BGR))[1].tobytes()


class PictureFiles:
    """Pictures that lie as PNG or JPEG files in a Parquet column, decoded when asked for.

    Args:
        name: of the column.
        files: Parquet files, in order.
        rows: of each.
        shape: (height, width, channels) of a picture.
        storage: where the compressed pictures go.

    Raises:
        DatasetError: as ``read_columns``, or where a picture is not in the file.
    """

    def __init__(
        self, name: str, files: Sequence[Path], rows: Sequence[int], shape: tuple[int, ...], storage: Storage
    ) -> None:
        self._name, self._shape = name, shape
        blocks: list[np.ndarray] = []
        sizes: list[np.ndarray] = []
        for path, count in zip(files, rows, strict=True):
            with open_parquet(path, count, {name: None}) as file:
                try:
                    for batch in file.iter_batches(1024, columns=[name]):
                        block, size = self._compressed(batch.column(0), path)
                        kept = storage.allocate(block.shape, block.dtype)
                        kept[:] = block
                        blocks.append(kept)
                        sizes.append(size)
                except (OSError, pa.ArrowException) as error:
                    raise DatasetError(f"'{path}' cannot be read: {one_line(error)}.") from error
        self._blocks = blocks
        self._block_of = np.repeat(np.arange(len(sizes)), [len(size) for size in sizes])
        self._ends = np.concatenate([np.cumsum(size) for size in sizes])
        self._starts = self._ends - np.concatenate(sizes)

    def read(self, number: int) -> np.ndarray:
        """Picture ``number``, (height, width, channels) uint8 RGB."""
        data = self._blocks[self._block_of[number]][self._starts[number] : self._ends[number]]
        height, width, channels = self._shape
        if data[:8].tobytes() == PNG_MARK:  # a few bytes can unpack to gigabytes
            size = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
            if size != (width, height):
                raise DatasetError(
                    f"Picture {number} of the column '{self._name}' is {size[1]}x{size[0]}, not {height}x{width}."
                )
        try:
            picture = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR_RGB)
        except cv2.error:
            picture = None
        if picture is not None and channels == 1:
            picture = picture[..., None]
        if picture is None or picture.shape != (height, width, channels):
            found = "cannot be decoded" if picture is None else f"is {picture.shape}, not {self._shape}"
            raise DatasetError(f"Picture {number} of the column '{self._name}' {found}.")
        return picture

    def _compressed(self, column: pa.Array, path: Path) -> tuple[np.ndarray, np.ndarray]:
        if isinstance(column, pa.ExtensionArray):
            column = column.storage
        if pa.types.is_struct(column.type) and "bytes" in [field.name for field in column.type]:
            column = column.field("bytes")
        if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)) or column.null_count:
            raise DatasetError(
                f"Column '{self._name}' of '{path}' holds {column.type}, {column.null_count} of them null; "
                "pictures must be stored in the file itself."
            )
        offsets = np.frombuffer(column.buffers()[1], np.int64 if pa.types.is_large_binary(column.type) else np.int32)
        offsets = offsets[column.offset : column.offset + len(column) + 1].astype(np.int64)
        data = column.buffers()[2]
        whole = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
        return whole[offsets[0] : offsets[-1]], np.diff(offsets)
