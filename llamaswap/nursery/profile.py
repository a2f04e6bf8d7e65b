"""Which profile is active: state of the process, none at its start. Source: http-api §8.4."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from attrs import define, field

from llamaswap.config.schema import Profile
from llamaswap.errors import LlamaswapError
from llamaswap.telemetry.bus import EventBus, ProfileChanged

logger = logging.getLogger(__name__)


class ProfileUnknown(LlamaswapError):
    """No profile has that name."""

    status = 404


@define(eq=False)
class ActiveProfile:
    """The profiles of the configuration in force, and the choice among them."""

    profiles: Mapping[str, Profile]
    bus: EventBus
    name: str | None = None
    pins: Mapping[str, str] = field(factory=dict)
    """Of the active profile; a request takes them once, at its beginning."""

    def activate(self, name: str | None) -> None:
        """Make a profile the active one; None: no profile. Tells the bus if that is a change.

        Raises:
            ProfileUnknown: the selection stays as it was.
        """
        if name is not None and name not in self.profiles:
            raise ProfileUnknown(f'profile "{name}" not found')
        if name == self.name:
            return
        self.name = name
        self.pins = self.profiles[name].pins if name is not None else {}
        logger.info("active profile: %s", name or "none")
        self.bus.publish(ProfileChanged(name))

    def reconfigure(self, profiles: Mapping[str, Profile]) -> None:
        """Take the profiles of a new configuration; none of them is active."""
        self.profiles = profiles
        self.activate(None)
