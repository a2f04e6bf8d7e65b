"""Change members of a JSON body and leave every other byte alone: order, literals, escapes.

What is changed is addressed by a dotted path: `a.b` is member `b` of object `a`; digits index an
existing array, `-1` appends (set) or means the last element (strip); `\\.` is a literal dot; a
colon before digits forces an object's key. Source: http-api §2.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from attrs import define, frozen

from llamaswap.errors import LlamaswapError
from llamaswap.proxy.json_body import elements, members

WILD = frozenset("*?#|")
LAST = -1


class EditFailed(LlamaswapError):
    """What the configuration wants of the body cannot be done."""


@frozen
class Step:
    """One segment of a path."""

    key: str
    index: int | None = None
    """Into an array; LAST: its end; None: the segment means no array."""
    forced: bool = False
    """A colon made it a key, also where a number would make an array."""


@frozen
class Path:
    """A dotted path, taken apart."""

    text: str
    steps: tuple[Step, ...]
    """Empty: the path holds a wildcard."""

    @classmethod
    def parse(cls, text: str) -> Path:
        """Take `text` apart."""
        segments: list[str] = [""]
        wild = text.startswith("@")
        characters = iter(text)
        for character in characters:
            if character == "\\":
                segments[-1] += next(characters, "")
            elif character == ".":
                segments.append("")
            else:
                wild = wild or character in WILD
                segments[-1] += character
        return cls(text, () if wild or not text else tuple(map(_step, segments)))


def _step(segment: str) -> Step:
    if segment.startswith(":") and len(segment) > 1:
        number = segment[1:]
        return Step(number, int(number) if _is_number(number) else None, forced=True)
    if segment == "-1":
        return Step(segment, LAST)
    return Step(segment, int(segment) if _is_number(segment) else None)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 7  # more elements are a mistake


@frozen
class Edits:
    """What is done to every JSON body that goes to one destination, in this order."""

    strip: tuple[Path, ...] = ()
    put: tuple[tuple[Path, bytes], ...] = ()
    """Paths and the JSON texts to set."""

    @classmethod
    def of(cls, strip: Iterable[str], *layers: Mapping[str, Any]) -> Edits:
        """Edits for names as a configuration spells them; a later layer wins. `model` is never
        among them."""
        return cls(
            tuple(Path.parse(name) for name in strip if name != "model"),
            tuple(
                (Path.parse(name), msgspec.json.encode(layer[name]))
                for layer in layers
                for name in sorted(layer)
                if name != "model"
            ),
        )

    def __bool__(self) -> bool:
        return bool(self.strip or self.put)


def edit(body: bytes | bytearray, model: str | None, edits: Edits | None) -> bytes | bytearray:
    """Put `model` in for every top-level `model` (None: leave it), then carry out `edits`.

    The body must be valid JSON with an object at its top. With nothing to change, the very same
    bytes come back.

    Raises:
        EditFailed: a path that cannot be stripped or set.
    """
    top = _Object.parse(body)
    if model is not None:
        value = msgspec.json.encode(model)
        for entry in top.entries:
            if entry.key == "model":
                entry.value = value
    if edits is not None:
        for path in edits.strip:
            if not path.steps:
                raise EditFailed(f"error stripping parameter {path.text} from request")
            top.strip(path.steps)
        for path, text in edits.put:
            if path.steps:
                try:
                    top.put(path.steps, text)
                except _NoSuchPlace as exc:
                    raise EditFailed(f"error setting parameter {path.text} in request") from exc
    return top.render()


class _NoSuchPlace(Exception):
    """A key that is no number was to be set in an array."""


@define
class _Entry:
    key: str
    gap: bytes | memoryview
    """From the value before (or the opening brace) to the key."""
    label: bytes | memoryview
    """The key, the colon, blanks."""
    value: bytes | memoryview


@define
class _Object:
    """An object, taken apart so that what is left alone is put together as it was."""

    front: bytes | memoryview
    entries: list[_Entry]
    tail: bytes | memoryview

    @classmethod
    def parse(cls, text: bytes | bytearray) -> _Object:
        view = memoryview(text)
        opening = text.index(b"{") + 1
        entries, last = [], opening
        for member in members(text):
            entries.append(
                _Entry(
                    member.key,
                    view[last : member.at],
                    view[member.at : member.start],
                    view[member.start : member.end],
                )
            )
            last = member.end
        return cls(view[:opening], entries, view[last:])

    def render(self) -> bytes:
        parts: list[bytes | memoryview] = [self.front]
        for entry in self.entries:
            parts += (entry.gap, entry.label, entry.value)
        parts.append(self.tail)
        return b"".join(parts)

    def strip(self, steps: tuple[Step, ...]) -> None:
        """Remove what the path leads to, in every duplicate; nothing there: nothing happens."""
        step, rest = steps[0], steps[1:]
        if rest:
            for entry in self.entries:
                if entry.key == step.key:
                    entry.value = _strip(entry.value, rest)
            return
        kept = [entry for entry in self.entries if entry.key != step.key]
        if kept and kept[0] is not self.entries[0]:
            kept[0].gap = self.entries[0].gap  # without the comma of what stood before
        self.entries = kept

    def put(self, steps: tuple[Step, ...], text: bytes) -> None:
        """Set what the path leads to, in every duplicate; append it if there is none."""
        step, rest = steps[0], steps[1:]
        found = False
        for entry in self.entries:
            if entry.key == step.key:
                found = True
                entry.value = _put(entry.value, rest, text)
        if not found:
            label = msgspec.json.encode(step.key) + b":"
            gap = b"," if self.entries else b""
            self.entries.append(_Entry(step.key, gap, label, _make(rest, text)))


def _strip(value: bytes | memoryview, steps: tuple[Step, ...]) -> bytes | memoryview:
    text = bytes(value)
    if text[:1] == b"{":
        inner = _Object.parse(text)
        inner.strip(steps)
        return inner.render()
    if text[:1] != b"[":
        return value
    spans = list(elements(text))
    index = steps[0].index
    if index == LAST:
        index = len(spans) - 1
    if index is None or not 0 <= index < len(spans):
        return value
    start, end = spans[index]
    if steps[1:]:
        return b"".join((text[:start], _strip(text[start:end], steps[1:]), text[end:]))
    if index + 1 < len(spans):
        return text[:start] + text[spans[index + 1][0] :]
    if index:
        return text[: spans[index - 1][1]] + text[end:]
    return text[:start] + text[end:]


def _put(value: bytes | memoryview, steps: tuple[Step, ...], new: bytes) -> bytes:
    """`value` with `new` at the end of the path, which may be no steps away."""
    if not steps:
        return new
    text = bytes(value)
    if text[:1] == b"{":
        inner = _Object.parse(text)
        inner.put(steps, new)
        return inner.render()
    if text[:1] != b"[":
        return _make(steps, new)  # a scalar or null gives way
    spans = list(elements(text))
    index = steps[0].index
    if index is None:
        raise _NoSuchPlace
    if 0 <= index < len(spans):
        start, end = spans[index]
        return b"".join((text[:start], _put(text[start:end], steps[1:], new), text[end:]))
    missing = 0 if index == LAST else index - len(spans)
    added = b",".join([*[b"null"] * missing, _make(steps[1:], new)])
    last = spans[-1][1] if spans else 1
    return b"".join((text[:last], b"," if spans else b"", added, text[last:]))


def _make(steps: tuple[Step, ...], new: bytes) -> bytes:
    """What does not exist yet: objects, or an array where a number stands."""
    for step in reversed(steps):
        if step.index is None or step.forced:
            new = b"{" + msgspec.json.encode(step.key) + b":" + new + b"}"
        else:
            nulls = 0 if step.index == LAST else step.index
            new = b"[" + b"null," * nulls + new + b"]"
    return new
