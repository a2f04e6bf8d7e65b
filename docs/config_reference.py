"""Write `docs/configuration.md` from the description of the sections: `make docs`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from attrs import fields, has

from llamaswap.config import kinds
from llamaswap.config.reader import Key, keys_of
from llamaswap.config.sections import RootSection

INTRODUCTION = """# Configuration

<!-- Written by `make docs` from llamaswap/config/; change the descriptions there, or docs/config_reference.py. -->

One YAML file (`-config`), or a directory of them (`-config-dir`), in the language of llama-swap's `config.yaml`. `llamaswap check -config FILE` says all that is wrong at once, with file, line and key; `-print-config` shows what it means in the end.

```yaml
# yaml-language-server: $schema=./llamaswap.schema.json
macros:
  server: llama-server --host 127.0.0.1 --port ${PORT}
models:
  qwen:
    cmd: ${server} --model /models/qwen3-8b.gguf
    ttl: 600
```

Editors complete and check the file with the schema that `llamaswap config-schema` prints:

```sh
llamaswap config-schema > llamaswap.schema.json
```

* **Macros**: `${name}` from `macros`, of the model or of the file; `${PORT}` is a free port from `startPort` on, `${MODEL_ID}` the model's id, `${PID}` (in `cmdStop`) the process. `${env.NAME}` is the environment's `NAME`, and an error if it is not set.
* **Commands** are split into words as a shell does, but no shell runs: no pipes, no `&&`, no `~`. Lines that begin with `#` are left out.
* **Kinds**: *text*, *whole number*, *number*, *yes or no*, *duration* (`90s`, `1m30s`), *list*, *map* (name to value), or a section below.
* Keys nobody knows are warned about, not refused.
"""
KINDS: dict[Any, str] = {
    kinds.Text: "text",
    kinds.Whole: "whole number",
    kinds.Number: "number",
    kinds.Flag: "yes or no",
    kinds.Duration: "duration",
    kinds.Anything: "anything",
}


def config_reference() -> str:
    """The whole file."""
    return "\n".join([INTRODUCTION, *_sections(RootSection, "The file", set())]).rstrip() + "\n"


def _sections(section: Any, title: str, seen: set[Any]) -> Iterator[str]:
    """The section's table, then those of the sections it holds, each once."""
    seen.add(section)
    yield f"## {title}\n"
    if section is not RootSection:
        yield f"{(section.__doc__ or '').strip()}\n"
    yield from _table(section)
    for name, key in keys_of(section).items():
        inner = _inner(key.kind)
        if inner is not None and inner not in seen:
            yield from _sections(inner, _title(title, name, key.kind), seen)


def _title(outer: str, name: str, kind: Any) -> str:
    path = name if outer == "The file" else f"{outer}.{name}"
    return f"{path}.*" if get_origin(kind) is dict else path


def _table(section: Any) -> Iterator[str]:
    defaults = {item.name: item.default for item in fields(section)}
    yield "| Key | Kind | Default | Meaning |"
    yield "|---|---|---|---|"
    for name, key in keys_of(section).items():
        yield f"| `{name}` | {_kind(key)} | {_default(key, defaults[key.attribute])} | {_text(key)} |"
    yield ""


def _inner(kind: Any) -> Any:
    """The section a value of this kind holds, if it holds one."""
    if has(kind):
        return kind
    inside = [argument for argument in get_args(kind) if has(argument)]
    return inside[0] if inside else None


def _kind(key: Key) -> str:
    choices = key.meta.get("choices")
    if choices:
        words = ", ".join(f"`{choice}`" for choice in choices)
        return f"list of {words}" if get_origin(key.kind) is list else words
    if get_origin(key.kind) is list:
        return f"list of {_word(get_args(key.kind)[0])}"
    if get_origin(key.kind) is dict:
        return f"map to {_word(get_args(key.kind)[1])}"
    return _word(key.kind)


def _word(kind: Any) -> str:
    if has(kind):
        return "section"
    if get_origin(kind) is not None:
        return f"{get_origin(kind).__name__} of {_word(get_args(kind)[-1])}"
    return KINDS.get(kind, "anything")


def _default(key: Key, default: Any) -> str:
    if "required" in key.meta:
        return "needed"
    default = key.meta.get("default", default)
    if isinstance(default, bool | int | float) or (isinstance(default, str) and default):
        return f"`{json.dumps(default, ensure_ascii=False)}`".replace('"', "")
    return "–"


def _text(key: Key) -> str:
    text = str(key.meta["text"]).replace("|", "\\|").replace("\n", " ")
    return f"{text} (deprecated)" if key.meta.get("deprecated") else text


if __name__ == "__main__":
    sys.stdout.write(config_reference())
