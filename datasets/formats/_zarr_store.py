"""A zarr store in a folder or a zip, version 2 or 3, read-only: every stored piece is checked before it is unpacked.

Refused: types other than plain numbers, codecs beyond the common compressors (pickle among them, which runs code),
links that lead out of the folder, chunks that are missing, and sizes that cannot be true (``_limits``).
"""

import json
import re
import struct
from collections.abc import AsyncIterator, Iterable
from math import prod
from pathlib import Path
from typing import Any

from zarr import Array, open_array
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype

from praxon.datasets.formats._limits import Limits, reading
from praxon.datasets.formats._stored_files import Files, FolderFiles, ZipFiles
from praxon.errors import DatasetError

COMPRESSORS = ("blosc", "zstd", "lz4", "zlib", "gzip")
PLAIN_CODECS = ("bytes", "crc32c")
NUMBERS_V2 = re.compile(r"[<>|]([biuf])([1248])")
NUMBERS_V3 = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)")
ROOT = re.compile(r"(.*/)?meta/episode_ends/(\.zarray|zarr\.json)")
"""A file of a replay buffer; what precedes ``meta`` is the folder in which a zip holds it."""
MAX_DESCRIPTION = 2**24
"""Size of a metadata file [bytes]."""
OVERHEAD = 4096
"""A chunk that does not shrink is stored a little larger than it is [bytes]."""
ZSTD_MAGIC = 0xFD2FB528


class ZarrStore(Store):
    """Arrays under one root.

    Args:
        path: folder, or zip file; the root may lie in a folder of the zip.
        limits: of sizes.
        missing_chunks: whether a chunk that is not stored counts as zeros, as zarr has it, or as lost.

    Raises:
        DatasetError: it is no zarr store or is damaged; so do all methods over what they find.
    """

    supports_writes = supports_deletes = False
    supports_listing = True

    def __init__(self, path: Path, limits: Limits, missing_chunks: bool) -> None:
        super().__init__(read_only=True)
        self.path, self._limits, self._missing_chunks = path, limits, missing_chunks
        self._expected: dict[str, tuple[str, int]] = {}  # array -> compressor and bytes of an unpacked chunk
        with reading(f"The zarr store '{path}'"):
            self._files: Files = FolderFiles(path) if path.is_dir() else ZipFiles(path, ROOT)
        self._is_open = True

    def where(self, key: str) -> str:
        """Store and key, as errors name them."""
        return f"'{key}' of '{self.path}'"

    def arrays(self, group: str) -> list[str]:
        """Names of the arrays directly in a group, in order."""
        depth, names = group.count("/") + 1, set()
        for key in self._files.sizes:
            parts = key.split("/")
            if len(parts) == depth + 2 and key.startswith(f"{group}/") and parts[-1] in (".zarray", "zarr.json"):
                names.add(parts[-2])
        return sorted(name for name in names if self._description(f"{group}/{name}") is not None)

    def attributes(self) -> dict[str, Any]:
        """Attributes of the root."""
        found = self._json(".zattrs") or (self._json("zarr.json") or {}).get("attributes")
        return found if isinstance(found, dict) else {}

    def array(self, key: str) -> Array[Any]:
        """An array, checked and not yet read."""
        with reading(self.where(key)):
            description = self._description(key)
            if description is None:
                raise DatasetError(f"The zarr store '{self.path}' holds no array '{key}'.")
            shape, chunks, compressor, item_bytes, version = _described(description, self.where(key))
            chunk_bytes = prod(chunks) * item_bytes
            self._limits.check_held(f"A chunk of {self.where(key)}", chunk_bytes)
            stored = sum(self._files.sizes[name] for name in self._files.sizes if name.startswith(f"{key}/"))
            self._limits.check_array(self.where(key), shape, item_bytes, stored)
            self._expected[key] = compressor, chunk_bytes
            return open_array(store=self, path=key, mode="r", zarr_format=2 if version == 2 else 3)

    # -- pieces -----------------------------------------------------------------------------------

    def _description(self, key: str) -> dict[str, Any] | None:
        """Metadata of an array, ``None`` where there is none of that name."""
        found = self._json(f"{key}/.zarray") or self._json(f"{key}/zarr.json")
        return None if found is None or found.get("node_type", "array") != "array" else found

    def _json(self, key: str) -> dict[str, Any] | None:
        if key not in self._files.sizes:
            return None
        with reading(self.where(key)):
            if self._files.sizes[key] > MAX_DESCRIPTION:
                raise DatasetError(f"{self.where(key)} has {self._files.sizes[key]} bytes; metadata is smaller.")
            found = json.loads(self._files.read(key))
            if not isinstance(found, dict):
                raise DatasetError(f"{self.where(key)} holds no mapping; the metadata of an array is expected.")
            return found

    def _chunk(self, key: str) -> bytes | None:
        """A stored chunk whose unpacked size is what its array declares."""
        array = next((name for name in self._expected if key.startswith(f"{name}/")), None)
        if array is None:
            return None
        compressor, chunk_bytes = self._expected[array]
        if key not in self._files.sizes:
            if self._missing_chunks:
                return None
            raise DatasetError(
                f"The chunk {self.where(key)} is not stored, which zarr reads as zeros; "
                "options='{missing_chunks: true}' says that the writer leaves out chunks of zeros."
            )
        if self._files.sizes[key] > chunk_bytes + OVERHEAD:
            raise DatasetError(f"The chunk {self.where(key)} has {self._files.sizes[key]} bytes for {chunk_bytes}.")
        packed = self._files.read(key)
        if compressor in ("zlib", "gzip"):
            self._limits.check_deflated(self.where(key), packed, chunk_bytes, 15 if compressor == "zlib" else 31)
        unpacked = chunk_bytes if compressor in ("", "zlib", "gzip") else _unpacked_bytes(compressor, packed)
        if unpacked != chunk_bytes:
            raise DatasetError(
                f"The chunk {self.where(key)} unpacks into {unpacked} bytes; {chunk_bytes} are expected."
            )
        return packed

    # -- what zarr asks for -----------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        if key.rpartition("/")[2] in (".zarray", ".zattrs", ".zgroup", ".zmetadata", "zarr.json"):
            data = self._files.read(key) if key in self._files.sizes else None
        else:
            data = self._chunk(key)
        if byte_range is not None:
            raise DatasetError(f"{self.where(key)} is read in parts, as sharded arrays are; plain chunks are expected.")
        return None if data is None else prototype.buffer.from_bytes(data)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        return key in self._files.sizes

    async def set(self, key: str, value: Buffer) -> None:
        raise DatasetError(f"{self.where(key)} cannot be written; the store is open for reading.")

    async def delete(self, key: str) -> None:
        raise DatasetError(f"{self.where(key)} cannot be deleted; the store is open for reading.")

    async def list(self) -> AsyncIterator[str]:
        for key in self._files.sizes:
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        for key in self._files.sizes:
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        start = f"{prefix.rstrip('/')}/" if prefix else ""
        for name in sorted({key[len(start) :].split("/")[0] for key in self._files.sizes if key.startswith(start)}):
            yield name


def _described(about: dict[str, Any], where: str) -> tuple[tuple[int, ...], tuple[int, ...], str, int, int]:
    """Shape, chunk shape, compressor, bytes per number and version of an array's metadata, all checked."""
    version = about["zarr_format"]
    if version == 2:
        kind = NUMBERS_V2.fullmatch(str(about["dtype"]))
        item_bytes = int(kind[2]) if kind else 0
        chunks, filters = about["chunks"], about.get("filters") or []
        codecs = [*filters, *([about["compressor"]] if about.get("compressor") else [])]
        names = [str(codec["id"]) for codec in codecs]
    else:
        kind = NUMBERS_V3.fullmatch(str(about["data_type"]))
        item_bytes = int(kind[1] or kind[2] or 8) // 8 if kind else 0
        if about.get("storage_transformers") or about["chunk_grid"]["name"] != "regular":
            raise DatasetError(f"{where} is not stored in regular chunks, which can be read.")
        chunks = about["chunk_grid"]["configuration"]["chunk_shape"]
        names = [str(codec["name"]) for codec in about["codecs"] if codec["name"] not in PLAIN_CODECS]
    if kind is None:
        raise DatasetError(f"{where} holds '{about.get('dtype', about.get('data_type'))}'; plain numbers are expected.")
    if len(names) > 1 or any(name not in COMPRESSORS for name in names):
        raise DatasetError(f"{where} is stored with {', '.join(names)}; one of {', '.join(COMPRESSORS)} can be read.")
    shape = about["shape"]
    if len(shape) != len(chunks) or not all(type(n) is int for n in (*shape, *chunks)) or min(chunks, default=1) < 1:
        raise DatasetError(f"{where} has the shape {shape} in chunks {chunks}; positive whole numbers are expected.")
    return tuple(shape), tuple(chunks), names[0] if names else "", item_bytes, version


def _unpacked_bytes(compressor: str, packed: bytes) -> int:
    """Size after unpacking, as the head of a compressed block says; the codec allocates exactly that."""
    if compressor == "blosc":
        return int(struct.unpack_from("<I", packed, 4)[0])
    if compressor == "lz4":
        return int(struct.unpack_from("<I", packed, 0)[0])
    # Zstandard, RFC 8878, 3.1.1.1: magic number, descriptor, window, dictionary, then the size of the content.
    magic, descriptor = struct.unpack_from("<IB", packed, 0)
    size_flag, single = descriptor >> 6, descriptor >> 5 & 1
    if magic != ZSTD_MAGIC or not (size_flag or single):
        raise DatasetError("a Zstandard chunk without its unpacked size is not read.")
    start = 5 + (not single) + (0, 1, 2, 4)[descriptor & 3]
    if size_flag == 0:
        return packed[start]
    if size_flag == 1:
        return int(struct.unpack_from("<H", packed, start)[0]) + 256
    return int(struct.unpack_from("<I" if size_flag == 2 else "<Q", packed, start)[0])
