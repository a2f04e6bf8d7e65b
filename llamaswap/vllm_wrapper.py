"""`vllm-wrapper`: put vLLM to sleep instead of ending it, so that a swap takes seconds.

`serve` runs as a model's `cmd`: it wakes the daemon, or starts it in a session of its own, forwards
requests to it, and on SIGTERM puts it to sleep and leaves; the daemon stays. `sleep` does the last
step alone, for `cmdStop`. Source: telemetry §7.5.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import trio

from llamaswap.commands.arguments import Flag, Given, HelpWanted, Line
from llamaswap.commands.running import run_async
from llamaswap.errors import LlamaswapError
from llamaswap.flags import UsageError
from llamaswap.forwarding import Forwarding, forward_from, log_to_stdout
from llamaswap.http_client import get_status, open_client, transport_errors
from llamaswap.nursery.process_group import MARK_VARIABLE

logger = logging.getLogger("vllm-wrapper")

URL = Flag("vllm-url", "URL", "where vLLM listens (needed)")
LEVEL = Flag("sleep-level", "N", "1 keeps the weights in memory, 2 drops them", default="1")
SERVE = Line(
    name="serve",
    program="vllm-wrapper",
    summary="Wake vLLM or start it, forward requests to it, put it to sleep on SIGTERM.",
    flags=(
        URL,
        Flag("listen", "host:port", "address to serve on (needed)"),
        LEVEL,
        Flag("health-path", "PATH", "answers 200 when vLLM is awake", default="/health"),
        Flag("wait-timeout", "DURATION", "for the daemon to become healthy", default="120s"),
        Flag(
            "daemon-log",
            "path",
            "file for its output, copied to stdout (default: in the temporary directory, by port)",
        ),
        Flag("journal-unit", "UNIT", "user unit whose journal is copied to stdout"),
    ),
    rest="DAEMON …",
)
SLEEP = Line(
    name="sleep",
    program="vllm-wrapper",
    summary="Put vLLM to sleep; then end a process, if one is named.",
    flags=(URL, LEVEL, Flag("stop-pid", "PID", "gets SIGTERM once vLLM sleeps", default="0")),
)
PAUSE = 1.0
PROBE_LIMIT = 5.0
WAKE_LIMIT, AWAKE_LIMIT = 120.0, 10.0
SLEEP_LIMIT = 60.0
LOG_LIMIT = 1 << 20
LOG_INTERVAL = 0.2


class WrapperFailed(LlamaswapError):
    """vLLM does not do what it should."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `serve` or `sleep`; return the exit code: 0, 1 for failures, 2 for nonsense."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    lines = {"serve": (SERVE, _serve), "sleep": (SLEEP, _sleep)}
    if not words or words[0] not in lines:
        print(f"{SERVE.usage()}\n{SLEEP.usage()}", file=sys.stderr, end="")  # noqa: T201
        return 0 if words[:1] in (["-h"], ["-help"], ["--help"]) else 2
    line, body = lines[words[0]]
    log_to_stdout()
    try:
        given = line.read(words[1:])
        _demand(given)
        run_async(partial(body, given))
    except HelpWanted as wish:
        print(wish, end="")  # noqa: T201
    except UsageError as exc:
        print(f"vllm-wrapper {words[0]}: {exc}", file=sys.stderr)  # noqa: T201
        return 2
    except LlamaswapError as exc:
        print(f"vllm-wrapper {words[0]}: {exc}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _demand(given: Given) -> None:
    for name in ("vllm-url", "listen"):
        if name in given.flags and not given.text(name):
            raise WrapperFailed(f"-{name} is needed")
    if "listen" in given.flags and not given.arguments:
        raise WrapperFailed("the daemon's command is needed, after --")


async def _serve(given: Given) -> None:
    url = given.text("vllm-url").rstrip("/")
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            if given.text("journal-unit"):
                nursery.start_soon(_copy_journal, given.text("journal-unit"))
            log = _log_path(given, url)
            nursery.start_soon(_copy_log, log)
            nursery.start_soon(_until_ready, given, url, log, nursery)
            number = await anext(aiter(signals))
            if number == signal.SIGTERM:
                with trio.move_on_after(SLEEP_LIMIT + 1):
                    status = await _post(
                        f"{url}/sleep", {"level": given.count("sleep-level")}, SLEEP_LIMIT
                    )
                    if status != 200:
                        logger.warning("putting vLLM to sleep: %s", _told(status))
            nursery.cancel_scope.cancel(reason=f"signal {number}")


async def _until_ready(given: Given, url: str, log: Path, nursery: trio.Nursery) -> None:
    """Wake or start vLLM; serve only then, so that the address answers when vLLM does."""
    health = url + given.text("health-path")
    await _bring_up(given, url, health, log)
    await nursery.start(forward_from, given.text("listen"), url, _forward)


async def _forward(exchange: Forwarding) -> None:
    await exchange.forward()


async def _bring_up(given: Given, url: str, health: str, log: Path) -> None:
    wait = given.seconds("wait-timeout")
    if await _is_healthy(health):
        status = await _post(f"{url}/wake_up", None, WAKE_LIMIT)
        if status not in (200, 204):
            logger.warning("waking vLLM: %s", _told(status))
        if not await _becomes_healthy(health, AWAKE_LIMIT):
            raise WrapperFailed(f"{health} does not answer 200 within {AWAKE_LIMIT:g} s")
        return
    if await _post(f"{url}/wake_up", None, WAKE_LIMIT) in (200, 204):
        if not await _becomes_healthy(health, wait):
            raise WrapperFailed(f"{health} does not answer 200 within {wait:g} s")
        return
    process = await _start_daemon(given.arguments, log)
    if not await _becomes_healthy(health, wait):
        process.kill()
        raise WrapperFailed(
            f"{' '.join(given.arguments)}: {health} does not answer 200 within {wait:g} s"
        )


async def _start_daemon(argv: Sequence[str], log: Path) -> trio.Process:
    """Start it so that nothing that ends us ends it.

    In a session of its own no signal to our process group reaches it, and without llamaswap's mark
    it is nobody's orphan. Its output goes to a file: our pipe would break when we leave.
    """
    env = {name: value for name, value in os.environ.items() if name != MARK_VARIABLE}
    logger.info("starting %s, output in %s", " ".join(argv), log)
    try:
        output = _open_log(log)
        try:
            return await trio.lowlevel.open_process(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=env,
                start_new_session=True,
            )
        finally:
            os.close(output)
    except OSError as exc:
        raise WrapperFailed(f"cannot start {argv[0]}: {exc}") from exc


def _log_path(given: Given, url: str) -> Path:
    if given.text("daemon-log"):
        return Path(given.text("daemon-log"))
    port = url.rpartition(":")[2].partition("/")[0]
    return Path(tempfile.gettempdir(), f"vllm-wrapper-{os.getuid()}-{port}.log")


def _open_log(path: Path) -> int:
    """For appending, readable for us alone; no link that somebody else has laid is followed."""
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)


async def _copy_log(path: Path) -> None:
    """Copy what the daemon says from now on to our stdout; keep the file small."""
    try:
        descriptor = _open_log(path)
    except OSError as exc:
        logger.warning("the daemon's output is not copied: %s", exc)
        return
    try:
        at = os.fstat(descriptor).st_size
        while True:
            data = os.pread(descriptor, 65536, at)
            at += len(data)
            if data:
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
            elif at > LOG_LIMIT:
                os.ftruncate(descriptor, 0)  # the daemon appends, so it goes on at the beginning
                at = 0
            await trio.sleep(0 if data else LOG_INTERVAL)
    finally:
        os.close(descriptor)


async def _is_healthy(health: str) -> bool:
    return await get_status(health, connect_timeout=PROBE_LIMIT, total_timeout=PROBE_LIMIT) == 200


async def _becomes_healthy(health: str, within: float) -> bool:
    with trio.move_on_after(within):
        while not await _is_healthy(health):  # noqa: ASYNC110  # only asking tells
            await trio.sleep(PAUSE)
        return True
    return False


async def _post(url: str, body: object, within: float) -> int | None:
    """POST; return the status, or None if no answer came in time."""
    with trio.move_on_after(within):
        async with open_client(url, connect_timeout=PROBE_LIMIT) as client:
            try:
                return int((await client.post(url, json=body)).status_code)
            except transport_errors() as exc:
                logger.debug("%s: %s", url, exc)
    return None


def _told(status: int | None) -> str:
    return "no answer" if status is None else f"it answered {status}"


async def _copy_journal(unit: str) -> None:
    words = ["journalctl", f"--user-unit={unit}", "--follow", "--lines=0", "--output=cat",
             "--no-pager"]  # fmt: skip
    try:
        await trio.run_process(words, check=True)
    except (OSError, subprocess.CalledProcessError) as exc:
        logger.warning("the journal of %s is not copied: %s", unit, exc)


async def _sleep(given: Given) -> None:
    url = given.text("vllm-url").rstrip("/")
    pid = given.count("stop-pid", least=0)
    status = await _post(f"{url}/sleep", {"level": given.count("sleep-level")}, SLEEP_LIMIT)
    if status != 200:
        raise WrapperFailed(f"{url}/sleep: {_told(status)}")
    if pid > 0:
        try:
            os.kill(pid, signal.SIGTERM)
        except OSError as exc:
            raise WrapperFailed(f"cannot end process {pid}: {exc}") from exc


if __name__ == "__main__":
    sys.exit(main())
