"""Declared parameters: every one with type, range and description; a wrong one is refused at configure, by name."""

from collections.abc import Sequence
from typing import Any, TypeVar

import yaml
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from praxon.errors import ConfigError, nearest

Value = TypeVar("Value", str, int, float, bool, list[str])

_TYPES = {
    str: Parameter.Type.STRING,
    int: Parameter.Type.INTEGER,
    float: Parameter.Type.DOUBLE,
    bool: Parameter.Type.BOOL,
    list: Parameter.Type.STRING_ARRAY,
}


class Parameters:
    """The parameters of a node.

    An override that cannot be taken does not end the process while it starts: it is remembered, and ``check`` refuses
    the configuration with its name.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._problems: list[str] = []
        self._names: list[str] = []

    def declare(
        self,
        name: str,
        default: Value,
        description: str,
        minimum: float | None = None,
        maximum: float | None = None,
        choices: Sequence[str] = (),
        read_only: bool = False,
    ) -> None:
        """Declare one.

        Args:
            name: of the parameter.
            default: value and, by it, type.
            description: for ``ros2 param describe``, with the unit.
            minimum, maximum: of numbers, both or none.
            choices: of strings.
            read_only: fixed once the node runs.
        """
        descriptor = ParameterDescriptor(description=description, read_only=read_only)
        if minimum is not None and maximum is not None:
            if isinstance(default, float):
                descriptor.floating_point_range = [FloatingPointRange(from_value=minimum, to_value=maximum)]
            else:
                descriptor.integer_range = [IntegerRange(from_value=int(minimum), to_value=int(maximum), step=1)]
        if choices:
            descriptor.additional_constraints = f"one of: {', '.join(choices)}"
        self._names.append(name)
        try:
            # An empty list has no type of its own; declaring by type first would leave it unset.
            value = default if default != [] else Parameter.Type.STRING_ARRAY
            parameter = self._node.declare_parameter(name, value, descriptor)
            if parameter.value is None:
                self._node.set_parameters([Parameter(name, _TYPES[type(default)], default)])
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            between = "" if minimum is None else f" between {minimum:g} and {maximum:g}"
            self._problems.append(
                f"Parameter '{name}' of node '{self._node.get_name()}' takes a {type(default).__name__}{between}, "
                f"as in {name}:={default}: {' '.join(str(error).split())}."
            )
            self._node.declare_parameter(name, default, descriptor, ignore_override=True)

    def check(self) -> None:
        """Raise ``ConfigError`` naming a parameter that was given but is unknown or cannot be taken."""
        if self._problems:
            raise ConfigError(self._problems[0])
        # rclpy keeps what was given on the command line or in files here; there is no public view of it.
        for name in self._node._parameter_overrides:
            if not self._node.has_parameter(name):
                raise ConfigError(
                    f"Node '{self._node.get_name()}' has no parameter '{name}'.{nearest(name, self._names)} "
                    f"Parameters: {', '.join(self._names)}."
                )

    def text(self, name: str, choices: Sequence[str] = ()) -> str:
        """A string parameter; ``ConfigError`` where it is empty or none of the ``choices``."""
        value = str(self._node.get_parameter(name).value)
        if not value or (choices and value not in choices):
            right = f".{nearest(value, choices)} Known: {', '.join(choices)}." if choices else "; give it a value."
            raise ConfigError(f"Parameter '{name}' of node '{self._node.get_name()}' is '{value}'{right}")
        return value

    def settings(self, name: str) -> dict[str, Any]:
        """Settings by name, from a string parameter that holds a YAML mapping; none where it is empty."""
        text = str(self._node.get_parameter(name).value)
        try:
            value = yaml.safe_load(text) or {}
        except yaml.YAMLError:
            value = None
        if not isinstance(value, dict):
            raise ConfigError(
                f"Parameter '{name}' of node '{self._node.get_name()}' is '{text}'; settings by name are needed, such as "
                "'{steps: 5}'."
            )
        return value

    def number(self, name: str) -> float:
        """A number."""
        return float(self._node.get_parameter(name).value)

    def integer(self, name: str) -> int:
        """A whole number."""
        return int(self._node.get_parameter(name).value)

    def texts(self, name: str) -> list[str]:
        """A list of strings."""
        return list(self._node.get_parameter(name).value or [])
