"""The language of matrix sets: text to a frozen tree, and what can be wrong with it.

    expression = and-term , { "|" , and-term } ;
    and-term   = atom , { "&" , atom } ;
    atom       = identifier | "+" identifier | "(" , expression , ")" ;

Pure. Nothing here recurses over input, so no expression can exhaust the interpreter's stack.

Source: config §6.1.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import NamedTuple

from attrs import define, field, frozen

MAX_DEPTH = 100
"""Levels of operators inside one another. Who walks a tree may recurse that deep."""


@frozen
class Name:
    """A var or a model id, as written."""

    name: str


@frozen
class Reference:
    """`+set`: whatever that set denotes."""

    name: str


@frozen
class AllOf:
    """`x & y & …`, two operands or more."""

    parts: tuple[Node, ...]


@frozen
class OneOf:
    """`x | y | …`, two operands or more."""

    parts: tuple[Node, ...]


Node = Name | Reference | AllOf | OneOf


class DslError(Exception):
    """An expression that makes no sense.

    `position` counts characters from 0 in the trimmed text.
    """

    def __init__(self, code: str, text: str, position: int) -> None:
        super().__init__(code, text, position)
        self.code = code
        self.text = text
        self.position = position

    def __str__(self) -> str:
        return self.text


@frozen
class SetProblem:
    """What is wrong with one set of a matrix; `text` does not repeat the set's name."""

    code: str
    set_name: str
    text: str
    position: int | None = None


class _Token(NamedTuple):
    kind: str  # "name", "reference", "end" or the operator itself
    text: str
    position: int


def parse(text: str) -> Node:
    """Read one expression.

    Raises:
        DslError: E-MX-EMPTY, E-MX-TOKEN or E-MX-PARSE.
    """
    trimmed = text.strip()
    if not trimmed:
        raise DslError("E-MX-EMPTY", "the expression is empty", 0)
    builder = _Builder()
    for token in list(_scan(trimmed)):  # all tokens first: a bad character is named before order
        builder.take(token)
    return builder.result()


def check_sets(
    sets: Mapping[str, str], var_names: Container[str], model_ids: Container[str]
) -> list[SetProblem]:
    """Everything wrong with `sets`, in the order of the document."""
    trees, problems = parse_sets(sets)
    for set_name, tree in trees.items():
        for node in walk(tree):
            match node:
                case Name(name) if name not in var_names and name not in model_ids:
                    text = f"'{name}' is neither a var nor a model id (aliases do not count)"
                    problems.append(SetProblem("E-MX-IDENT", set_name, text))
                case Reference(name) if name not in sets:
                    text = f"there is no set '{name}' to refer to with +{name}"
                    problems.append(SetProblem("E-MX-REF", set_name, text))
    problems.extend(_cycles(trees))
    place = {set_name: index for index, set_name in enumerate(sets)}
    problems.sort(key=lambda problem: place[problem.set_name])
    return problems


def parse_sets(sets: Mapping[str, str]) -> tuple[dict[str, Node], list[SetProblem]]:
    """The trees of all sets that can be read, and what is wrong with the others."""
    trees: dict[str, Node] = {}
    problems: list[SetProblem] = []
    for set_name, text in sets.items():
        try:
            trees[set_name] = parse(text)
        except DslError as error:
            problem = SetProblem(error.code, set_name, error.text, error.position)
            problems.append(problem)
    return trees, problems


def definition_order(trees: Mapping[str, Node]) -> list[str]:
    """The sets in the order ties are broken by: as defined, but after the sets they refer to.

    References to unknown sets and those that close a cycle are skipped. Source: config §6.2.
    """
    return [name for name, cycle in _depth_first(trees) if not cycle]


def walk(tree: Node) -> Iterator[Node]:
    """`tree` and everything below it, in the order of the text."""
    pending = [tree]
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, AllOf | OneOf):
            pending.extend(reversed(node.parts))


def references(tree: Node) -> list[str]:
    """The sets `tree` refers to, in the order of the text."""
    return [node.name for node in walk(tree) if isinstance(node, Reference)]


def _is_identifier(character: str) -> bool:
    return character.isalpha() or character.isdecimal() or character in "_-."


def _scan(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        character = text[at]
        if character.isspace():
            at += 1
            continue
        end = at + 1
        if character in "()&|":
            yield _Token(character, character, at)
        elif _is_identifier(character) or character == "+":
            while end < len(text) and _is_identifier(text[end]):
                end += 1
            word = text[at:end]
            if word == "+":
                raise DslError(
                    "E-MX-TOKEN", f"'+' at position {at} is not followed by a set's name", at
                )
            kind = "reference" if character == "+" else "name"
            yield _Token(kind, word.removeprefix("+"), at)
        else:
            raise DslError(
                "E-MX-TOKEN",
                f"'{character}' at position {at} is not allowed here; "
                "a model id with such a character needs a var",
                at,
            )
        at = end
    yield _Token("end", "end", at)


@define
class _Level:
    """What has been read since one opening parenthesis."""

    opened_at: int
    depth: int = 0
    alternatives: list[Node] = field(factory=list)
    factors: list[Node] = field(factory=list)

    def close_alternative(self) -> None:
        self.alternatives.append(_joined(AllOf, self.factors))
        self.factors = []

    def node(self) -> Node:
        self.close_alternative()
        return _joined(OneOf, self.alternatives)


def _joined(kind: type[AllOf | OneOf], parts: list[Node]) -> Node:
    return parts[0] if len(parts) == 1 else kind(tuple(parts))


@define
class _Builder:
    """A stack of open parentheses; told one token after the other."""

    levels: list[_Level] = field(factory=lambda: [_Level(0)])
    wants_operand: bool = True

    def take(self, token: _Token) -> None:
        if self.wants_operand:
            self._operand(token)
        else:
            self._operator(token)

    def _operand(self, token: _Token) -> None:
        match token.kind:
            case "name":
                self._add(Name(token.text), 0)
            case "reference":
                self._add(Reference(token.text), 0)
            case "(":
                self.levels.append(_Level(token.position))
            case _:
                raise _unexpected(token, "a model, a var, +set or '('")

    def _operator(self, token: _Token) -> None:
        level = self.levels[-1]
        match token.kind:
            case "&":
                self.wants_operand = True
            case "|":
                level.close_alternative()
                self.wants_operand = True
            case ")" if len(self.levels) > 1:
                self.levels.pop()
                node = level.node()
                self._add(node, level.depth + isinstance(node, AllOf | OneOf), token.position)
            case "end" if len(self.levels) == 1:
                pass
            case "end":
                missing = f"the '(' at position {level.opened_at} is never closed"
                raise DslError("E-MX-PARSE", f"unexpected end: {missing}", token.position)
            case _:
                raise _unexpected(token, "'&', '|' or the end")

    def _add(self, node: Node, depth: int, position: int = 0) -> None:
        if depth > MAX_DEPTH:
            text = f"more than {MAX_DEPTH} levels of '&' and '|' inside one another"
            raise DslError("E-MX-PARSE", text, position)
        level = self.levels[-1]
        level.depth = max(level.depth, depth)
        level.factors.append(node)
        self.wants_operand = False

    def result(self) -> Node:
        return self.levels[0].node()


def _unexpected(token: _Token, wanted: str) -> DslError:
    found = "end" if token.kind == "end" else f"'{token.text}'"
    text = f"unexpected {found} at position {token.position}, where {wanted} should be"
    return DslError("E-MX-PARSE", text, token.position)


def _cycles(trees: Mapping[str, Node]) -> list[SetProblem]:
    """One problem for each reference that leads back to where it came from."""
    problems = []
    for _name, cycle in _depth_first(trees):
        if cycle:
            text = f"the references go round in a circle: {' → '.join(cycle)}"
            problems.append(SetProblem("E-MX-CYCLE", cycle[0], text))
    return problems


def _depth_first(trees: Mapping[str, Node]) -> Iterator[tuple[str, list[str]]]:
    """Each set after those it refers to, with an empty list; a cycle as the path around it."""
    done: set[str] = set()
    for start in trees:
        if start in done:
            continue
        path = {start: iter(references(trees[start]))}  # an ordered set of the sets being visited
        while path:
            current, rest = next(reversed(path.items()))
            target = next(rest, None)
            if target is None:
                del path[current]
                done.add(current)
                yield current, []
            elif target in path:
                around = list(path)
                yield target, [*around[around.index(target) :], target]
            elif target in trees and target not in done:
                path[target] = iter(references(trees[target]))
