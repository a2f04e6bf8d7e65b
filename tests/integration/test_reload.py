"""A reload disturbs nothing that did not change. Source: lifecycle §1.11, config §1.7, rel-…"""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest
import trio

from tests.integration.processes import fake_command, free_port, is_alive, settled
from tests.integration.program import write
from tests.integration.reload_stage import START_PORTS, Stage, listening, models, stage, streaming

BROKEN = "models: [broken"
CHANGED = "env: [FAKE_X=1]"


async def test_unchanged_models_keep_process_port_stream_and_log(tmp_path: Path) -> None:
    async with stage(tmp_path, models("kept", "other")) as it:
        kept, other = await it.pid("kept"), await it.pid("other")
        ports = [entry["proxy"] for entry in (await it.running())]
        async with streaming(it, "kept") as stream:
            # a model in front of all others and another startPort must not move anybody's port
            text = models("a-new-one", "kept", "other", other=CHANGED, tail="startPort: 7400")
            await it.reload(text)
            await settled(lambda: not is_alive(other))
            received = len(stream.received)
            await settled(lambda: len(stream.received) > received)
            assert stream.pid == kept
            stream.finish()
            await stream.over.wait()
            assert stream.is_whole()
        assert await it.pid("kept") == kept
        assert await it.pid("other") != other
        assert [entry["proxy"] for entry in await it.running()] == ports
        assert "hello from kept" in await it.first_line_of_log("kept")
        facts = (await it.facts())["last_reload"]
        assert facts["ok"]
        assert facts["models"] == {
            "unchanged": ["kept"],
            "adjusted": [],
            "changed": ["other"],
            "removed": [],
            "added": ["a-new-one"],
        }


async def test_what_no_process_depends_on_changes_while_it_runs(tmp_path: Path) -> None:
    async with stage(tmp_path, models("m")) as it:
        pid = await it.pid("m")
        await it.reload(
            models("m", more="aliases: [n]\n    ttl: 900\n    description: new\n    name: N")
        )
        assert await it.pid("n") == pid
        [entry] = await it.running()
        assert (entry["ttl"], entry["description"], entry["name"]) == (900, "new", "N")
        assert (await it.facts())["last_reload"]["models"]["adjusted"] == ["m"]


async def test_a_shorter_ttl_counts_from_when_the_model_became_idle(tmp_path: Path) -> None:
    async with stage(tmp_path, models("m", "other", more="ttl: 600")) as it:
        pid = await it.pid("m")
        await trio.sleep(1.1)  # idle for longer than the ttl to come
        await it.reload(models("m", "other", m="ttl: 1", other="ttl: 600"))
        await settled(lambda: not is_alive(pid))
        assert "idle for its ttl" in it.program.log()


async def test_a_changed_model_finishes_its_requests_before_its_successor_starts(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path, models("m", "other")) as it:
        async with streaming(it, "m") as stream, trio.open_nursery() as nursery:
            old = stream.pid
            await it.reload(models("m", "other", more=CHANGED))
            successors: list[int] = []

            async def ask() -> None:
                successors.append(await it.pid("m"))
                assert not is_alive(old)

            nursery.start_soon(ask)
            await it.becomes("m", "stopping")
            received = len(stream.received)
            await settled(lambda: len(stream.received) > received)
            assert successors == []
            stream.finish()
            await stream.over.wait()
            assert stream.is_whole()
        assert successors != [old]


async def test_a_removed_model_finishes_its_requests_and_is_unknown_at_once(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path, models("m", "other")) as it:
        async with streaming(it, "m") as stream:
            await it.reload(models("other"))
            assert (await it.program.chat("m")).status_code == 404
            # it ran beside the one that leaves, and need not wait for it
            assert (await it.program.chat("other")).status_code == 200
            stream.finish()
            await stream.over.wait()
            assert stream.is_whole()
            await settled(lambda: not is_alive(stream.pid))


@pytest.mark.parametrize("fixed", [True, False], ids=["the same fixed port", "automatic ports"])
async def test_a_new_model_waits_until_what_it_may_replace_is_gone(
    tmp_path: Path, fixed: bool
) -> None:
    """rel-05: a renamed model would need its memory twice, and perhaps its port."""
    port = free_port()

    def text(name: str) -> str:
        if not fixed:
            return models(name)
        command = f"{fake_command('--term-delay', '0.5')} --port {port}"
        where = f"cmd: {command}, proxy: 'http://127.0.0.1:{port}'"
        return (
            f"models: {{{name}: {{{where}}}}}\ngroups: {{g: {{swap: false, members: [{name}]}}}}\n"
        )

    async with stage(tmp_path, text("old")) as it:
        old = await it.pid("old")
        async with streaming(it, "old") as stream, trio.open_nursery() as nursery:
            await it.reload(text("new"))
            new: list[int] = []

            async def ask() -> None:
                new.append(await it.pid("new"))
                assert not is_alive(old)

            nursery.start_soon(ask)
            await trio.sleep(0.3)
            assert new == []
            stream.finish()
            await stream.over.wait()
            assert stream.is_whole()
        assert new
        assert new != [old]


BAD: dict[str, tuple[str | None, list[str]]] = {
    "broken": (BROKEN, ["c.yaml", "YAML"]),
    "missing": (None, ["c.yaml", "No such file"]),
    "unset": (models("m", tail="apiKeys: ['${env.LS_TEST_UNSET}']"), ["LS_TEST_UNSET"]),
    "store": (models("m", tail="store: {path: /nonexistent/d/s.db}"), ["store.path", "/nonexist"]),
    "empty": ("", ["c.yaml", "models: {}"]),
    "comment": ("# nothing\n", ["c.yaml", "models: {}"]),
    "two": (models("m", tail="globalTTL: -1\nlogToStdout: x"), ["globalTTL", "logToStdout"]),
}


async def test_a_bad_file_changes_nothing_and_is_reported_everywhere(tmp_path: Path) -> None:
    """rel-02, rel-08."""
    async with stage(tmp_path, models("m")) as it:
        pid = await it.pid("m")
        before = await it.facts()
        async with streaming(it, "m") as stream:
            for name, (bad, words) in BAD.items():
                if bad is None:
                    it.path.unlink()
                await it.reload(bad)
                line = it.program.log().rpartition("[WARN] reload failed")[2]
                facts = await it.facts()
                report = facts.pop("last_reload")
                assert (report["ok"], report["trigger"]) == (False, "SIGHUP"), name
                for word in words:
                    assert word in line, name
                    assert word in report["error"], name
                if name == "two":
                    told = {(each["code"], each["path"]) for each in report["problems"]}
                    assert told == {
                        ("E-TTL-GLOBAL", "globalTTL"),
                        ("E-LOGSTDOUT", "logToStdout"),
                    }
                    assert {each["file"] for each in report["problems"]} == {str(it.path)}
                assert facts == {key: before[key] for key in before if key != "last_reload"}, name
            stream.finish()
            await stream.over.wait()
            assert stream.is_whole()
        assert await it.pid("m") == pid
        await it.reload(models("m"))
        assert (await it.facts())["last_reload"]["ok"]
        assert await it.pid("m") == pid


async def test_whoever_listens_is_told_how_each_reload_went(tmp_path: Path) -> None:
    typo = models("m", m="tll: 5", tail="globalTTL: -1\nlogToStdout: x")
    async with stage(tmp_path, models("m")) as it, listening(it, "config,models") as client:
        await it.reload(typo)
        await settled(lambda: len(client.of("configReloaded")) == 1)
        [told] = client.of("configReloaded")
        assert (told["ok"], told["generation"]) == (False, 1)
        assert told["error"] == (await it.facts())["last_reload"]["error"]
        for code in ("E-TTL-GLOBAL", "E-LOGSTDOUT"):
            assert code in told["error"]
        assert "models.m.tll: unknown key; did you mean 'ttl'?" in it.program.log()
        assert [len(each) for each in client.of("modelStatus")] == [1]

        await it.reload(models("m", "n"))
        await settled(lambda: len(client.of("configReloaded")) == 2)
        assert client.of("configReloaded")[-1] == {"ok": True, "generation": 2}
        assert [entry["id"] for entry in client.of("modelStatus")[-1]] == ["m", "n"]


async def test_no_profile_is_active_after_a_reload(tmp_path: Path) -> None:
    profiles = "profiles: {day: {pins: {m: n}}, night: {pins: {m: ''}}}"

    async def active(it: Stage) -> str | None:
        found: str | None = (await it.program.http.get("/api/profiles")).json()["active"]
        return found

    async with stage(tmp_path, models("m", "n", tail=profiles)) as it:
        pid = await it.pid("m")
        async with listening(it, "profile,config") as client:
            chosen = await it.program.http.put("/api/profiles/active", json={"name": "day"})
            assert chosen.json() == {"active": "day"}
            assert await it.pid("m") == await it.pid("n") != pid
            await it.reload(BROKEN)  # changes nothing, not even that
            assert await active(it) == "day"
            assert await it.pid("m") != pid
            await it.reload(models("m", "n", tail=profiles))
            assert await active(it) is None
            assert await it.pid("m") == pid
            await settled(lambda: len(client.of("configReloaded")) == 2)
            assert client.of("profileChanged") == [
                {"active": None},
                {"active": "day"},
                {"active": None},
            ]


async def test_a_reload_without_any_change_stops_nothing(tmp_path: Path) -> None:
    """rel-03: ours keeps the processes."""
    async with stage(tmp_path, models("m")) as it:
        pid = await it.pid("m")
        await it.reload()
        assert await it.pid("m") == pid
        assert (await it.facts())["generation"] == 2


async def test_two_signals_in_a_row_end_with_the_newest_file(tmp_path: Path) -> None:
    """rel-06."""
    async with stage(tmp_path, models("m")) as it:
        for number in range(20):
            write(it.path, models("m", more=f"description: number {number}"))
            it.program.process.send_signal(signal.SIGHUP)
            await trio.sleep(0.01)
        await it.eventually(
            it.facts, lambda facts: facts["config"]["models"]["m"]["description"] == "number 19"
        )
        assert it.begun() <= 21


async def test_nobody_notices_reloads_under_load(tmp_path: Path) -> None:
    """Every request is answered, by old processes or by new ones, whatever it was doing."""
    async with stage(tmp_path, models("m", "kept")) as it:
        kept = await it.pid("kept")
        statuses: list[int] = []
        over = False

        async def ask(model: str) -> None:
            while not over:
                statuses.append((await it.program.chat(model)).status_code)

        async with trio.open_nursery() as nursery:
            for model in ("m", "m", "m", "kept"):
                nursery.start_soon(ask, model)
            for number in range(6):
                await it.reload(models("m", "kept", m=f"env: [FAKE_X={number}]"))
                enough = len(statuses) + 5
                while len(statuses) < enough:
                    await trio.sleep(0.02)
            over = True
        assert set(statuses) == {200}
        assert await it.pid("kept") == kept
        assert (await it.program.chat("m")).json()["environ"]["FAKE_X"] == "5"


async def test_added_models_are_listed_and_start(tmp_path: Path) -> None:
    """rel-01."""
    async with stage(tmp_path, models("m")) as it:
        pid = await it.pid("m")
        await it.reload(models("m", "n"))
        listed = (await it.program.http.get("/v1/models")).json()["data"]
        assert [entry["id"] for entry in listed] == ["m", "n"]
        assert await it.pid("n") != pid == await it.pid("m")


async def test_log_settings_are_applied_live(tmp_path: Path) -> None:
    """rel-07."""
    async with stage(tmp_path, models("m")) as it:
        await it.pid("m")
        assert "[DEBUG]" not in it.program.log()
        await it.reload(models("m", tail="logLevel: debug\nlogTimeFormat: rfc3339"))
        await it.program.http.get("/unload")
        stamped = re.compile(r"^\d{4}-\d\d-\d\dT\S+(Z|[+-]\d\d:\d\d) \[DEBUG\] ", re.MULTILINE)
        await settled(lambda: stamped.search(it.program.log()) is not None)


async def test_requests_that_wait_are_decided_by_the_new_configuration(tmp_path: Path) -> None:
    def text(*names: str) -> str:
        lines = [f"  {name}: {{cmd: '{fake_command()} --port ${{PORT}}'}}" for name in names]
        return "\n".join(
            [f"startPort: {next(START_PORTS)}", "models:", *lines, ""]
        )  # all in one group that swaps

    async with stage(tmp_path, text("busy", "goes", "stays")) as it:
        async with streaming(it, "busy") as stream, trio.open_nursery() as nursery:
            answers: dict[str, int] = {}

            async def ask(model: str) -> None:
                answers[model] = (await it.program.chat(model)).status_code

            nursery.start_soon(ask, "goes")
            nursery.start_soon(ask, "stays")
            await trio.sleep(0.3)
            assert answers == {}
            await it.reload(text("busy", "stays"))
            await settled(lambda: answers == {"goes": 404})
            stream.finish()
            await settled(lambda: answers == {"goes": 404, "stays": 200})


async def test_preloading_begins_again_without_pushing_anybody_out(tmp_path: Path) -> None:
    def text(preload: str, more: str = "") -> str:
        lines = [f"  {name}: {{cmd: '{fake_command()} --port ${{PORT}}'{more}}}" for name in "ab"]
        hook = f"startPort: {next(START_PORTS)}\nhooks: {{on_startup: {{preload: [{preload}]}}}}"
        return "\n".join(["models:", *lines, hook, ""])

    async with stage(tmp_path, text("a")) as it:
        await it.becomes("a", "ready")
        user = await it.pid("b")  # pushes `a` out
        await it.reload()
        await settled(lambda: "<a> not preloaded again: b would go" in it.program.log())
        assert await it.pid("b") == user
        await it.program.http.get("/unload")
        await it.reload()  # nobody is in the way now
        await it.becomes("a", "ready")
        await it.reload(text("b"))  # this is what the operator just asked for
        await it.becomes("b", "ready")
        await it.reload(text("b", ", env: [FAKE_X=1]"))  # changed: it comes back by itself
        await settled(lambda: it.program.log().count("<b> preloaded") == 2)
        answer = (await it.program.chat("b")).json()
        assert answer["environ"]["FAKE_X"] == "1"
