"""Regular expressions written for RE2, compiled with Python's `re`.

Source: config §2.14.
"""

from __future__ import annotations

import re
import warnings

_POSIX = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "ascii": r"\x00-\x7f", "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f", "digit": "0-9", "graph": "!-~", "lower": "a-z", "print": " -~",
    "punct": r"!-/:-@\[-`{-~", "space": r"\t\n\v\f\r ", "upper": "A-Z", "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}  # fmt: skip
_CATEGORIES = {"L": r"^\W\d_", "N": r"\d", "Nd": r"\d"}
"""Contents of a character class; those that begin with ^ only work outside of one."""

_PARTS = re.compile(
    r"""
    (?P<literal> \\Q(?P<quoted>.*?)(?:\\E|\Z) )
    | (?P<end> \\z )
    | (?P<posix> \[:(?P<name>[a-z]+):\] )
    | (?P<category> \\p(?:(?P<letter>[A-Z])|\{(?P<long>[A-Za-z]+)\}) )
    | (?P<escaped> \\. )
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)


class BadPattern(Exception):
    """An expression that cannot be compiled."""


def compile_pattern(expression: str) -> re.Pattern[str]:
    """`expression` ready to be searched with.

    Raises:
        BadPattern: with the reason.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "possible nested set": RE2 has no such plans
            return re.compile("".join(_translated(match) for match in _PARTS.finditer(expression)))
    except (re.error, OverflowError, RecursionError) as error:
        raise BadPattern(str(error)) from error


def _translated(match: re.Match[str]) -> str:
    if match["quoted"] is not None:
        return re.escape(match["quoted"])
    if match["end"]:
        return r"\Z"
    if match["name"]:
        return _POSIX.get(match["name"], match[0])
    category = match["letter"] or match["long"]
    if category in _CATEGORIES:
        content = _CATEGORIES[category]
        return f"[{content}]" if content.startswith("^") else content
    return match[0]
