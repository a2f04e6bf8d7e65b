"""Choosing a profile, and asking for it. Source: http-api §2.2, §8.4."""

from __future__ import annotations

import pytest

from llamaswap.api.profiles import list_profiles, wished
from llamaswap.config.schema import Config, Model, Profile
from llamaswap.errors import BadRequest, ModelUnknown
from llamaswap.nursery.profile import ActiveProfile, ProfileUnknown
from llamaswap.proxy.directory import Directory
from llamaswap.proxy.environment import OutgoingProxies
from llamaswap.proxy.resolve import pinned, split_upstream_path, upstream_redirect
from llamaswap.telemetry.bus import BusEvent, EventBus, ProfileChanged

NIGHT = Profile(name="night", pins={"a": "b", "off": "", "b": "c"}, description="quiet")


class RecordingBus(EventBus):
    """Remembers what was published."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[BusEvent] = []

    def publish(self, event: BusEvent) -> None:
        self.events.append(event)


def test_only_changes_are_told() -> None:
    bus = RecordingBus()
    choice = ActiveProfile({"night": NIGHT}, bus)
    for name in (None, "night", "night", None, None):
        choice.activate(name)
    assert bus.events == [ProfileChanged("night"), ProfileChanged(None)]


def test_an_unknown_profile_changes_nothing() -> None:
    bus = RecordingBus()
    choice = ActiveProfile({"night": NIGHT}, bus)
    choice.activate("night")
    with pytest.raises(ProfileUnknown, match='profile "x" not found'):
        choice.activate("x")
    assert (choice.name, choice.pins) == ("night", NIGHT.pins)


def test_a_new_configuration_has_no_profile_active() -> None:
    bus = RecordingBus()
    choice = ActiveProfile({"night": NIGHT}, bus)
    choice.activate("night")
    choice.reconfigure({"night": NIGHT, "day": Profile(name="day", pins={})})
    assert (choice.name, choice.pins) == (None, {})
    assert bus.events[-1] == ProfileChanged(None)
    choice.reconfigure({})
    assert len(bus.events) == 2


def test_profiles_are_listed_in_order_with_empty_texts_for_what_is_off() -> None:
    day = Profile(name="day", pins={"x": "y"})
    choice = ActiveProfile({"night": NIGHT, "day": day}, EventBus())
    assert list_profiles(choice) == [
        {"id": "day", "description": "", "pins": {"x": "y"}},
        {"id": "night", "description": "quiet", "pins": {"a": "b", "b": "c", "off": ""}},
    ]


@pytest.mark.parametrize(
    ("body", "name"), [(b'{"name":"n"}', "n"), (b'{"name":null}', None), (b'{"name":""}', None)]
)
def test_what_is_asked_for(body: bytes, name: str | None) -> None:
    assert wished(body) == name


@pytest.mark.parametrize("body", [b"", b"[]", b"5", b'"n"', b"{", b'{"name":"n"}{}', b"\xff"])
def test_what_is_no_request(body: bytes) -> None:
    with pytest.raises(BadRequest, match="invalid profile request"):
        wished(body)


def test_pins_do_not_chain() -> None:
    assert pinned("a", NIGHT.pins) == "b"
    assert pinned("z", NIGHT.pins) == "z"
    with pytest.raises(ModelUnknown, match="no model id could be identified"):
        pinned("off", NIGHT.pins)


def directory(*models: str) -> Directory:
    config = Config(models={name: Model(id=name) for name in models})
    return Directory.of(config, OutgoingProxies())


@pytest.mark.parametrize(
    ("raw", "model", "tail"),
    [
        ("a/x", "a", "/x"),
        ("a", "a", ""),
        ("a/b/x", "a/b", "/x"),
        ("a%2Fb%2Fx", "a/b", "/x"),
        ("a%2fb", "a/b", ""),
        ("a/c/x", "a", "/c/x"),
        ("a/", "a", "/"),
        ("%61/x", "a", "/x"),
        ("a/x%2Fy", "a", "/x%2Fy"),
        ("a//b", "a", "//b"),
    ],
)
def test_the_longest_name_at_the_front_of_a_path_counts(raw: str, model: str, tail: str) -> None:
    found = split_upstream_path(directory("a", "a/b"), {}, raw)
    assert (found.destination.model, found.raw) == (model, tail)


@pytest.mark.parametrize(
    ("raw", "model", "tail"),
    [
        ("p/x", "a/b", "/x"),
        ("p/q/x", "a", "/x"),
        ("p%2Fq/x%2Fy", "a", "/x%2Fy"),
        ("pp/x", None, ""),
        ("off/x", None, ""),
        ("p", "a/b", ""),
    ],
)
def test_the_longest_pin_at_the_front_of_a_path_is_replaced(
    raw: str, model: str | None, tail: str
) -> None:
    pins = {"p": "a/b", "p/q": "a", "off": ""}
    if model is None:
        with pytest.raises(ModelUnknown, match="model not found"):
            split_upstream_path(directory("a", "a/b", "off"), pins, raw)
        return
    found = split_upstream_path(directory("a", "a/b", "off"), pins, raw)
    assert (found.destination.model, found.raw) == (model, tail)


def test_a_redirect_encodes_what_would_mean_something_else() -> None:
    assert upstream_redirect("a b?c#d%/é", "x=1") == "/upstream/a%20b%3Fc%23d%25/%C3%A9/?x=1"
