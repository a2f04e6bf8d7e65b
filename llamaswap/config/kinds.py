"""The kinds of value a key can take, and how each is read from the document.

Source: config §2.2.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, NewType

from llamaswap.config.document import Listing, Node, Scalar, Table, is_null, kind
from llamaswap.config.problems import KeyPath

if TYPE_CHECKING:  # a default needs no wrapping, and a value read is an ordinary one
    Text = str
    Whole = int
    Number = float
    Flag = bool
    Duration = float
    Anything = Any
else:  # but the reader must tell them apart
    Text = NewType("Text", str)
    Whole = NewType("Whole", int)
    Number = NewType("Number", float)
    Flag = NewType("Flag", bool)
    Duration = NewType("Duration", float)  # seconds
    Anything = NewType("Anything", object)  # whatever JSON can hold

_YES = frozenset({"y", "Y", "yes", "Yes", "YES", "on", "On", "ON"})
_NO = frozenset({"n", "N", "no", "No", "NO", "off", "Off", "OFF"})
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
_PART = r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)"
_DURATION = re.compile(rf"[-+]?(?:{_PART})+", re.ASCII)
_DURATION_PART = re.compile(_PART, re.ASCII)
_MAX_INT = 2**63 - 1
_SHOWN = 60


def meta(key: str, text: str, **more: object) -> dict[str, Any]:
    """The metadata of a field: its key in the file and the sentence an editor shows for it."""
    return {"key": key, "text": text, **more}


MACRO_KEYS = r"^(?!(PID|PORT|MODEL_ID)$)[A-Za-z0-9_-]{1,63}$"
"""What editors are told of macro names; the loader has more to say, see `macros`."""


class BadValue(Exception):
    """A value that its key cannot take. The text says what was expected."""

    def __init__(self, text: str, node: Node, *, code: str = "E-TYPE", at: KeyPath = ()) -> None:
        super().__init__(text)
        self.text = text
        self.node = node
        self.code = code
        self.at = at
        """Where below the key it stands, for values that are read in one piece."""


def read_text(node: Node) -> Text:
    """The source text of any scalar."""
    if not isinstance(node, Scalar):
        raise BadValue("text", node)
    return "" if node.value is None else node.text


def read_whole(node: Node) -> Whole:
    """An integer of 64 bits; the fraction of a float is cut off."""
    value = node.value if isinstance(node, Scalar) else ""
    if value is None:
        return 0
    if type(value) is float and math.isfinite(value):
        value = int(value)
    if type(value) is not int or not -_MAX_INT - 1 <= value <= _MAX_INT:
        raise BadValue("a whole number", node)
    return value


def read_number(node: Node) -> Number:
    """A finite number."""
    value = node.value if isinstance(node, Scalar) else ""
    if value is None:
        return 0.0
    if type(value) not in (int, float) or not math.isfinite(float(value)):
        raise BadValue("a number", node)
    return float(value)


def read_flag(node: Node) -> Flag:
    """True or false, or the words people use for them, but not the text "true"."""
    value = node.value if isinstance(node, Scalar) else 0
    if type(value) is bool:
        return value
    if value is None or value in _NO:
        return False
    if value in _YES:
        return True
    raise BadValue("true or false", node)


def read_duration(node: Node) -> Duration:
    """Seconds of a text such as ``1m30s``."""
    value = node.value if isinstance(node, Scalar) else None
    if value == "0":
        return 0.0
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        raise BadValue("a duration such as 5s or 1m30s", node)
    parts = [float(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(value)]
    seconds = math.fsum(parts)
    if not math.isfinite(seconds):
        raise BadValue("a duration such as 5s or 1m30s", node)
    return -seconds if value.startswith("-") else seconds


def read_anything(node: Node) -> Anything:
    """The value as JSON would hold it: dict, list, str, int, float, bool, None."""
    return _plain(node, ())


def _plain(node: Node, at: KeyPath) -> Any:
    match node:
        case Table():
            return {key: _plain(entry, (*at, key)) for key, entry in node.entries.items()}
        case Listing():
            return [_plain(item, (*at, index)) for index, item in enumerate(node.items)]
        case Scalar():
            if isinstance(node.value, float) and not math.isfinite(node.value):
                raise BadValue("a value JSON can hold, which has no infinity or NaN", node, at=at)
            return node.value


def shown(node: Node) -> str:
    """`node` as a problem quotes it."""
    if is_null(node):
        return "nothing"
    if not isinstance(node, Scalar):
        return kind(node)
    text = node.text if len(node.text) <= _SHOWN else f"{node.text[:_SHOWN]}…"
    quoted = text.replace("\n", "\\n")
    return f'the text "{quoted}"' if isinstance(node.value, str) else quoted
