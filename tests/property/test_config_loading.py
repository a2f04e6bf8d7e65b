"""Nothing in a file can make the loader fail in any other way than by saying what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from llamaswap.config.load import Loaded, load_config
from llamaswap.config.problems import ConfigInvalid, Problem
from llamaswap.config.reader import keys_of
from llamaswap.config.report import printable, summary
from llamaswap.config.sections import RootSection
from tests.property import fuzz_config

CASES = Path(__file__).parents[1] / "unit" / "config_cases.yaml"
CORPUS = [case["config"] for case in yaml.safe_load(CASES.read_text("utf-8")) if "config" in case]
ENVIRON = {"SET": "value", "EMPTY": "", "NESTED": "${env.SET}", "ODD": "\udc80", "QUOTE": '"'}

files = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fuzzed.yaml"


def load_and_show(path: Path, data: bytes) -> Loaded | None:
    """Load what is in `data` and whatever is shown of it; None: it was refused in good order."""
    path.write_bytes(data)
    problems: tuple[Problem, ...] = ()
    loaded = None
    try:
        loaded = load_config(path, None, environ=ENVIRON)
    except ConfigInvalid as error:
        problems = error.problems
    assert bool(problems) == (loaded is None)
    assert all(problem.code.startswith("E-") for problem in problems)
    if loaded is not None:
        assert summary(loaded)
        assert printable(loaded.config)
        assert all(warning.code.startswith("W-") for warning in loaded.warnings)
        problems = loaded.warnings
    assert all(str(problem).isprintable() for problem in problems)
    return loaded


@files
@given(data=st.binary(max_size=200))
@example(b"\xef\xbb\xbfstartPort: 1")
@example(b"\xff\xfe")
@example(b"a: \x00")
@example(b"- " * 2000)
@example(b"[" * 20000)
@example(b"{a: " * 2000)
@example(b"? " * 2000)
@example(b"a: &a [*a]")
@example(b"&a {k: *a}")
@example(b"*a : 1")
@example(b"{[1]: 2}")
@example(b"<<: 3")
@example(b"!!int x")
@example(b"%YAML 9.9\n--- 1")
@example(b'"\\ud800": 1')
@example(b'logLevel: "\\ud800"')
def test_bytes(path: Path, data: bytes) -> None:
    load_and_show(path, data)


@files
@given(data=st.data())
def test_files_that_were_valid_until_something_was_cut_or_put_in(
    path: Path, data: st.DataObject
) -> None:
    text = data.draw(st.sampled_from(CORPUS))
    for _ in range(data.draw(st.integers(1, 3))):
        start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
        end = min(end, start + 12)
        part = data.draw(st.sampled_from(PARTS) | st.text(max_size=3))
        text = text[:start] + part + text[end:]
    load_and_show(path, text.encode("utf-8", "surrogatepass"))


PARTS = [
    "", " ", "\n", "\t", "~", "{}", "[]", ": ", "- ", "#", "'", '"', "&a ", "*a", "<<: ", "!t ",
    "${PORT}", "${PID}", "${MODEL_ID}", "${x}", "${env.SET}", "${env.NESTED}", "${env.ODD}",
    "${env.QUOTE}", "${env.EMPTY}", "${env.GONE}", ".nan", "-.inf", "1e400", "0x", "-1", "1" * 30,
    "99999999999", "5000000000s", "\\", "/", "(", "|", "---\n", "...\n", "\u2028", "\x85",
]  # fmt: skip


def values(known: Any) -> st.SearchStrategy[Any]:
    """JSON values that mostly have the right keys in the right places, and mostly wrong values."""
    return st.deferred(lambda: ANY_VALUE | sections(known))


def sections(known: Any) -> st.SearchStrategy[Any]:
    if not hasattr(known, "__attrs_attrs__"):
        return ANY_VALUE
    keys = keys_of(known)
    fitting = {
        name: values(key.kind) | st.dictionaries(NAMES, values(inner(key.kind)), max_size=3)
        for name, key in keys.items()
    }
    return st.fixed_dictionaries({}, optional=fitting)


def inner(kind: Any) -> Any:
    return getattr(kind, "__args__", (kind,))[-1]


NAMES = st.sampled_from(
    ["a", "b", "c", "a/b", "(default)", "comfyui_auto", "", " ", "${PORT}", "é"]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**65)
    | st.floats()
    | NAMES
    | st.sampled_from(["http://h:${PORT}", "s ${PORT}", "${MODEL_ID}", "matrix", "batch", "warm"])
    | st.sampled_from(["spillover", "a & b", "+a", "5s", "(", "\\pL", "[[:alpha:]]", "a\nb", "yes"])
)
ANY_VALUE = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(NAMES, SCALARS, max_size=3)


@files
@given(document=sections(RootSection))
def test_right_keys_with_any_values(path: Path, document: Any) -> None:
    load_and_show(path, json.dumps(document).encode("utf-8", "surrogatepass"))


def doubling(name: str, first: str, form: str) -> str:
    """Forty lines each of which holds the one before twice."""
    lines = [
        f"{name}0: {first}",
        *(f"{name}{i}: {form.format(i=i, j=i - 1)}" for i in range(1, 40)),
    ]
    return "\n".join(lines)


MODEL = "models: {a: {cmd: 's ${PORT}'}}\n"
BOMBS = {
    "aliases stacked 300 deep": ("a0: &a0 [x]\n" + "\n".join(
        f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 300)), "E-FILE-YAML"),
    "aliases doubling": (doubling("a", "&a0 [x]", "&a{i} [*a{j}, *a{j}]"), "E-FILE-YAML"),
    "merge keys doubling": (doubling("a", "&a0 {{k: x}}", "&a{i} {{<<: *a{j}, b: *a{j}, c: *a{j}}}")
                            .replace("{{", "{").replace("}}", "}"), "E-FILE-YAML"),
    "macros doubling": ("macros:\n  " + doubling("m", "xx", "'${{m{j}}}${{m{j}}}'").replace(
        "\n", "\n  ") + "\nlogLevel: ${m39}", "E-MACRO-SIZE"),
    "a number of 5000 digits": ("startPort: " + "1" * 5000, "E-TYPE"),
    "200 lists in one another": ("logLevel: " + "[" * 200 + "]" * 200, "E-FILE-YAML"),
    "1000 parentheses": (f"{MODEL}matrix: {{sets: {{s: '{'(' * 1000}a{')' * 1000}'}}}}", None),
    "2000 choices": (f"{MODEL}matrix: {{sets: {{s: '{' & '.join(['(a | a)'] * 2000)}'}}}}", None),
    "1000 sets in a chain": (f"{MODEL}matrix: {{sets: {{" + ", ".join(
        [f"s{i}: +s{i + 1}" for i in range(1000)] + ["s1000: a"]) + "}}", None),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_or_harmless(path: Path, name: str) -> None:
    text, code = BOMBS[name]
    path.write_text(text)
    assert codes(path) == ({code} if code else set())


def codes(path: Path) -> set[str]:
    try:
        load_config(path, None, environ=ENVIRON)
    except ConfigInvalid as error:
        return {problem.code for problem in error.problems}
    return set()


def test_a_short_fuzz_run_over_the_corpus(path: Path) -> None:
    """The long one: `python -m tests.property.fuzz_config SECONDS`."""
    for number, data in enumerate(fuzz_config.runs(seed=2026, count=600)):
        try:
            fuzz_config.survives(path, data)
        except Exception as error:
            raise AssertionError(f"file {number}: {data!r}") from error
