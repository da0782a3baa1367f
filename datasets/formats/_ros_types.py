"""ROS 2 messages from their bytes (CDR), without ROS: rosbags' decoders for the types that features travel in.

rosbags is used because it decodes both kinds of storage's messages in pure Python, several times faster than
mcap-ros2-support, and reads definitions in .msg and in IDL. Its decoders are generated from definitions; here only from those
that it brings along. The definition in a recording is compared with that, never executed.
"""

from functools import cache
from typing import Any

from praxon.datasets.formats._expand import needs_formats
from praxon.datasets.formats._mcap import Topic
from praxon.errors import DatasetError

MAX_DEFINITION_CHARACTERS = 2**16
_IDL_SEPARATOR = "=" * 80 + "\n"


class Decoder:
    """Decodes messages of standard types."""

    def __init__(self) -> None:
        self._store = _standard_types()
        self._checked: set[Topic] = set()

    def decode(self, topic: Topic, data: bytes | memoryview) -> Any:
        """An object with the fields of the message's definition.

        Raises:
            DatasetError: it is encoded otherwise, its type is defined otherwise, or its bytes do not fit it.
        """
        from rosbags.serde import SerdeError

        if topic not in self._checked:
            self._check(topic)
            self._checked.add(topic)
        try:
            return self._store.deserialize_cdr(data, topic.message_type)
        except (SerdeError, IndexError, AssertionError, OverflowError) as error:
            raise DatasetError(f"A message on {topic.name} is no {topic.message_type}: {error}.") from error

    def _check(self, topic: Topic) -> None:
        if topic.encoding != "cdr":
            raise DatasetError(f"Messages on {topic.name} are encoded as '{topic.encoding}'; ROS 2's cdr can be read.")
        if not topic.definition:
            return
        there = self._definition(topic)
        waiting = [topic.message_type]
        while waiting:
            name = waiting.pop()
            expected = self._store.fielddefs[name][1]
            if name not in there or _lower(there[name][1]) != _lower(expected):
                raise DatasetError(f"The recording defines {name} of {topic.name} otherwise than ROS 2 does.")
            waiting += [found for _, description in expected for found in _names_in(description)]

    def _definition(self, topic: Topic) -> Any:
        from rosbags.typesys import TypesysError, get_types_from_idl, get_types_from_msg

        text = topic.definition
        try:
            if len(text) > MAX_DEFINITION_CHARACTERS:
                raise ValueError(f"it has {len(text)} characters")
            if topic.definition_format != "ros2idl":
                return get_types_from_msg(text, topic.message_type)
            parts = text.split(_IDL_SEPARATOR)[1:] if text.startswith(_IDL_SEPARATOR) else ["\n" + text]
            found: dict[str, Any] = {}
            for part in parts:
                found |= get_types_from_idl(part.split("\n", 1)[1])
            return found
        except (TypesysError, ValueError, KeyError, IndexError, AssertionError, RecursionError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DatasetError(
                f"The definition of {topic.message_type} in the recording cannot be read: {reason}."
            ) from error


@cache
def _standard_types() -> Any:
    """Definitions and decoders of ROS 2's own messages; decoders are compiled when first used."""
    try:
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise needs_formats() from error
    return get_typestore(Stores.LATEST)


def _lower(fields: Any) -> list[Any]:
    return [(name.lower(), description) for name, description in fields]


def _names_in(description: Any) -> list[str]:
    """Message types that a field holds: NAME is 2, ARRAY 3 and SEQUENCE 4 in rosbags' descriptions."""
    kind, content = description
    if kind in (3, 4):
        return _names_in(content[0])
    return [content] if kind == 2 else []
