"""Command strings to argument lists. No shell is involved.

Source: config part 4.
"""

from __future__ import annotations

import sys

_SPACE = " \t\n"
_WINDOWS_SPACE = " \t\r\n"
_ESCAPABLE = '$`"\\'  # what a backslash escapes in double quotes


def without_comments(text: str) -> str:
    """`text` without the lines that are comments. Source: config §4.1."""
    if "#" not in text:
        return text
    return "\n".join(line for line in text.split("\n") if not line.strip().startswith("#"))


def split_command(text: str, *, windows: bool = sys.platform == "win32") -> list[str]:
    """The words of a command; empty if there are none. Source: config §4.2 and 4.3."""
    lines = [_without_continuation(line) for line in without_comments(text).split("\n")]
    joined = "\n".join(lines)
    return _windows_words(joined) if windows else _posix_words(joined)


def _without_continuation(line: str) -> str:
    trimmed = line.strip()
    return trimmed[:-1] + " " if trimmed.endswith("\\") else line


def _posix_words(text: str) -> list[str]:
    words: list[str] = []
    word: str | None = None  # None: between words, so that "" is a word of its own
    at = 0
    while at < len(text):
        character = text[at]
        if character in _SPACE:
            if word is not None:
                words.append(word)
            word = None
            at += 1
            continue
        if character == "'":
            part, at = _single_quoted(text, at + 1)
        elif character == '"':
            part, at = _double_quoted(text, at + 1)
        elif character == "\\":
            part = text[at + 1 : at + 2]
            at += 2
            if part == "\n" or (not part and word is None):
                continue  # vanishes, and begins no word
        else:
            part = character
            at += 1
        word = (word or "") + part
    return words if word is None else [*words, word]


def _single_quoted(text: str, at: int) -> tuple[str, int]:
    end = text.find("'", at)
    return (text[at:], len(text)) if end < 0 else (text[at:end], end + 1)


def _double_quoted(text: str, at: int) -> tuple[str, int]:
    part = ""
    while at < len(text) and text[at] != '"':
        follower = text[at + 1 : at + 2]
        if text[at] == "\\" and follower == "\n":
            at += 2
        elif text[at] == "\\" and follower and follower in _ESCAPABLE:
            part += follower
            at += 2
        else:
            part += text[at]
            at += 1
    return part, at + 1


def _windows_words(text: str) -> list[str]:
    words: list[str] = []
    word: str | None = None
    quoted = False
    at = 0
    while at < len(text):
        character = text[at]
        if character in _WINDOWS_SPACE and not quoted:
            if word is not None:
                words.append(word)
            word = None
            at += 1
            continue
        word = word or ""
        if character == "\\":
            run = len(text) - at - len(text[at:].lstrip("\\"))
            at += run
            before_quote = text[at : at + 1] == '"'
            word += "\\" * (run // 2 if before_quote else run)
            if before_quote and run % 2:
                word += '"'
                at += 1
        elif character == '"' and quoted and text[at + 1 : at + 2] == '"':
            word += '"'
            at += 2
        elif character == '"':
            quoted = not quoted
            at += 1
        else:
            word += character
            at += 1
    return words if word is None else [*words, word]
