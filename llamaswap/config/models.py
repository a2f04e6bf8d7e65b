"""Checking and resolving the models.

Source: config §2.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llamaswap.config.expand import Expanded
from llamaswap.config.model_sections import (
    CapabilitiesSection,
    FiltersSection,
    ModelSection,
    TimeoutsSection,
)
from llamaswap.config.names import Names
from llamaswap.config.problems import Findings, KeyPath
from llamaswap.config.schema import Capabilities, Filters, Model, Timeouts
from llamaswap.config.sections import RootSection
from llamaswap.config.settings import DEFAULT_UNLOAD_TIMEOUT
from llamaswap.config.urls import url_doubt, url_fault

COMFYUI = "comfyui_auto"
COMFYUI_LIMIT = 50
MODALITIES = ("text", "audio", "image")
PROTECTED_PARAM = "model"
_FORCED = ("keepalive",)  # a negative value is a wish here, not nonsense


def resolve_models(
    written: RootSection, names: Names, expanded: Expanded, findings: Findings
) -> dict[str, Model]:
    """All models in the order of their ids."""
    return {
        model: _resolved(model, written, names, expanded, findings)
        for model in sorted(written.models)
    }


def resolve_timeouts(
    section: TimeoutsSection, path: KeyPath, findings: Findings, *, response_header: int
) -> Timeouts:
    """Limits without nonsense. `response_header`: the default of that limit."""
    values = {
        "connect": ("connect", section.connect),
        "response_header": ("responseHeader", section.response_header),
        "tls_handshake": ("tlsHandshake", section.tls_handshake),
        "expect_continue": ("expectContinue", section.expect_continue),
        "idle_conn": ("idleConn", section.idle_conn),
    }
    result: dict[str, int] = {"keepalive": section.keepalive}
    for attribute, (key, value) in values.items():
        if value is None:
            value = response_header
        if value < 0:
            text = f"{_who(path)}{value} seconds make no sense; 0 (no limit) is used"
            findings.warn("W-VALUE", (*path, key), text)
        result[attribute] = max(value, 0)
    return Timeouts(**result)


def resolve_filters(section: FiltersSection, legacy_strip_params: str = "") -> Filters:
    """Filters without the parameter that decides where a request goes."""
    listed = {part.strip() for part in (section.strip_params or legacy_strip_params).split(",")}
    return Filters(
        strip_params=tuple(sorted(listed - {"", PROTECTED_PARAM})),
        set_params=_allowed(section.set_params),
        set_params_by_id={
            key: _allowed(params) for key, params in section.set_params_by_id.items()
        },
    )


def _allowed(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: params[name] for name in sorted(params) if name != PROTECTED_PARAM}


def _who(path: KeyPath) -> str:
    return f"{path[0]!s}".removesuffix("s") + f" '{path[1]}': "


def _resolved(
    model: str, written: RootSection, names: Names, expanded: Expanded, findings: Findings
) -> Model:
    section = written.models[model]
    path = ("models", model)
    _check(model, section, findings)
    comfyui = model == COMFYUI
    limit = section.concurrency_limit
    return Model(
        id=model,
        cmd=section.cmd,
        cmd_stop=section.cmd_stop,
        proxy=section.proxy,
        auto_port=expanded.ports.get(model),
        aliases=tuple(names.of_model[model]),
        env=tuple(section.env),
        check_endpoint=section.check_endpoint,
        ttl=_ttl(model, section.ttl, written.global_ttl, findings),
        unload_timeout=section.unload_timeout or written.unload_timeout or DEFAULT_UNLOAD_TIMEOUT,
        unload_timeout_set=bool(section.unload_timeout) or _global_timeout_set(expanded, written),
        unlisted=section.unlisted,
        use_model_name=section.use_model_name,
        name=section.name,
        description=section.description,
        concurrency_limit=max(limit, COMFYUI_LIMIT) if comfyui else limit,
        filters=resolve_filters(section.filters, section.filters.legacy_strip_params),
        metadata=section.metadata,
        send_loading_state=(
            written.send_loading_state
            if section.send_loading_state is None
            else section.send_loading_state
        ),
        stream_keep_alive=_stream_keep_alive(section, written, path, findings),
        timeouts=resolve_timeouts(
            section.timeouts, (*path, "timeouts"), findings, response_header=0
        ),
        ignore_websockets=comfyui or section.compat.ignore_websockets,
        capabilities=_capabilities(model, section.capabilities, findings),
        macros=section.macros,
    )


def _stream_keep_alive(
    section: ModelSection, written: RootSection, path: KeyPath, findings: Findings
) -> int:
    value = section.stream_keep_alive
    if value is None:
        value = written.stream_keep_alive  # a bad global value has its own message
    elif value < 0:
        text = f"{_who(path)}{value} seconds make no sense; 0 (no comments) is used"
        findings.warn("W-VALUE", (*path, "streamKeepAlive"), text)
    return max(value, 0)


def _global_timeout_set(expanded: Expanded, written: RootSection) -> bool:
    """Whether the operator chose the global value; 0 asks for the default."""
    return "unloadTimeout" in expanded.root.entries and written.unload_timeout > 0


def _check(model: str, section: ModelSection, findings: Findings) -> None:
    path = ("models", model)
    if not section.cmd.strip():
        text = f"model '{model}' has no cmd, so it can never start"
        findings.warn("W-CMD", (*path, "cmd"), text)
    if fault := url_fault(section.proxy):
        text = f"model '{model}': '{section.proxy}' is no URL: {fault}"
        findings.error("E-MODEL-PROXY", (*path, "proxy"), text)
    elif doubt := url_doubt(section.proxy):
        text = f"model '{model}' cannot be reached at '{section.proxy}': {doubt}"
        findings.warn("W-URL", (*path, "proxy"), text)
    for index, entry in enumerate(section.env):
        if "=" not in entry:
            text = f"model '{model}': an entry without '=' has no effect; write NAME=value"
            findings.warn("W-ENV", (*path, "env", index), text)
    if section.unload_timeout < 0:
        text = f"model '{model}': {section.unload_timeout} is too low; it must be at least 0"
        findings.error("E-MODEL-UNLOAD", (*path, "unloadTimeout"), text)


def _ttl(model: str, own: int, default: int, findings: Findings) -> int:
    ttl = default if own == -1 else own
    if ttl < 0 and own != -1:  # a bad global value has its own message
        text = f"model '{model}': {ttl} is too low; it must be at least 0, or -1 for globalTTL"
        findings.error("E-MODEL-TTL", ("models", model, "ttl"), text)
    return ttl


def _capabilities(
    model: str, section: CapabilitiesSection | None, findings: Findings
) -> Capabilities | None:
    if section is None:
        return None
    path = ("models", model, "capabilities")
    for key, values in (("in", section.inputs), ("out", section.outputs)):
        for index, value in enumerate(values):
            if value not in MODALITIES:
                text = f"model '{model}': '{value}' is none of {', '.join(MODALITIES)}"
                findings.error("E-MODEL-CAPS", (*path, key, index), text)
    if section.context < 0:
        text = f"model '{model}': {section.context} is too low; it must be at least 0"
        findings.error("E-MODEL-CAPS", (*path, "context"), text)
    result = Capabilities(
        inputs=tuple(section.inputs),
        outputs=tuple(section.outputs),
        tools=section.tools,
        reranker=section.reranker,
        context=section.context,
    )
    return None if result == Capabilities() else result
