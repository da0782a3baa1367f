"""An HDF5 file opened for reading, in which a group, dataset or attribute is looked at before it is trusted.

Refused: links that leave the file (external and soft links, external storage, virtual datasets), object references and
other types that are not plain, filters that would load a plugin, chunks that were never written (HDF5 reads them as
zeros), and sizes that cannot be true (``_limits``).
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from praxon.datasets.formats._limits import DEFLATE_RATIO, Limits, reading
from praxon.errors import DatasetError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
DEFLATE, SHUFFLE, FLETCHER32, LZF = 1, 2, 3, 32000
FILTERS = {DEFLATE, SHUFFLE, FLETCHER32, LZF}
"""Filters that h5py itself brings; others are shared libraries found at run time."""
VARYING = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])
"""How a row of varying length is stored: its length and where it lies (HDF5 file format 3, VIII.A, with 8-byte addresses)."""
OVERHEAD = 4096
"""A chunk that does not shrink may be stored a little larger than it is [bytes]."""


def h5py() -> Any:
    """The library; a sentence where it is not installed."""
    try:
        import h5py as library
    except ImportError as error:
        raise DatasetError("Reading HDF5 files needs h5py: pip install 'praxon[formats]'.") from error
    return library


def is_installed() -> bool:
    """Whether HDF5 files can be read here."""
    return find_spec("h5py") is not None


class Hdf5File:
    """A file and the checks on what is in it.

    Args:
        path: the file.
        limits: of sizes.

    Raises:
        DatasetError: it is no HDF5 file or is damaged; so do all methods over what they find.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path, self._limits = path, limits
        self._h5py = h5py()
        with reading(f"The HDF5 file '{path}'"):
            self._file = self._h5py.File(path, "r", locking="best-effort")

    def where(self, place: str) -> str:
        """File and key, as errors name them."""
        return f"'{place}' of '{self.path}'"

    def names(self, group: str) -> list[str]:
        """Names in a group."""
        with reading(self.where(group)):
            names = list(self._group(group).keys())
            wrong = [name for name in names if not isinstance(name, str)]
            if wrong:
                raise DatasetError(f"{self.where(group)} holds the name {wrong[0]!r}, which is no text.")
            return names

    def has(self, place: str) -> bool:
        """Whether a group or dataset exists."""
        group, _, name = place.rpartition("/")
        return (not group or self.has(group)) and name in self.names(group)

    def holds_numbers(self, place: str) -> bool:
        """Whether it is a dataset of numbers, rather than a group or text."""
        with reading(self.where(place)):
            found = self._find(place)
            return isinstance(found, self._h5py.Dataset) and found.dtype.kind in "biuf"

    def attribute(self, place: str, name: str) -> Any:
        """An attribute as a plain string or number, ``None`` where there is none."""
        with reading(f"Attribute '{name}' of {self.where(place)}"):
            attributes = self._find(place).attrs
            if name not in attributes:
                return None
            shape = attributes.get_id(name).shape
            if shape and max(shape) > 1:
                raise DatasetError(
                    f"Attribute '{name}' of {self.where(place)} has the shape {shape}; one value is expected."
                )
            value = attributes[name]
            if isinstance(value, bytes):
                value = value.decode()
            if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.size == 1):
                value = value.item()
            if not isinstance(value, (str, int, float)):
                raise DatasetError(
                    f"Attribute '{name}' of {self.where(place)} is {type(value).__name__}; text or a number is expected."
                )
            return value

    def array(self, place: str) -> Any:
        """A dataset of numbers or bytes of fixed length, checked and not yet read."""
        with reading(self.where(place)):
            dataset = self._dataset(place)
            if dataset.dtype.kind not in "biufS":
                raise DatasetError(f"{self.where(place)} holds {dataset.dtype}; numbers are expected.")
            if not dataset.shape:
                raise DatasetError(f"{self.where(place)} is a single value; one row for each frame is expected.")
            self._check_storage(dataset, place)
            return dataset

    def numbers(self, place: str) -> np.ndarray:
        """A dataset of numbers, read."""
        dataset = self.array(place)
        self._limits.check_held(self.where(place), dataset.nbytes)
        with reading(self.where(place)):
            return np.asarray(dataset[()])

    def texts(self, place: str) -> list[str]:
        """A dataset of strings, read."""
        with reading(self.where(place)):
            dataset = self._dataset(place)
            if self._h5py.check_string_dtype(dataset.dtype) is None or len(dataset.shape) != 1:
                raise DatasetError(
                    f"{self.where(place)} holds {dataset.dtype}{dataset.shape}; a list of text is expected."
                )
            self._check_storage(dataset, place)
            self._limits.check_held(self.where(place), dataset.nbytes)
            self._limits.check_held(self.where(place), self._varying_bytes(dataset, place))
            return [item.decode() if isinstance(item, bytes) else str(item) for item in dataset[()]]

    def coded(self, place: str) -> Any:
        """A dataset with one coded picture in each row, of fixed or varying length, checked and not yet read."""
        with reading(self.where(place)):
            dataset = self._dataset(place)
            item = self._h5py.check_vlen_dtype(dataset.dtype) or dataset.dtype
            if item != np.uint8:
                raise DatasetError(f"{self.where(place)} holds {item}; coded pictures in bytes are expected.")
            self._check_storage(dataset, place)
            self._varying_bytes(dataset, place)
            return dataset

    # -- pieces -----------------------------------------------------------------------------------

    def _find(self, place: str) -> Any:
        """Walk there by hard links only; each of them leads to something in this file."""
        found = self._file
        for name in place.split("/") if place else ():
            if not isinstance(found, self._h5py.Group) or name in ("", ".", "..") or name not in found:
                raise DatasetError(f"'{self.path}' holds no '{place}'.")
            if not isinstance(found.get(name, getlink=True), self._h5py.HardLink):
                raise DatasetError(f"{self.where(place)} is a link to elsewhere; only what lies in the file is read.")
            found = found[name]
        return found

    def _group(self, place: str) -> Any:
        found = self._find(place)
        if not isinstance(found, self._h5py.Group):
            raise DatasetError(f"{self.where(place)} is a dataset; a group is expected.")
        return found

    def _dataset(self, place: str) -> Any:
        found = self._find(place)
        if not isinstance(found, self._h5py.Dataset) or found.shape is None:
            raise DatasetError(f"{self.where(place)} is no array; a dataset is expected.")
        if found.external or found.is_virtual:
            raise DatasetError(f"{self.where(place)} is stored in other files; only what lies in the file is read.")
        return found

    def _check_storage(self, dataset: Any, place: str) -> None:
        where, stored = self.where(place), dataset.id.get_storage_size()
        if dataset.size and stored > self.path.stat().st_size:
            raise DatasetError(f"{where} claims {stored} stored bytes; the file has {self.path.stat().st_size}.")
        self._limits.check_array(where, dataset.shape, dataset.dtype.itemsize, stored)
        if dataset.chunks is None:
            if stored < dataset.nbytes:
                raise DatasetError(f"{where} declares {dataset.nbytes} bytes, of which {stored} were ever written.")
            return
        chunk_bytes = int(np.prod(dataset.chunks, dtype=object)) * dataset.dtype.itemsize
        self._limits.check_held(f"A chunk of {where}", chunk_bytes)
        expected = int(np.prod([-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True)], dtype=object))
        found = dataset.id.get_num_chunks()
        if found < expected:
            raise DatasetError(f"{where} holds {found} of {expected} chunks; the others were never written.")
        filters = dataset.id.get_create_plist()
        used = {filters.get_filter(i)[0] for i in range(filters.get_nfilters())}
        if used - FILTERS:
            raise DatasetError(
                f"{where} is compressed by the HDF5 filters {sorted(used)}; gzip, lzf, shuffle and fletcher32 can be read."
            )
        if DEFLATE in used:
            self._check_deflated(dataset, where, chunk_bytes)

    def _varying_bytes(self, dataset: Any, place: str) -> int:
        """Bytes that all rows of varying length claim; HDF5 allocates them before it looks for them, so they are checked."""
        if dataset.dtype.kind != "O":
            return 0
        where, file_bytes = self.where(place), self.path.stat().st_size
        if dataset.id.get_create_plist().get_nfilters():
            raise DatasetError(f"{where} has rows of varying length that are compressed; only plain ones are read.")
        pieces: list[tuple[int, int]] = []
        if dataset.chunks is None:
            pieces.append((dataset.id.get_offset(), dataset.id.get_storage_size()))
        else:
            dataset.id.chunk_iter(lambda chunk: pieces.append((chunk.byte_offset, chunk.size)))
        total = 0
        with self.path.open("rb") as file:
            for offset, size in pieces:
                file.seek(offset)
                lengths = np.frombuffer(file.read(size), VARYING)["length"]
                longest = int(lengths.max(initial=0))
                if longest > file_bytes:
                    raise DatasetError(f"{where} claims a row of {longest} bytes; the whole file has {file_bytes}.")
                total += int(lengths.sum(dtype=np.int64))
        return total

    def _check_deflated(self, dataset: Any, where: str, chunk_bytes: int) -> None:
        """HDF5 unpacks a chunk to its end, whatever was declared; only large stored chunks can be dangerous."""
        if dataset.id.get_storage_size() * DEFLATE_RATIO <= self._limits.max_bytes:
            return
        large: list[tuple[int, ...]] = []

        def look(chunk: Any) -> None:
            if chunk.size > chunk_bytes + OVERHEAD:
                raise DatasetError(f"A chunk of {where} stores {chunk.size} bytes for {chunk_bytes}.")
            if chunk.size * DEFLATE_RATIO > self._limits.max_bytes:
                large.append(tuple(chunk.chunk_offset))

        dataset.id.chunk_iter(look)
        for offset in large:
            mask, packed = dataset.id.read_direct_chunk(offset)
            if not mask:
                self._limits.check_deflated(f"The chunk at {offset} of {where}", packed, chunk_bytes + 4, 15)
