"""`config-schema`: the schema editors check and complete configuration files with."""

from __future__ import annotations

import json
from collections.abc import Sequence

from llamaswap.commands.arguments import Line

LINE = Line(
    name="config-schema",
    summary=(
        "Print the JSON schema of the configuration, for editors: write it to a file and begin "
        "config.yaml with '# yaml-language-server: $schema=that-file'."
    ),
)


def run(arguments: Sequence[str]) -> int:
    """Print the schema on stdout."""
    from llamaswap.config.json_schema import json_schema

    LINE.read(arguments)
    print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
    return 0
