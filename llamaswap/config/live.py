"""The configuration in force: where it came from, and how the last try to replace it went.

Source: config §1.7, web-ui §1 (configuration facts).
"""

from __future__ import annotations

from attrs import define, field, frozen

from llamaswap.config.diff import Difference
from llamaswap.config.load import Loaded
from llamaswap.config.problems import Problem
from llamaswap.config.schema import Config


@frozen(kw_only=True)
class Attempt:
    """One reload that has ended."""

    at: float
    """Seconds of the epoch."""
    trigger: str
    """What asked for it: a signal, or a change of the files."""
    problems: tuple[Problem, ...] = ()
    """Why the sources were refused, then what was doubtful about them."""
    error: str = ""
    """The same as text, or what else went wrong; empty: it succeeded."""
    difference: Difference = field(factory=Difference)
    """What became of the models."""

    @property
    def ok(self) -> bool:
        """Whether the new configuration is in force."""
        return not self.error


@define
class LiveConfig:
    """What runs now. Replaced in place by whoever reloads; everybody else only reads."""

    loaded: Loaded
    loaded_at: float
    """Seconds of the epoch."""
    generation: int = 1
    """Counts the configurations that were in force, this one included."""
    watching: bool = False
    """Whether changes of the files are noticed."""
    last_reload: Attempt | None = None
    """None: nobody asked for one yet."""

    @property
    def config(self) -> Config:
        """The resolved configuration."""
        return self.loaded.config
