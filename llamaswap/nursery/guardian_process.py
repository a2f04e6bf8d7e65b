"""The guardian: kills every child of a program that died without stopping them.

Runs as its own tiny process, standard library only (`python -I -S guardian_process.py OWNER`). Its
standard input is a pipe from the program; the lines say which groups live. End of input without a
`bye` means that the program is gone: then everything it had registered, and (where /proc tells)
everything with its mark, gets SIGTERM, and SIGKILL `GRACE` seconds later. Source: lifecycle §1.10.
"""

import os
import signal
import sys
import time

GRACE = 2.0
LIMIT = 10.0
MARK_VARIABLE = b"LLAMASWAP_RUN="


def marked(owner: bytes, kept: set[bytes]) -> set[int]:
    """Living processes whose environment carries the owner's mark, except runs that are kept."""
    found: set[int] = set()
    prefix = MARK_VARIABLE + owner + b"/"
    try:
        entries = os.listdir("/proc")
    except OSError:
        return found
    for entry in entries:
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                variables = file.read().split(b"\0")
        except OSError:
            continue  # gone, or not ours to read; a zombie's environment is empty
        for variable in variables:
            if variable.startswith(prefix) and variable[len(prefix) :].split(b"/")[0] not in kept:
                found.add(int(entry))
    return found


def send(groups: set[int], pids: set[int], sig: int) -> None:
    """Signal all of them; who is gone is no error."""
    for group in groups:
        try:
            os.killpg(group, sig)
        except OSError:
            pass
    for pid in pids:
        try:
            os.kill(pid, sig)
        except OSError:
            pass


def alive(groups: set[int]) -> set[int]:
    """The groups that still have a member."""
    left: set[int] = set()
    for group in groups:
        try:
            os.killpg(group, 0)
        except OSError:
            continue
        left.add(group)
    return left


def main() -> None:
    """Keep the books until the program says goodbye or vanishes."""
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, signal.SIG_IGN)
    owner = sys.argv[1].encode()
    groups: set[int] = set()
    kept: set[bytes] = set()
    for line in sys.stdin.buffer:
        words = line.split()
        if words[:1] == [b"bye"]:
            return
        if words[:1] == [b"+"]:
            groups.add(int(words[1]))
        elif words[:1] == [b"-"]:
            groups.discard(int(words[1]))
        elif words[:1] == [b"keep"]:
            kept.add(words[1])
    started = time.monotonic()
    send(groups, marked(owner, kept), signal.SIGTERM)
    while time.monotonic() - started < LIMIT:
        groups = alive(groups)
        pids = marked(owner, kept)
        if not groups and not pids:
            return
        if time.monotonic() - started > GRACE:
            send(groups, pids, signal.SIGKILL)
        time.sleep(0.05)


if __name__ == "__main__":
    main()
