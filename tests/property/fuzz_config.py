"""Throw damaged configuration files at the loader.

    python -m tests.property.fuzz_config [SECONDS] [SEED]

Takes files from a corpus (every configuration case, every example), damages them byte by byte and
loads them. Whatever is raised but the loader's own error is a defect; the file is kept.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from llamaswap.config.load import load_config
from llamaswap.config.problems import ConfigInvalid
from llamaswap.config.report import printable, summary

ROOT = Path(__file__).parents[2]
ENVIRON = {"SET": "value", "EMPTY": "", "NESTED": "${env.SET}", "QUOTE": '"', "ODD": "\udc80"}
DICTIONARY = tuple(
    text.encode()
    for text in (
        "\n", " ", "\t", "\r", "\0", "\ufeff", "\x85", "\u2028",
        ": ", "- ", "? ", "#", "|", ">", "&a ",
        "*a", "<<: ", "!t ", "!!int ", "'", '"', "\\", "{", "}", "[", "]", ",", "---\n", "...\n",
        "%YAML 1.1\n", "~", "null", "true", "0x", "1e400", ".nan", "-.inf", "-1", "9" * 25,
        "${PORT}", "${PID}", "${MODEL_ID}", "${x}", "${", "}", "${env.SET}", "${env.NESTED}",
        "${env.ODD}", "${env.QUOTE}", "${env.GONE}", "a & b", "+a", "((", "(?:",
        "\\Q", "[[:alpha:]]",
        "http://", "://", "//", "%zz", "models", "macros", "matrix", "groups", "peers", "routing",
    )
)  # fmt: skip


def corpus() -> list[bytes]:
    """Every configuration this project knows."""
    cases = yaml.safe_load((ROOT / "tests/unit/config_cases.yaml").read_text("utf-8"))
    texts = [case["config"] for case in cases if "config" in case]
    texts += [text for case in cases for text in case.get("files", {}).values()]
    texts += [path.read_text("utf-8") for path in sorted((ROOT / "examples").glob("*.yaml"))]
    return [text.encode() for text in texts]


def damaged(files: list[bytes], chance: random.Random) -> bytes:
    """One of `files` with one to six things done to it."""
    data = bytearray(chance.choice(files))
    for _ in range(chance.randint(1, 6)):
        at = chance.randint(0, len(data))
        match chance.randrange(6):
            case 0:
                data[at:at] = chance.choice(DICTIONARY)
            case 1:
                data[at : at + chance.randint(1, 12)] = b""
            case 2:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 3:  # a piece of another file
                other = chance.choice(files)
                start = chance.randint(0, len(other))
                data[at:at] = other[start : start + chance.randint(1, 80)]
            case 4:  # a piece of itself again, so that keys and anchors double
                start = chance.randint(0, len(data))
                data[at:at] = data[start : start + chance.randint(1, 60)]
            case _:
                del data[at:]
    return bytes(data)


def survives(path: Path, data: bytes) -> None:
    """Load `data` and show what came out, all of which may only fail in the loader's own way."""
    path.write_bytes(data)
    try:
        loaded = load_config(path, None, environ=ENVIRON)
    except ConfigInvalid:
        return
    summary(loaded)
    printable(loaded.config)


def runs(seed: int, count: int | None = None) -> Iterator[bytes]:
    """`count` damaged files (None: without end), always the same for a seed."""
    chance = random.Random(seed)
    files = corpus()
    while count is None or count > 0:
        count = None if count is None else count - 1
        yield damaged(files, chance)


def main() -> int:
    """Fuzz for a while; print how much was done. Exit code 1: something else was raised."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(1 << 30)
    end = time.monotonic() + seconds
    done = 0
    with tempfile.TemporaryDirectory() as folder:
        for data in runs(seed):
            try:
                survives(Path(folder, "fuzzed.yaml"), data)
            except BaseException:
                kept = Path(f"config-crash-{seed}-{done}.yaml")
                kept.write_bytes(data)
                print(f"seed {seed}, file {done}: kept as {kept}", file=sys.stderr)
                raise
            done += 1
            if time.monotonic() > end:
                break
    print(f"seed {seed}: {done:,} files, nothing but the loader's own error")
    return 0


if __name__ == "__main__":
    sys.exit(main())
