"""Which plain YAML scalars are numbers, booleans and nulls here, and which stay text.

The YAML 1.2 core schema with a few leftovers of 1.1, so not what PyYAML's own resolver does.

Source: config §2.1.
"""

from __future__ import annotations

import math
import re

from llamaswap.config.document import Value

_WORDS: dict[str, Value] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True,
    "false": False, "False": False, "FALSE": False,
    ".nan": math.nan, ".NaN": math.nan, ".NAN": math.nan,
    **{sign + word: math.inf for sign in ("", "+") for word in (".inf", ".Inf", ".INF")},
    **{"-" + word: -math.inf for word in (".inf", ".Inf", ".INF")},
}  # fmt: skip

_FIRST = frozenset("0123456789+-.~nNtTfF")
_BASES = {"0x": 16, "0b": 2, "0o": 8}
_PREFIXED = re.compile(r"([-+]?)(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+)")
_OCTAL = re.compile(r"[-+]?0[0-7]+")
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_LONGEST_INTEGER = 24  # characters; a longer decimal or octal is beyond 64 bits
_MAX_UNSIGNED = 2**64 - 1
_MIN_SIGNED = -(2**63)


def resolve(text: str) -> Value:
    """The value of the plain scalar `text`."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _FIRST or text[0] in "~nNtTfF":
        return text
    digits = text if text[0] == "." else text.replace("_", "")
    number = _integer(digits)
    if number is not None:
        return number
    if _FLOAT.fullmatch(digits):
        value = float(digits)
        return value if math.isfinite(value) else text
    return text


def _integer(text: str) -> int | None:
    """`text` as an integer of 64 bits, signed or unsigned; None: it is none."""
    if prefixed := _PREFIXED.fullmatch(text):
        sign, digits = prefixed.groups()
        number = int(digits[2:], _BASES[digits[:2].lower()])
        number = -number if sign == "-" else number
    elif len(text) > _LONGEST_INTEGER:
        return None
    elif _OCTAL.fullmatch(text):
        number = int(text, 8)
    elif _DECIMAL.fullmatch(text):
        number = int(text)
    else:
        return None
    return number if _MIN_SIGNED <= number <= _MAX_UNSIGNED else None


def number_text(value: float) -> str:
    """The shortest decimal that reads back the same, without an exponent below 1e21.

    Source: config §3.4.
    """
    if not math.isfinite(value):
        return {math.inf: ".inf", -math.inf: "-.inf"}.get(value, ".nan")
    if value == 0:
        return "0"
    if abs(value) >= 1e21:
        return repr(value)
    text = format(_exact(value), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _exact(value: float) -> object:
    from decimal import Decimal  # 2 ms to import, needed only by macros that are fractions

    return Decimal(repr(value))
