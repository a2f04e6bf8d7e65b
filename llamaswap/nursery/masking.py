"""Show a command without what must not be seen in a log. Source: telemetry §1.7."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator

HIDDEN = "[REDACTED]"
_NAME = re.compile(
    r"(?i)(?:^|[-_.])(?:(?:api|hf|auth|access|secret)[-_]?key|keys?|token|password|passwd|secret"
    r"|credentials?|bearer)$"
)
_VALUE = re.compile(r"^(?:sk-|hf_|ghp_|Bearer\s)\S+")


def shown_command(argv: Iterable[str]) -> str:
    """The command as a shell would take it, values that look like secrets hidden."""
    return shlex.join(_masked(argv)).replace(f"'{HIDDEN}'", HIDDEN)


def _masked(argv: Iterable[str]) -> Iterator[str]:
    hide_next = False
    for word in argv:
        name, equals, value = word.partition("=")
        if hide_next and not word.startswith("-"):
            hide_next = False
            yield HIDDEN
            continue
        hide_next = False
        if equals and value and _NAME.search(name):
            yield f"{name}={HIDDEN}"
        elif _VALUE.match(value if equals else word):
            yield f"{name}={HIDDEN}" if equals else HIDDEN
        else:
            hide_next = word.startswith("-") and not equals and _NAME.search(word) is not None
            yield word
