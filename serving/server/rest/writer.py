"""JSON text laid out as the real server's: RapidJSON's PrettyWriter and its way of writing decimals."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

_INDENT = 4


class PrettyWriter:
    """Writes one JSON document, token by token.

    While `single_line` is set, elements of arrays stand on one line. It can be changed in the middle of an
    array, as the real server does, which is why its `predictions` close on a line of their own.
    """

    def __init__(self) -> None:
        self.single_line = False
        self._out: list[str] = []
        self._levels: list[list[Any]] = []  # [in array, number of values written]

    def text(self) -> bytes:
        """The document so far. Bytes of strings that are not UTF-8 come out as they went in."""
        return "".join(self._out).encode("utf-8", "surrogateescape")

    def start_object(self) -> None:
        """Opens an object."""
        self._open("{", False)

    def end_object(self) -> None:
        """Closes the object."""
        _, count = self._levels.pop()
        if count:
            self._new_line()
        self._out.append("}")

    def start_array(self) -> None:
        """Opens an array."""
        self._open("[", True)

    def end_array(self) -> None:
        """Closes the array."""
        _, count = self._levels.pop()
        if count and not self.single_line:
            self._new_line()
        self._out.append("]")

    def string(self, value: str) -> None:
        """Writes a string, or the key of an object."""
        self._prefix()
        self._out.append(quote(value))

    def raw(self, value: str) -> None:
        """Writes a value that is JSON already."""
        self._prefix()
        self._out.append(value)

    def _open(self, bracket: str, is_array: bool) -> None:
        self._prefix()
        self._out.append(bracket)
        self._levels.append([is_array, 0])

    def _new_line(self) -> None:
        self._out.append("\n" + " " * (_INDENT * len(self._levels)))

    def _prefix(self) -> None:
        if not self._levels:
            return
        level = self._levels[-1]
        is_array, count = level
        level[1] += 1
        if is_array:
            if count:
                self._out.append(", " if self.single_line else ",")
            if not self.single_line:
                self._new_line()
        elif count % 2:
            self._out.append(": ")
        else:
            if count:
                self._out.append(",")
            self._new_line()


def quote(value: str) -> str:
    """A JSON string; as in RapidJSON only control characters, quotes and backslashes are escaped."""
    text = json.dumps(value, ensure_ascii=False)
    if "\\u" not in text:
        return text
    return '"' + "".join(_escape(c) for c in value) + '"'


def _escape(character: str) -> str:
    if character < " " and character not in "\b\f\n\r\t":
        return f"\\u{ord(character):04X}"
    return json.dumps(character, ensure_ascii=False)[1:-1]


def decimal(value: Any) -> str:
    """A float32 or float64 as the real server writes it: six digits if they are enough, else all.

    `decimal(np.float32(0.2))` is "0.2", `decimal(np.float32(3))` "3.0", `decimal(np.float32(9e6))` "9e+06".
    """
    number = float(value)
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "-Infinity" if number < 0 else "Infinity"
    text = f"{number:.6g}"
    if type(value)(text) != value:
        text = f"{number:.{9 if isinstance(value, np.float32) else 17}g}"
    return text if "." in text or "e" in text else text + ".0"


def dump(value: Any) -> str:
    """A parsed JSON value as text, for error messages."""
    writer = PrettyWriter()
    _dump(writer, value)
    return writer.text().decode("utf-8", "replace")


def _dump(writer: PrettyWriter, value: Any) -> None:
    if isinstance(value, dict):
        writer.start_object()
        for key, item in value.items():
            writer.string(key)
            _dump(writer, item)
        writer.end_object()
    elif isinstance(value, list):
        writer.start_array()
        for item in value:
            _dump(writer, item)
        writer.end_array()
    elif isinstance(value, str):
        writer.string(value)
    elif isinstance(value, float):
        writer.raw(decimal(np.float64(value)))
    else:
        writer.raw(json.dumps(value))
