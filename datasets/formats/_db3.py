"""rosbag2's SQLite files (.db3), read only and in the order of recording, so that a damaged one reads as far as it goes.

Source: the tables that rosbag2_storage_sqlite3 writes, schema versions 1 to 4. Nothing is written beside the file: it is
opened as immutable, unless a write-ahead log lies beside it, which holds the newest messages of a recorder that was killed.
"""

import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import quote

from praxon.datasets.formats._expand import MAX_BYTES
from praxon.datasets.formats._mcap import Stored, Topic
from praxon.errors import DatasetError

MAGIC = b"SQLite format 3\0"


class Db3File:
    """One file.

    Attributes:
        interrupted: how reading ended where it did not reach the end, else an empty string; known after ``scan``.
        texts: the bag's metadata as YAML by ('rosbag2', 'serialized_metadata'), where stored; known after ``scan``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.interrupted = ""
        self.texts: dict[tuple[str, str], str] = {}

    def scan(self) -> Iterator[Stored]:
        """Every message, in the order of the file.

        Raises:
            DatasetError: it is no such file, or nothing can be read of it.
        """
        count = 0
        connection = self._connect()
        try:
            topics = self._topics(connection)
            last = 0
            rows = connection.execute("SELECT id, topic_id, timestamp, data FROM messages ORDER BY id")
            for number, topic, received_ns, data in rows:
                whole = isinstance(number, int) and isinstance(received_ns, int) and isinstance(data, bytes)
                if not whole or topic not in topics or (count and number <= last) or received_ns < 0:
                    self.interrupted = f"is damaged after {count} messages"
                    break
                yield Stored(topics[topic], received_ns, data, (number, 0, len(data)))
                count, last = count + 1, number
            self._read_metadata(connection)
        except sqlite3.Error as error:
            if not count:
                raise self._unreadable(error) from error
            self.interrupted = f"is damaged after {count} messages"
        finally:
            connection.close()

    def read(self, place: tuple[int, int, int]) -> bytes:
        """Bytes of a message that ``scan`` has placed."""
        connection = self._connect()
        try:
            row = connection.execute("SELECT data FROM messages WHERE id = ?", place[:1]).fetchone()
        except sqlite3.Error as error:
            raise self._unreadable(error) from error
        finally:
            connection.close()
        if row is None or not isinstance(row[0], bytes):
            raise self._unreadable("a message is gone")
        return row[0]

    # -- pieces -----------------------------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
        log = self.path.with_name(self.path.name + "-wal")
        how = "vfs=unix-none" if log.is_file() and log.stat().st_size else "immutable=1"
        try:
            with self.path.open("rb") as file:
                if file.read(len(MAGIC)) != MAGIC:
                    raise DatasetError(f"'{self.path}' does not begin as an SQLite file does.")
            connection = sqlite3.connect(f"file:{quote(str(self.path.absolute()))}?mode=ro&{how}", uri=True)
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_BYTES)
            connection.execute("PRAGMA trusted_schema = OFF")
            # Nothing is written; but with this a file that is shorter than it says is read as far as it goes.
            connection.execute("PRAGMA writable_schema = ON")
            # The index of a write-ahead log is then kept in memory and not in a file beside it.
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.text_factory = partial(str, encoding="utf-8", errors="replace")
        except OSError as error:
            raise DatasetError(f"'{self.path}' cannot be opened: {error.strerror}.") from error
        except sqlite3.Error as error:
            raise self._unreadable(error) from error
        return connection

    def _topics(self, connection: sqlite3.Connection) -> dict[int, Topic]:
        tables = {
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0")
        }
        if not {"messages", "topics"} <= tables:
            found = ", ".join(sorted(map(str, tables))) or "none"
            raise DatasetError(
                f"'{self.path}' is no recording: it needs the tables messages and topics, and has {found}."
            )
        definitions = {}
        if "message_definitions" in tables:
            rows = connection.execute(
                "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
            )
            definitions = {str(name): (str(text), str(encoding)) for name, encoding, text in rows}
        rows = connection.execute("SELECT id, name, type, serialization_format FROM topics")
        return {
            number: Topic(str(name), str(kind), str(encoding), *definitions.get(str(kind), ("", "")))
            for number, name, kind, encoding in rows
        }

    def _read_metadata(self, connection: sqlite3.Connection) -> None:
        known = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND rootpage > 0 AND name = 'metadata'"
        if connection.execute(known).fetchone()[0]:
            for (text,) in connection.execute("SELECT metadata FROM metadata ORDER BY id"):
                self.texts["rosbag2", "serialized_metadata"] = str(text)

    def _unreadable(self, error: object) -> DatasetError:
        reason = " ".join(str(error).split())[:200]
        return DatasetError(f"'{self.path}' cannot be read as an SQLite recording: {reason}.")
