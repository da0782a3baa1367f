"""MCAP files, read record by record from the front, so that a recording that was cut off reads as far as it goes.

Source: the MCAP format specification, version 0. A file is a magic, records of (opcode 1 byte, length 8 bytes, content),
little endian, and the magic again. The index at the end is not used: it says nothing that the records do not say, is missing
where a recorder was killed, and would be one more thing to distrust. Sizes that a file states are checked before memory is taken.

The library ``mcap`` is not used: it stops before a chunk that was cut off, which holds the newest messages, unpacks lz4 to
whatever length it has, and does not say where in the file a message is, which pictures that are read later need.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from praxon.datasets.formats._expand import MAX_BYTES, expand
from praxon.errors import DatasetError

MAGIC = b"\x89MCAP0\r\n"
FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, METADATA, DATA_END = 0x02, 0x03, 0x04, 0x05, 0x06, 0x0C, 0x0F
_HEAD = struct.Struct("<BQ")
_MESSAGE = struct.Struct("<HIQQ")
_CHUNK = struct.Struct("<QQQI")
_NO_CHUNK = -1
SECTOR_BYTES = 512


class Topic(NamedTuple):
    """What a recording says of one stream of messages.

    Args:
        name: with its leading slash.
        message_type: as in ROS 2, 'package/msg/Name'.
        encoding: of its messages; 'cdr' is understood.
        definition: text of the message definition, empty where there is none.
        definition_format: 'ros2msg' or 'ros2idl'.
    """

    name: str
    message_type: str
    encoding: str
    definition: str
    definition_format: str


class Stored(NamedTuple):
    """One recorded message.

    Args:
        topic: what it belongs to.
        received_ns: when the recorder got it [ns].
        data: its bytes.
        place: where it can be read again.
    """

    topic: Topic
    received_ns: int
    data: bytes | memoryview
    place: tuple[int, int, int]


class McapFile:
    """One file.

    Attributes:
        interrupted: how the file ends where it was not finished, else an empty string; known after ``scan``.
        texts: values of the file's metadata records by (record, key); known after ``scan``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.interrupted = ""
        self.texts: dict[tuple[str, str], str] = {}
        self._schemas: dict[int, tuple[str, str, str]] = {}
        self._topics: dict[int, Topic] = {}
        self._partial: int | None = None
        self._chunk: tuple[int, bytes] | None = None

    def scan(self) -> Iterator[Stored]:
        """Every complete message, in the order of the file.

        Raises:
            DatasetError: it is no MCAP file or is damaged; one that merely ends early is read to its end.
        """
        with self._open() as file:
            size = file.seek(0, 2)
            file.seek(max(size - len(MAGIC), 0))
            finished = file.read() == MAGIC and size > len(MAGIC)
            if not finished:
                size = _end_of_content(file, size)
            file.seek(0)
            if file.read(len(MAGIC)) != MAGIC:
                raise DatasetError(f"'{self.path}' does not begin as an MCAP file does.")
            try:
                yield from self._records(file, size, finished)
            except (struct.error, UnicodeDecodeError, IndexError) as error:
                raise self._damaged(file.tell(), "a record's content does not fit its length") from error

    def read(self, place: tuple[int, int, int]) -> bytes:
        """Bytes of a message that ``scan`` has placed."""
        chunk, start, length = place
        if chunk == _NO_CHUNK:
            with self._open() as file:
                file.seek(start)
                return file.read(length)
        if self._chunk is None or self._chunk[0] != chunk:
            with self._open() as file:
                file.seek(chunk - _HEAD.size)
                content = file.read(_HEAD.unpack(file.read(_HEAD.size))[1])
            self._chunk = chunk, self._expanded(content, chunk, partial=chunk == self._partial)
        return self._chunk[1][start : start + length]

    # -- records ----------------------------------------------------------------------------------

    def _records(self, file: BinaryIO, size: int, finished: bool) -> Iterator[Stored]:
        loose = False
        while True:
            begin = file.tell()
            head = file.read(_HEAD.size)
            opcode, length = _HEAD.unpack(head) if len(head) == _HEAD.size else (0, 0)
            start = file.tell()
            if opcode == 0 or start + length > size:
                if finished:
                    raise self._damaged(start, "a record is longer than the file")
                self.interrupted = f"ends within a record at byte {begin}" if begin < size else "has no end"
                if opcode == CHUNK:
                    yield from self._chunk_messages(self._content(file, max(size - start, 0)), start, partial=True)
                return
            if opcode == FOOTER:
                return
            if opcode == CHUNK:
                yield from self._chunk_messages(self._content(file, length), start)
            elif opcode == MESSAGE:
                loose = True
                yield self._message(self._content(file, length), (_NO_CHUNK, start, length))
            elif opcode == DATA_END:
                (told,) = struct.unpack("<I", self._content(file, length)[:4])
                if loose and told and told != self._checksum(start - _HEAD.size):
                    raise self._damaged(start, "the checksum of its messages is wrong")
            elif opcode in (SCHEMA, CHANNEL, METADATA):
                self._describe(opcode, self._content(file, length))
            file.seek(start + length)

    def _chunk_messages(self, content: bytes, start: int, partial: bool = False) -> Iterator[Stored]:
        if partial:
            self._partial = start
        chunk = self._expanded(content, start, partial)
        self._chunk = start, chunk
        view, place = memoryview(chunk), 0
        while place < len(chunk):
            end = place + _HEAD.size
            opcode, length = _HEAD.unpack(view[place:end]) if end <= len(chunk) else (0, len(chunk))
            if end + length > len(chunk):
                if partial:
                    return
                raise self._damaged(start, "a record within a chunk is longer than the chunk")
            if opcode == MESSAGE:
                yield self._message(view[end : end + length], (start, end, length))
            elif opcode in (SCHEMA, CHANNEL):
                self._describe(opcode, bytes(view[end : end + length]))
            place = end + length

    def _expanded(self, content: bytes, start: int, partial: bool) -> bytes:
        """Records in a chunk; of one that was cut off, as many of its bytes as there are."""
        fixed = _CHUNK.size + 4
        if partial and len(content) < fixed:
            return b""
        _, _, size, checksum = _CHUNK.unpack(content[: _CHUNK.size])
        (name_length,) = struct.unpack("<I", content[_CHUNK.size : fixed])
        body = fixed + name_length + 8
        if partial and len(content) < body:
            return b""
        compression = content[fixed : fixed + name_length].decode()
        (stored,) = struct.unpack("<Q", content[fixed + name_length : body])
        if not partial and body + stored != len(content):
            raise self._damaged(start, "a chunk's sizes do not add up")
        expanded = expand(content[body:], compression, size, f"A chunk of '{self.path}'", partial)
        if not partial and checksum and zlib.crc32(expanded) != checksum:
            raise self._damaged(start, "the checksum of a chunk is wrong")
        return expanded

    def _message(self, content: bytes | memoryview, place: tuple[int, int, int]) -> Stored:
        channel, _, received_ns, _ = _MESSAGE.unpack(content[: _MESSAGE.size])
        if channel not in self._topics:
            raise self._damaged(place[1], f"a message belongs to channel {channel}, which is not described")
        if received_ns >= 2**63:
            raise self._damaged(place[1], "a message was received at a time that cannot be")
        chunk, start, length = place
        again = chunk, start + _MESSAGE.size, length - _MESSAGE.size
        return Stored(self._topics[channel], received_ns, content[_MESSAGE.size :], again)

    def _describe(self, opcode: int, content: bytes) -> None:
        if opcode == SCHEMA:
            (number,) = struct.unpack("<H", content[:2])
            name, rest = _text(content[2:])
            encoding, rest = _text(rest)
            self._schemas[number] = name, encoding, _text(rest)[0]
        elif opcode == CHANNEL:
            number, schema = struct.unpack("<HH", content[:4])
            topic, rest = _text(content[4:])
            message_type, definition_format, definition = self._schemas.get(schema, ("unknown", "", ""))
            encoding = _text(rest)[0]
            self._topics[number] = Topic(topic, _ros2_type(message_type), encoding, definition, definition_format)
        else:
            record, rest = _text(content)
            rest = rest[4:]
            while rest:
                key, rest = _text(rest)
                self.texts[record, key], rest = _text(rest)

    # -- pieces -----------------------------------------------------------------------------------

    def _open(self) -> BinaryIO:
        try:
            return self.path.open("rb")
        except OSError as error:
            raise DatasetError(f"'{self.path}' cannot be opened: {error.strerror}.") from error

    def _content(self, file: BinaryIO, length: int) -> bytes:
        if length > MAX_BYTES:
            raise self._damaged(file.tell(), f"a record has {length} bytes, more than the {MAX_BYTES} that are read")
        return file.read(length)

    def _checksum(self, end: int) -> int:
        """CRC-32 of the bytes before ``end``."""
        total = 0
        with self._open() as file:
            while end > 0 and (piece := file.read(min(end, 1 << 20))):
                total, end = zlib.crc32(piece, total), end - len(piece)
        return total

    def _damaged(self, place: int, what: str) -> DatasetError:
        return DatasetError(f"'{self.path}' is damaged near byte {place}: {what}.")


def _text(content: bytes) -> tuple[str, bytes]:
    """A string with its length before it, and what follows."""
    (length,) = struct.unpack("<I", content[:4])
    if 4 + length > len(content):
        raise IndexError
    return content[4 : 4 + length].decode(), content[4 + length :]


def _end_of_content(file: BinaryIO, size: int) -> int:
    """Where zeros begin that fill a sector or more at the end: a disk that lost power may give a file its length only."""
    end = size
    while end:
        start = max(end - (1 << 16), 0)
        file.seek(start)
        content = file.read(end - start).rstrip(b"\0")
        end = start + len(content)
        if content:
            break
    return end if size - end >= SECTOR_BYTES else size


def _ros2_type(name: str) -> str:
    """'package/Name' is what older writers call 'package/msg/Name'."""
    return name.replace("/", "/msg/") if name.count("/") == 1 else name
