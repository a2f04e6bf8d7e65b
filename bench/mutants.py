"""Are the tests any good? Twenty faults, one line each, seeded into the schedulers; all must show.

`python -m bench.mutants`: each fault goes into a copy of the package, against which the tests of
the schedulers run. Prints a table; exit code 1 if a fault was not caught. Takes minutes.
Source: scheduling §4.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).parents[1]
TESTS = (
    "tests/unit/test_fifo.py",
    "tests/unit/test_batch_scheduler.py",
    "tests/unit/test_history.py",
    "tests/unit/test_matrix.py",
    "tests/unit/test_decisions.py",
    "tests/unit/test_simulator.py",
    "tests/property/test_scheduler_machine.py",
)


@frozen
class Mutant:
    """One line that is wrong."""

    file: str
    right: str
    wrong: str


MUTANTS = (
    Mutant("bookkeeping", "if job.target in evict or model in job.evict:",
           "if job.target in evict:"),
    Mutant("bookkeeping", "if not set(evict).isdisjoint(job.evict):", "if False:"),
    Mutant("bookkeeping", "models.update(self._jobs)", "pass"),
    Mutant("bookkeeping", "self._held[request.model].discard(request.ticket)", "pass"),
    Mutant("bookkeeping", "self.rules[model].ttl and not self._in_job(model):",
           "self.rules[model].ttl:"),
    Mutant("bookkeeping", "return  # a stale result changes nothing",
           "job = next(iter(self._jobs.values()), None) or Job(number, '', (), 0.0)"),
    Mutant("bookkeeping", "if not job.cancelled:", "if job.cancelled:"),
    Mutant("bookkeeping", "self._closed = True", "self._closed = False"),
    Mutant("fifo", "if job is not None and not job.cancelled:", "if job is not None:"),
    Mutant("fifo", "if any(self._serving.get(victim) for victim in evict):", "if False:"),
    Mutant("fifo", "while place and self._queue[place - 1].priority < request.priority:",
           "while place and self._queue[place - 1].priority <= request.priority:"),
    Mutant("fifo", "len(held) >= rule.limit else None", "len(held) > rule.limit else None"),
    Mutant("fifo", "if guard is not None and guard.model != model and self._conflicts(",
           "if guard is None and self._conflicts("),
    Mutant("batch", "if serving and len(serving) >= self._window(model):", "if False:"),
    Mutant("batch", "return False  # its last grant comes as an event", "continue"),
    Mutant("batch", "self._gated.update(dict.fromkeys(evict, model))", "pass"),
    Mutant("batch", "if until > self._now:", "if until < self._now:"),
    Mutant("batch", "if error is None or job.cancelled:", "if error is None:"),
    Mutant("batch", "return (-line.priority, -gain, line.requests[0].order)",
           "return (-line.priority, gain, line.requests[0].order)"),
    Mutant("matrix", "if any(mask | other == other for other, _ in kept):", "if kept:"),
)  # fmt: skip


def main() -> int:
    """Seed, run, report."""
    survivors = 0
    print("| # | file | line | becomes | caught by |\n|---:|---|---|---|---|")
    for number, mutant in enumerate(MUTANTS, 1):
        caught = caught_by(mutant)
        survivors += caught is None
        right, wrong = (text.splitlines()[0] for text in (mutant.right, mutant.wrong))
        print(f"| {number} | {mutant.file} | `{right}` | `{wrong}` | {caught or '**nobody**'} |",
              flush=True)  # fmt: skip
    print(f"\n{len(MUTANTS) - survivors} of {len(MUTANTS)} caught")
    return 1 if survivors else 0


def caught_by(mutant: Mutant) -> str | None:
    """The first test that fails. None: all pass."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("llamaswap", "tests"):
            shutil.copytree(ROOT / part, copy / part)
        shutil.copy(ROOT / "pyproject.toml", copy)
        path = copy / "llamaswap" / "planning" / f"{mutant.file}.py"
        text = path.read_text(encoding="utf-8")
        if text.count(mutant.right) != 1:
            sys.exit(f"{mutant.file}: stands {text.count(mutant.right)} times: {mutant.right}")
        path.write_text(text.replace(mutant.right, mutant.wrong), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *TESTS],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy)},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode == 0:
        return None
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed[0].split(" ")[1].rpartition("/")[2].rstrip(":") if failed else "a crash"


if __name__ == "__main__":
    sys.exit(main())
