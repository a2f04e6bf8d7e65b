"""The schema editors check and complete configuration files with.

It accepts whatever the loader accepts in a single file, and refuses what it can express of the
rest. Draft 7, which is what YAML language servers know.

Source: config §2.15.
"""

from __future__ import annotations

from typing import Any, get_args, get_origin

from attrs import fields, has

from llamaswap.config import kinds
from llamaswap.config.reader import Key, keys_of
from llamaswap.config.sections import RootSection

Schema = dict[str, Any]

_NULL: Schema = {"type": "null"}
_MACRO: Schema = {"type": "string", "pattern": r"\$\{"}  # whatever it stands for
_WORDS = ["y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "n", "N", "no", "No", "NO", "off",
          "Off", "OFF"]  # fmt: skip
_SCALAR: Schema = {"type": ["string", "number", "boolean"]}
_WHOLE: Schema = {"type": "number", "minimum": -(2**63), "maximum": 2**63 - 1}
_DURATION = r"^([-+]?(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+|0)$"

_KINDS: dict[Any, Schema] = {
    kinds.Text: _SCALAR,
    kinds.Whole: {"anyOf": [_WHOLE, _MACRO]},
    kinds.Number: {"anyOf": [{"type": "number"}, _MACRO]},
    kinds.Flag: {"anyOf": [{"type": "boolean"}, {"enum": _WORDS}, _MACRO]},
    kinds.Duration: {"anyOf": [{"type": "string", "pattern": _DURATION}, _MACRO]},
    kinds.Anything: {},
}


def json_schema() -> Schema:
    """The whole schema, ready for `json.dumps`."""
    definitions: dict[str, Schema] = {}
    root = _section(RootSection, definitions)
    root["properties"]["matrix"]["allOf"] = [_filled_matrix()]
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "llamaswap configuration",
        **root,
        "type": ["object", "null"],
        "definitions": dict(sorted(definitions.items())),
    }


def _filled_matrix() -> Schema:
    """The matrix at the top level is used if it is there, so it must not be empty."""
    cost = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, _MACRO]}
    return {
        "minProperties": 1,
        "properties": {
            "sets": {"minProperties": 1},
            "evict_costs": {"additionalProperties": cost},
        },
    }


def _section(section: Any, definitions: dict[str, Schema]) -> Schema:
    keys = keys_of(section)
    defaults = {item.name: item.default for item in fields(section)}
    schema: Schema = {
        "type": "object",
        "description": (section.__doc__ or "").strip(),
        "properties": {
            name: _property(key, defaults[key.attribute], definitions) for name, key in keys.items()
        },
    }
    required = [name for name, key in keys.items() if "required" in key.meta]
    return schema | {"required": required} if required else schema


def _property(key: Key, default: Any, definitions: dict[str, Schema]) -> Schema:
    value = _narrowed(key, _value(key.kind, definitions))
    schema: Schema = {"description": key.meta["text"]}
    default = key.meta.get("default", default)
    if isinstance(default, str | int | float):
        schema["default"] = default
    if key.meta.get("deprecated"):
        schema["deprecated"] = True
    return schema | (value if "required" in key.meta else {"anyOf": [value, _NULL]})


def _value(kind: Any, definitions: dict[str, Schema]) -> Schema:
    if has(kind):
        if kind.__name__ not in definitions:
            definitions[kind.__name__] = {}  # taken, should a section ever hold itself
            definitions[kind.__name__] = _section(kind, definitions)
        return {"$ref": f"#/definitions/{kind.__name__}"}
    if get_origin(kind) is list:
        return {"type": "array", "items": _or_null(_value(get_args(kind)[0], definitions))}
    if get_origin(kind) is dict:
        entry = get_args(kind)[1]
        schema = _value(entry, definitions)
        must_say_something = has(entry) and "required" in definitions[entry.__name__]
        return {
            "type": "object",
            "additionalProperties": schema if must_say_something else _or_null(schema),
        }
    return _KINDS[kind]


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, _NULL]} if schema else {}


def _narrowed(key: Key, schema: Schema) -> Schema:
    """`schema` with what the metadata of `key` says beyond its kind."""
    meta = key.meta
    if "choices" in meta:
        choices: Schema = {"anyOf": [{"enum": list(meta["choices"])}, _MACRO]}
        is_list = get_origin(key.kind) is list
        schema = schema | {"items": _or_null(choices)} if is_list else choices
    if "minimum" in meta:
        # a fraction is cut off, so -0.5 is 0
        bound = {"exclusiveMinimum": meta["minimum"] - (1 if meta["minimum"] <= 0 else 0)}
        schema = {"anyOf": [_WHOLE | bound, _MACRO]}
    if meta.get("macros"):
        schema = {"type": "object", "additionalProperties": _SCALAR}
    if "keys" in meta:
        names = [{"pattern": meta["keys"]}, {"pattern": r"\$\{env\."}]
        schema = schema | {"propertyNames": {"anyOf": names}}
    if "items" in meta:
        item = {"anyOf": [{"type": "string", "pattern": meta["items"]}, {"type": "number"}, _NULL]}
        schema = schema | {"items": item}
    return _filled(schema) if meta.get("filled") or "required" in meta else schema


def _filled(schema: Schema) -> Schema:
    match schema.get("type"):
        case "array":
            return schema | {"minItems": 1}
        case "object":
            return schema | {"minProperties": 1}
        case list():  # any scalar
            return schema | {"pattern": r"\S"}
        case _:
            return schema
