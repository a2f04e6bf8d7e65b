"""What a log may show of a command."""

from __future__ import annotations

import pytest

from llamaswap.nursery.masking import shown_command


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (["llama-server", "-m", "a model.gguf"], "llama-server -m 'a model.gguf'"),
        (["s", "--api-key", "hunter2", "--port", "1"], "s --api-key [REDACTED] --port 1"),
        (["s", "--api-key=hunter2"], "s '--api-key=[REDACTED]'"),
        (["s", "--hf-token", "x"], "s --hf-token [REDACTED]"),
        (["docker", "run", "-e", "HF_TOKEN=x"], "docker run -e 'HF_TOKEN=[REDACTED]'"),
        (["s", "--header", "Bearer abc"], "s --header [REDACTED]"),
        (["s", "sk-12345"], "s [REDACTED]"),
        (["s", "--password", "--port", "1"], "s --password --port 1"),
        (["s", "--n-keys-per-head", "8"], "s --n-keys-per-head 8"),
        (["s", "--api-key-file", "/etc/key"], "s --api-key-file /etc/key"),
        (["s", "--keep", "5", "--tokens=9"], "s --keep 5 --tokens=9"),
    ],
)
def test_values_that_look_like_secrets_are_hidden_and_nothing_else(
    argv: list[str], shown: str
) -> None:
    assert shown_command(argv) == shown
