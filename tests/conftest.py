"""What all tests share."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from llamaswap.nursery import open_files

assert open_files.WANTED  # importing it raises the limit of open files, as in the program

# a shell's background job has SIGINT ignored, and so had everything that tests start and interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)

# how long an example takes says something about the machine, which may be busy
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

LONGEST_SOCKET_PATH = 103
"""Bytes, on macOS; four more on Linux."""
SOCKET = "/llamaswap-12345678/control.sock"
"""What the program adds to the folder for temporary files."""


@pytest.fixture(scope="session", autouse=True)
def temporary_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Temporary files of the tests and of all they start go away, whatever was killed before it
    could tidy up: they lie below pytest's own folder, or one as short-lived if its path is too
    long for a socket.
    """
    folder = tmp_path_factory.mktemp("tmp", numbered=False)
    elsewhere = None
    if len(os.fsencode(folder)) + len(SOCKET) > LONGEST_SOCKET_PATH:
        folder = elsewhere = Path(tempfile.mkdtemp(prefix="ls-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", str(folder))
        yield
    if elsewhere is not None:
        shutil.rmtree(elsewhere, ignore_errors=True)
