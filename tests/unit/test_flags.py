"""Flags mean what existing scripts expect. Source: config §1.1."""

import pytest

from llamaswap.flags import BY_NAME, UsageError, parse_flags, usage


@pytest.mark.parametrize(
    "arguments",
    [
        ["-config", "x.yaml"],
        ["--config", "x.yaml"],
        ["-config=x.yaml"],
        ["--config=x.yaml"],
        ["-config", "old.yaml", "-config", "x.yaml"],
    ],
)
def test_every_spelling_of_a_value_flag_is_equal(arguments: list[str]) -> None:
    assert parse_flags(arguments).config == "x.yaml"


def test_a_value_flag_takes_the_next_argument_whatever_it_looks_like() -> None:
    options = parse_flags(["-config", "-watch-config"])
    assert options.config == "-watch-config"
    assert options.watch_config is False


def test_nothing_after_the_equals_sign_is_as_if_not_given() -> None:
    assert not parse_flags(["-config="]).config


def test_a_boolean_never_consumes_the_next_argument() -> None:
    options = parse_flags(["-watch-config", "false", "-config", "x"])
    assert options.watch_config is True
    assert not options.config  # `false` ended the flags


@pytest.mark.parametrize("text", ["1", "t", "T", "true", "True", "TRUE"])
def test_booleans_may_be_spelt_true(text: str) -> None:
    assert parse_flags([f"-watch-config={text}"]).watch_config is True


@pytest.mark.parametrize("text", ["0", "f", "F", "false", "False", "FALSE"])
def test_booleans_may_be_spelt_false(text: str) -> None:
    assert parse_flags(["-watch-config", f"-watch-config={text}"]).watch_config is False


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["-conf", "x"], "-conf"),
        (["-=x"], "-=x"),
        (["---config", "x"], "---config"),
        (["-config"], "-config"),
        (["-watch-config=yes"], "yes"),
        (["-watch-config="], "-watch-config"),
        (["-version=2"], "-version"),
    ],
)
def test_a_usage_error_names_the_word(arguments: list[str], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        parse_flags(arguments)


@pytest.mark.parametrize("stop", ["serve", "--", "-"])
def test_flags_end_at_the_first_argument_that_is_none(stop: str) -> None:
    assert not parse_flags([stop, "-config", "x", "-nonsense"]).config


def test_h_is_help() -> None:
    assert parse_flags(["-h"]).help is True


def test_usage_lists_every_flag() -> None:
    text = usage()
    assert all(f"-{flag.name}" in text for flag in BY_NAME.values())
