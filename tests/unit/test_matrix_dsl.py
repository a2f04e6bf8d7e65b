"""The matrix language. Source: config §6.1."""

from __future__ import annotations

import pytest

from llamaswap.config.matrix_dsl import (
    AllOf,
    DslError,
    Name,
    Node,
    OneOf,
    Reference,
    check_sets,
    definition_order,
    parse,
    parse_sets,
    walk,
)

a, b, c, d = (Name(letter) for letter in "abcd")


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a", a),
        ("  a\t\n", a),
        ("+a", Reference("a")),
        ("((a))", a),
        ("a|b&c", OneOf((a, AllOf((b, c))))),
        ("(a|b)&(c|d)", AllOf((OneOf((a, b)), OneOf((c, d))))),
        ("a & b & c", AllOf((a, b, c))),
        ("a\u00a0&\u2003+b", AllOf((a, Reference("b")))),
        ("größe_1.5-b", Name("größe_1.5-b")),
        ("٣", Name("٣")),
    ],
)
def test_an_expression_becomes_a_tree(text: str, tree: Node) -> None:
    assert parse(text) == tree


@pytest.mark.parametrize(
    ("text", "code", "position", "word"),
    [
        ("", "E-MX-EMPTY", 0, "empty"),
        (" \n ", "E-MX-EMPTY", 0, "empty"),
        ("  a @ a", "E-MX-TOKEN", 2, "'@'"),
        ("org/a", "E-MX-TOKEN", 3, "'/'"),
        ("a &+ b", "E-MX-TOKEN", 3, "'+'"),
        ("a & +", "E-MX-TOKEN", 4, "'+'"),
        ("a ) @", "E-MX-TOKEN", 4, "'@'"),
        ("a²", "E-MX-TOKEN", 1, "'²'"),
        ("(a", "E-MX-PARSE", 2, "end"),
        ("a &", "E-MX-PARSE", 3, "end"),
        ("| a", "E-MX-PARSE", 0, "'|'"),
        ("a && b", "E-MX-PARSE", 3, "'&'"),
        ("()", "E-MX-PARSE", 1, "')'"),
        ("a b", "E-MX-PARSE", 2, "'b'"),
        ("a)", "E-MX-PARSE", 1, "')'"),
        ("a (b)", "E-MX-PARSE", 2, "'('"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_position(
    text: str, code: str, position: int, word: str
) -> None:
    with pytest.raises(DslError) as caught:
        parse(text)
    assert (caught.value.code, caught.value.position) == (code, position)
    assert word in str(caught.value)


def test_a_thousand_parentheses_are_read() -> None:
    assert parse("(" * 1000 + "a" + ")" * 1000) == a


def test_ten_thousand_unclosed_parentheses_are_an_error_not_a_crash() -> None:
    with pytest.raises(DslError, match="never closed"):
        parse("(" * 10_000 + "a")


def test_a_tree_deeper_than_who_walks_it_may_recurse_is_refused() -> None:
    with pytest.raises(DslError, match="more than 100 levels"):
        parse("a & (b | (" * 500 + "a" + "))" * 500)


def test_a_long_chain_is_not_deep() -> None:
    tree = parse(" & ".join(["a"] * 5000))
    assert isinstance(tree, AllOf)
    assert len(tree.parts) == 5000


def test_walking_goes_in_the_order_of_the_text() -> None:
    assert [node for node in walk(parse("a & (b | +c) & d")) if isinstance(node, Name)] == [a, b, d]


def problems_of(sets: dict[str, str]) -> list[tuple[str, str]]:
    return [(problem.code, problem.set_name) for problem in check_sets(sets, {"v"}, {"m"})]


def test_every_problem_of_every_set_is_reported_in_the_order_of_the_document() -> None:
    sets = {"z": "m & ghost | +nope", "y": "m m", "x": "+x", "ok": "v & m | +z"}
    assert problems_of(sets) == [
        ("E-MX-IDENT", "z"),
        ("E-MX-REF", "z"),
        ("E-MX-PARSE", "y"),
        ("E-MX-CYCLE", "x"),
    ]


def test_a_reference_to_an_unreadable_set_is_no_second_problem() -> None:
    assert problems_of({"s": "+t", "t": "("}) == [("E-MX-PARSE", "t")]


def test_a_cycle_is_reported_once_and_shown_whole() -> None:
    (problem,) = check_sets({"s": "+t", "t": "+u | m", "u": "m & +s"}, (), {"m"})
    assert problem.code == "E-MX-CYCLE"
    assert "s → t → u → s" in problem.text


def test_a_chain_of_ten_thousand_references_is_checked() -> None:
    sets = {f"s{i}": f"+s{i + 1}" for i in range(10_000)} | {"s10000": "m"}
    assert problems_of(sets) == []


@pytest.mark.parametrize(
    ("sets", "order"),
    [
        ({"zeta": "m", "alpha": "m"}, ["zeta", "alpha"]),
        ({"1st": "+2nd | m", "2nd": "m"}, ["2nd", "1st"]),
        ({"all": "+tts & +llm", "llm": "m", "tts": "+llm & v"}, ["llm", "tts", "all"]),
        ({"s": "+t", "t": "+s"}, ["t", "s"]),
        ({"s": "+gone"}, ["s"]),
    ],
)
def test_a_set_comes_right_after_those_it_refers_to(sets: dict[str, str], order: list[str]) -> None:
    trees, _ = parse_sets(sets)
    assert definition_order(trees) == order
