"""All problems of a file in one go, and none that only follows from another.

Source: config §1.8.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llamaswap.config.load import load_config
from llamaswap.config.problems import ConfigInvalid, KeyPath, Problem, key_path

SOUND: dict[str, Any] = {
    "startPort": 6000,
    "globalTTL": 60,
    "logLevel": "info",
    "logToStdout": "proxy",
    "apiKeys": ["one", "two"],
    "macros": {"bin": "llama-server --port ${PORT}", "seconds": 30, "unused": "x", "host": "h"},
    "models": {
        "a": {"cmd": "${bin} -m a", "aliases": ["small", None, "tiny"], "ttl": "${seconds}"},
        "b": {
            "cmd": "${bin} ${mine}",
            "macros": {"mine": "--b", "other": 1},
            "env": ["A=1", None, "B=2"],
            "metadata": {"note": "${MODEL_ID}"},
            "filters": {"setParamsByID": {"b-hot": {"temperature": 1}}, "stripParams": "top_k"},
            "capabilities": {"in": ["text", "image"], "context": 4096},
        },
        "c": {"cmd": "serve --port 9000", "proxy": "http://${host}:9000",
              "timeouts": {"connect": 5}},
        "d": {"cmd": "${bin} -m d", "checkEndpoint": "/ok?port=${PORT}", "unloadTimeout": 3},
    },
    "groups": {
        "g": {"swap": False, "members": ["a", None, "b"]},
        "h": {"members": ["small-d"], "exclusive": False},
    },
    "routing": {"scheduler": {"use": "fifo", "settings": {"fifo": {"priority": {"b-hot": 3}}}}},
    "peers": {
        "hub": {"proxy": "http://${host}", "models": ["m", "n"], "timeouts": {"idleConn": 3}},
        "far": {"proxy": "https://far", "models": ["m"], "timeouts": {"connect": 1}},
    },
    "selectors": {
        "pick": {"strategy": "spillover", "targets": ["a", "b-hot", "hub/m"]},
        "warm": {"strategy": "warm", "targets": ["tiny", "d"]},
    },
    "profiles": {"day": {"pins": {"x": "a", "y": "hub/n", "z": "pick"}}},
    "hooks": {"on_startup": {"preload": ["tiny"]}},
    "upstream": {"ignorePaths": ["a+", "b"]},
    "performance": {"every": "10s"},
    "store": {"path": "activity.db"},
    "ui": {"title": "t", "activity": {"session_id": ["X-S"]}},
}  # fmt: skip
SOUND["models"]["d"]["aliases"] = ["small-d"]


class Fault(NamedTuple):
    """One thing to get wrong: what to write where, and what has to be said about it."""

    where: str
    value: Any
    code: str
    path: str = ""
    """Key path of the problem, where it is not `where`."""
    hides_names: bool = False
    """Whether nobody can know any more which names there are."""
    about_names: bool = False
    """Whether it is that a name is unknown."""


GONE = object()
"""As a value: the key is left out."""

FAULTS = [
    Fault("startPort", "soon", "E-TYPE"),
    Fault("startPort", 0, "E-STARTPORT"),
    Fault("startPort", "${gone}", "E-MACRO-UNKNOWN"),
    Fault("globalTTL", -1, "E-TTL-GLOBAL"),
    Fault("globalTTL", "${env.GONE_1}", "E-ENV-UNSET"),
    Fault("logLevel", "${PORT}", "E-MACRO-UNKNOWN"),
    Fault("logToStdout", "all", "E-LOGSTDOUT"),
    Fault("logToStdout", "${PID}", "E-MACRO-UNKNOWN"),
    Fault("apiKeys", "one", "E-TYPE"),
    Fault("apiKeys", [None, "a b"], "E-APIKEY-SPACE", "apiKeys[1]"),
    Fault("apiKeys", [None, {}, ""], "E-TYPE E-APIKEY-EMPTY", "apiKeys[1] apiKeys[2]"),
    Fault("macros.bin", ["x"], "E-MACRO-TYPE"),  # all commands use it
    Fault("macros.bin", "${bin} ${PORT}", "E-MACRO-SELF"),
    Fault("macros.bin", "${env.GONE_2} ${PORT}", "E-ENV-UNSET"),
    Fault("macros.seconds", None, "E-MACRO-TYPE"),
    Fault("macros.unused", {}, "E-MACRO-TYPE"),
    Fault('macros."un used"', 1, "E-MACRO-NAME"),
    Fault("macros.host", "${env.B}", "E-ENV-CHARS"),
    Fault("macros", ["bin"], "E-MACRO-MAP"),
    Fault("models.a.aliases", "small", "E-TYPE", hides_names=True),
    Fault("models.a.aliases[2]", "${gone}", "E-MACRO-UNKNOWN", hides_names=True),
    Fault("models.a.aliases[0]", "${env.GONE_3}", "E-ENV-UNSET", hides_names=True),
    Fault("models.a.ttl", -7, "E-MODEL-TTL"),
    Fault("models.a.cmd", GONE, "E-PORT-PROXY"),
    Fault("models.a.cmd", "serve --port ${prot}", "E-MACRO-UNKNOWN"),
    Fault("models.a.proxy", "http://h:x", "E-MODEL-PROXY"),
    Fault("models.b", "llama-server", "E-TYPE", hides_names=True),
    Fault("models.b.cmd", ["llama-server"], "E-TYPE"),
    Fault("models.b.macros", 3, "E-MACRO-MAP"),
    Fault("models.b.macros.mine", [], "E-MACRO-TYPE"),
    Fault("models.b.macros.PORT", 3, "E-MACRO-RESERVED"),
    Fault("models.b.env", ["A=1", None, [], "B=${gone}"], "E-TYPE E-MACRO-UNKNOWN",
          "models.b.env[2] models.b.env[3]"),
    Fault("models.b.metadata.note", "${env.GONE_4}", "E-ENV-UNSET"),
    Fault("models.b.metadata.note", float("nan"), "E-TYPE"),
    Fault("models.b.filters", [], "E-TYPE", hides_names=True),
    Fault("models.b.filters.setParamsByID", {"b-hot": None, "${gone}": None}, "E-MACRO-UNKNOWN",
          'models.b.filters.setParamsByID.${gone}', hides_names=True),
    Fault("models.b.filters.setParams", [1], "E-TYPE"),
    Fault("models.b.capabilities.in[1]", "smell", "E-MODEL-CAPS"),
    Fault("models.b.capabilities.context", "big", "E-TYPE"),
    Fault("models.c.proxy", GONE, "E-PORT-PROXY", "models.c.cmd"),
    Fault("models.c.proxy", "http://h:${PORT}", "E-PORT-PROXY"),
    Fault("models.c.timeouts.connect", "1s", "E-TYPE"),
    Fault("models.c.checkEndpoint", "/${PORT}", "E-MACRO-UNKNOWN"),
    Fault("models.d.cmd", None, "E-PORT-PROXY"),  # the check path wants the port too
    Fault("models.d.unloadTimeout", -1, "E-MODEL-UNLOAD"),
    Fault("models.d.unloadTimeout", "${gone}", "E-MACRO-UNKNOWN"),
    Fault("models", ["a"], "E-TYPE", hides_names=True),
    Fault("groups.g.swap", "true", "E-TYPE"),
    Fault("groups.g.members", ["a", None, "ghost"], "E-GROUP-MEMBER", "groups.g.members[2]",
          about_names=True),
    Fault("groups.g.members", ["a", None, "b", "a"], "E-GROUP-DUP", "groups.g.members[3]",
          about_names=True),
    Fault("groups.h.members", [None, "a"], "E-GROUP-MULTI", "groups.h.members[1]",
          about_names=True),
    Fault("groups.h", 3, "E-TYPE"),
    Fault("groups", "none", "E-TYPE"),
    Fault("routing.scheduler.use", "random", "E-SCHED-UNKNOWN"),
    Fault("routing.scheduler.settings.fifo.priority", {"ghost": 1}, "E-PRIO-MODEL",
          "routing.scheduler.settings.fifo.priority.ghost", about_names=True),
    Fault("routing.scheduler.settings.fifo.priority.b-hot", "high", "E-TYPE"),
    Fault("routing.scheduler", False, "E-TYPE"),
    Fault("peers.hub.proxy", GONE, "E-PEER-PROXY"),
    Fault("peers.hub.proxy", "http://[::1", "E-PEER-URL"),
    Fault("peers.hub.models", GONE, "E-PEER-MODELS", hides_names=True),
    Fault("peers.hub.models", ["m", []], "E-TYPE", "peers.hub.models[1]", hides_names=True),
    Fault("peers.hub", True, "E-TYPE", hides_names=True),
    Fault("peers.far.models", [{}], "E-TYPE", "peers.far.models[0]", hides_names=True),
    Fault("peers.far.timeouts.connect", [], "E-TYPE"),
    Fault("selectors.pick.strategy", "best", "E-SEL-STRAT"),
    Fault("selectors.pick.settings", {"spillover": 0}, "E-SEL-SPILL",
          "selectors.pick.settings.spillover"),
    Fault("selectors.pick.targets", GONE, "E-SEL-TARGETS"),
    Fault("selectors.pick.targets", [None, "a", "warm"], "E-SEL-CHAIN",
          "selectors.pick.targets[2]"),
    Fault("selectors.warm.targets", [None, "d", "nobody"], "E-SEL-UNKNOWN",
          "selectors.warm.targets[2]", about_names=True),
    Fault("selectors.warm.targets", ["hub/n"], "E-SEL-LOCAL", "selectors.warm.targets[0]",
          about_names=True),
    Fault("selectors.warm.unlisted", 3, "E-TYPE"),
    Fault("profiles.day", ["a", "b"], "E-PROF-SHAPE"),
    Fault("profiles.day.pins", {}, "E-PROF-EMPTY"),
    Fault("profiles.day.pins.x", "nobody", "E-PROF-TARGET", about_names=True),
    Fault("profiles.day.pins.y", {}, "E-TYPE"),
    Fault("hooks.on_startup", [], "E-TYPE"),
    Fault("upstream.ignorePaths", [None, "a("], "E-REGEX", "upstream.ignorePaths[1]"),
    Fault("performance.every", "1s", "E-PERF-EVERY"),
    Fault("performance.every", 10, "E-TYPE"),
    Fault("store.path", "", "E-STORE-EMPTY"),
    Fault("store.path", "${gone}", "E-MACRO-UNKNOWN"),
    Fault("store", "activity.db", "E-TYPE"),
    Fault("ui.activity.session_id", "X-S", "E-TYPE"),
    Fault("ui", [], "E-TYPE"),
]  # fmt: skip


def steps(path: str) -> tuple[str | int, ...]:
    """The steps of a key path; those of this file hold no dots in quotes."""
    parts = path.replace("[", ".[").replace('"', "").split(".")
    return tuple(int(part[1:-1]) if part.startswith("[") else part for part in parts)


def planted(faults: list[Fault]) -> dict[str, Any]:
    document = copy.deepcopy(SOUND)
    for fault in faults:
        *above, last = steps(fault.where)
        node: Any = document
        for step in above:
            node = node[step]
        if fault.value is GONE:
            del node[last]
        else:
            node[last] = copy.deepcopy(fault.value)
    return document


def overlap(one: Fault, other: Fault) -> bool:
    mine, yours = steps(one.where), steps(other.where)
    return mine[: len(yours)] == yours[: len(mine)]


def clash(one: Fault, other: Fault) -> bool:
    """Whether one of them keeps the other from being there, or from being noticed."""
    names = one.hides_names and other.about_names
    commands = {"macros", "macros.bin"}
    port = one.where in commands and other.code == "E-PORT-PROXY"
    # an unknown macro may stand there
    hidden = one.code == "E-MACRO-MAP" and "E-MACRO-UNKNOWN" in other.code
    wants_port = one.code == "E-PORT-PROXY"
    said_once = wants_port and other.where in ("models.c.checkEndpoint", "models.a.proxy")
    moot = (one.code, other.code) == ("E-SEL-STRAT", "E-SEL-SPILL")
    return overlap(one, other) or names or port or hidden or said_once or moot


@st.composite
def faults(draw: st.DrawFn) -> list[Fault]:
    chosen: list[Fault] = []
    for fault in draw(st.lists(st.sampled_from(FAULTS), min_size=2, max_size=9)):
        if not any(clash(fault, other) or clash(other, fault) for other in chosen):
            chosen.append(fault)
    return chosen


def problems_of(document: Any, folder: Path) -> tuple[Problem, ...]:
    path = folder / "planted.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    try:
        load_config(path, None, environ={"B": "one\ntwo"})
    except ConfigInvalid as error:
        return error.problems
    return ()


def said(problems: tuple[Problem, ...]) -> list[tuple[str, str]]:
    return sorted((problem.code, key_path(problem.path)) for problem in problems)


def due(chosen: list[Fault]) -> list[tuple[str, str]]:
    expected: list[tuple[str, str]] = []
    for fault in chosen:
        paths = (fault.path or fault.where.replace(" ", "\0")).split(" ")
        codes = fault.code.split(" ")
        pairs = zip(codes, (path.replace("\0", " ") for path in paths), strict=True)
        expected += pairs
    return sorted(expected)


def test_the_sound_file_has_no_problem(tmp_path: Path) -> None:
    assert said(problems_of(SOUND, tmp_path)) == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.where}-{fault.code}")
def test_a_problem_is_reported_alone(fault: Fault, tmp_path: Path) -> None:
    assert said(problems_of(planted([fault]), tmp_path)) == due([fault])


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(chosen=faults())
def test_all_independent_problems_are_reported_and_nothing_else(
    chosen: list[Fault], tmp_path: Path
) -> None:
    problems = problems_of(planted(chosen), tmp_path)
    assert said(problems) == due(chosen)
    assert all(problem.file and problem.line and problem.path for problem in problems)
    assert [problem.line for problem in problems] == sorted(
        problem.line or 0 for problem in problems
    )


MANY = """\
startPort: 5800
models:
  a:
    cdm: llama-server --port ${PORT}
    ttl: soon
    aliases: [~, one, ~, one]
macros:
  - x
"""


def test_what_a_missing_command_has_to_do_with_does_not_hide_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "typo.yaml"
    path.write_text(MANY)
    with pytest.raises(ConfigInvalid) as caught:
        load_config(path, None, environ={})
    assert [(p.line, p.code, key_path(p.path)) for p in caught.value.problems] == [
        (3, "E-PORT-PROXY", "models.a.cmd"),
        (5, "E-TYPE", "models.a.ttl"),
        (6, "E-ALIAS-DUP", "models.a.aliases[3]"),
        (7, "E-MACRO-MAP", "macros"),
    ]
    (warning,) = caught.value.warnings
    assert str(warning) == (
        f"{path}:4: models.a.cdm: unknown key; did you mean 'cmd'? [W-UNKNOWN-KEY]"
    )


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


def refused(folder: Path, config: Path | None = None) -> list[tuple[str | None, int | None, str]]:
    with pytest.raises(ConfigInvalid) as caught:
        load_config(config, folder, environ={})
    return [
        (problem.file and Path(problem.file).name, problem.line, problem.code)
        for problem in caught.value.problems
    ]


def test_a_file_that_cannot_be_read_does_not_hide_what_is_wrong_in_the_others(
    tmp_path: Path,
) -> None:
    write(
        tmp_path,
        a="models: {a: [}\n",
        b="- x\n",
        c="models: {c: {cmd: 's ${PORT} ${defined_in_a}', ttl: soon}}\n"
        "models: {c: {cmd: 's ${PORT}', ttl: later}}\n",
        d="groups: {g: {members: [a, c]}}\nglobalTTL: -1\nstartPort: 1\n",
        e="startPort: ${env.GONE}\nglobalTTL: 5\nlogLevel: ['${env.GONE2}']\n",
    )
    (tmp_path / "f.yaml").write_bytes(b"a: \xff")
    assert refused(tmp_path, tmp_path / "missing.yaml") == [
        ("missing.yaml", None, "E-FILE-READ"),
        ("a.yaml", 1, "E-FILE-YAML"),
        ("b.yaml", 1, "E-FILE-TOP"),
        ("c.yaml", 2, "E-YAML-DUPKEY"),
        ("c.yaml", 2, "E-TYPE"),
        ("d.yaml", 2, "E-TTL-GLOBAL"),
        ("e.yaml", 1, "E-ENV-UNSET"),
        ("e.yaml", 2, "E-MERGE-SCALAR"),
        ("e.yaml", 3, "E-ENV-UNSET"),
        ("e.yaml", 3, "E-TYPE"),
        ("f.yaml", 1, "E-FILE-YAML"),
    ]


VARIABLES = """\
apiKeys: [${env.GONE_A}]
macros:
  "${env.GONE_B}": x
  root: "${env.GONE_C}/m"
models:
  "${env.GONE_D}":
    cmd: |
      srv --port ${PORT}
      --key ${env.GONE_E}
    ttl: ${env.GONE_F}
  b: {cmd: "s ${PORT} ${root} ${known_to_b}", aliases: ["${env.GONE_G}"], ttl: soon}
groups: {g: {members: [b, known_to_g]}}
startPort: ${env.NESTED}
"""


def test_variables_that_are_not_set_are_named_where_they_stand_and_with_nothing_else(
    tmp_path: Path,
) -> None:
    path = tmp_path / "variables.yaml"
    path.write_text(VARIABLES)
    with pytest.raises(ConfigInvalid) as caught:
        load_config(path, None, environ={"NESTED": "${env.GONE_H}"})
    shown = [(p.line, p.text.split()[3], key_path(p.path)) for p in caught.value.problems]
    assert shown == [
        (1, "GONE_A", "apiKeys[0]"),
        (3, "GONE_B", 'macros."${env.GONE_B}"'),
        (4, "GONE_C", "macros.root"),
        (6, "GONE_D", 'models."${env.GONE_D}"'),
        (9, "GONE_E", 'models."${env.GONE_D}".cmd'),
        (10, "GONE_F", 'models."${env.GONE_D}".ttl'),
        (11, "GONE_G", "models.b.aliases[0]"),
        (11, "a", "models.b.ttl"),  # this must be a whole number
        (13, "GONE_H", "startPort"),
    ]


def test_what_marks_such_variables_means_nothing_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "icons.yaml"
    path.write_text("models: {\ue000a\ue000: {cmd: 's ${PORT} \ue000', name: \ue000x\ue000}}\n")
    [model] = load_config(path, None, environ={}).config.models.values()
    assert (model.id, model.name) == ("\ue000a\ue000", "\ue000x\ue000")
    assert model.cmd.endswith(" \ue000")


def test_a_matrix_that_may_go_on_in_a_file_that_cannot_be_read_is_not_judged_for_it(
    tmp_path: Path,
) -> None:
    write(tmp_path, a="matrix: {vars: {v: x}}\n", b="matrix: {sets: {s: v & +t & ghost\n")
    assert refused(tmp_path) == [("b.yaml", 2, "E-FILE-YAML")]
    write(tmp_path, b="matrix: {sets: {s: 'v & &', t: '+u'}}\n", c="matrix: {sets: {u: [}}\n")
    assert refused(tmp_path) == [("b.yaml", 1, "E-MX-PARSE"), ("c.yaml", 1, "E-FILE-YAML")]


def test_a_problem_in_a_matrix_is_reported_alone(tmp_path: Path) -> None:
    models = {name: {"cmd": "s ${PORT}"} for name in ("x", "y")}
    sound = {"vars": {"v": "x"}, "evict_costs": {"v": 2}, "sets": {"s": "v & y", "t": "+s | y"}}
    for part, key, value, code in [
        ("vars", "v", [], "E-TYPE"),
        ("vars", "v", "ghost", "E-MX-VARMODEL"),
        ("sets", "s", [], "E-TYPE"),
        ("sets", "s", "${gone}", "E-MACRO-UNKNOWN"),
        ("sets", "s", "v &", "E-MX-PARSE"),
        ("evict_costs", "v", "high", "E-TYPE"),
        ("evict_costs", "ghost", 3, "E-MX-COSTKEY"),
    ]:
        matrix = json.loads(json.dumps(sound))
        matrix[part][key] = value
        document = {"models": models, "matrix": matrix}
        assert said(problems_of(document, tmp_path)) == [(code, f"matrix.{part}.{key}")]
    for part, code in (("vars", "E-TYPE"), ("sets", "E-MX-SETS"), ("evict_costs", "E-TYPE")):
        document = {"models": models, "matrix": {**sound, part: ["v"]}}
        assert said(problems_of(document, tmp_path)) == [(code, f"matrix.{part}")]


def test_where_two_ways_exclude_each_other_both_are_checked(tmp_path: Path) -> None:
    bad_groups = {"g": {"members": ["ghost"]}}
    bad_matrix = {"sets": {"s": "ghost"}}
    settings_of = {"groups": bad_groups, "matrix": bad_matrix}
    new = {"use": "other", "settings": copy.deepcopy(settings_of)}  # no shared snippets
    document = {
        "models": {"a": {"cmd": "s ${PORT}"}},
        "groups": bad_groups,
        "matrix": bad_matrix,
        "routing": {"router": new},
    }
    assert said(problems_of(document, tmp_path)) == [
        ("E-GROUP-MEMBER", "groups.g.members[0]"),
        ("E-GROUP-MEMBER", "routing.router.settings.groups.g.members[0]"),
        ("E-GROUPS-MATRIX", "matrix"),
        ("E-MX-IDENT", "matrix.sets.s"),
        ("E-MX-IDENT", "routing.router.settings.matrix.sets.s"),
        ("E-ROUTE-MIX", "matrix"),
        ("E-ROUTE-UNKNOWN", "routing.router.use"),
    ]


def test_a_mistake_in_a_shared_snippet_is_told_once_with_its_places(tmp_path: Path) -> None:
    path = tmp_path / "shared.yaml"
    path.write_text(
        "models:\n  m0: &m\n    cmd: s ${PORT}\n    ttl: soon\n    tll: 3\n"
        + "".join(f"  m{number}: *m\n" for number in range(1, 9))
        + "  n: {<<: *m, ttl: soon}\n"
    )
    with pytest.raises(ConfigInvalid) as caught:
        load_config(path, None, environ={})
    wrong = 'this must be a whole number, not the text "soon"'
    first = "the same: models.m1.ttl, models.m2.ttl, models.m3.ttl, models.m4.ttl, models.m5.ttl"
    assert [(p.line, p.text) for p in caught.value.problems] == [
        (4, f"{wrong} ({first}, 3 more)"),
        (14, wrong),
    ]
    [warning] = caught.value.warnings
    assert str(warning).startswith(f"{path}:5: models.m0.tll: unknown key; did you mean 'ttl'? (")


def test_key_paths_of_this_file_are_read_as_they_are_written() -> None:
    path: KeyPath = ("models", "a", "aliases", 2)
    assert steps(key_path(path)) == path
