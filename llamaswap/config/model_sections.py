"""What may be written about one model.

Source: config §2.5.
"""

from __future__ import annotations

from attrs import field, frozen

from llamaswap.config.kinds import MACRO_KEYS, Anything, Flag, Text, Whole, meta


@frozen(kw_only=True)
class TimeoutsSection:
    """Limits of one connection, in seconds; 0 = none."""

    connect: Whole = field(default=30, metadata=meta("connect", "TCP connect, seconds."))
    keepalive: Whole = field(
        default=30, metadata=meta("keepalive", "TCP keep-alive period, seconds; 0 = off.")
    )
    response_header: Whole | None = field(
        default=None,
        metadata=meta(
            "responseHeader",
            "From the request to the head of the response, seconds. Default: 0, for peers 60.",
        ),
    )
    tls_handshake: Whole = field(
        default=10, metadata=meta("tlsHandshake", "TLS handshake, seconds.")
    )
    expect_continue: Whole = field(
        default=1, metadata=meta("expectContinue", "Wait for 100-continue, seconds.")
    )
    idle_conn: Whole = field(
        default=90, metadata=meta("idleConn", "How long an idle connection is kept, seconds.")
    )


@frozen(kw_only=True)
class FiltersSection:
    """What is removed from and set in request bodies."""

    strip_params: Text = field(
        default="", metadata=meta("stripParams", "Parameters to remove, separated by commas.")
    )
    set_params: dict[str, Anything] = field(
        factory=dict, metadata=meta("setParams", "Parameters to set; dots in a name nest.")
    )
    set_params_by_id: dict[str, dict[str, Anything]] = field(
        factory=dict,
        metadata=meta(
            "setParamsByID",
            "Parameters to set when the model was asked for by this name.",
            macro_keys=True,
        ),
    )


@frozen(kw_only=True)
class ModelFiltersSection(FiltersSection):
    """What is removed from and set in request bodies."""

    legacy_strip_params: Text = field(
        default="", metadata=meta("strip_params", "Old spelling of stripParams.")
    )


@frozen(kw_only=True)
class CompatSection:
    """Concessions to particular servers."""

    ignore_websockets: Flag = field(
        default=False,
        metadata=meta("ignoreWebsockets", "WebSocket requests do not start the model."),
    )


@frozen(kw_only=True)
class CapabilitiesSection:
    """What a model takes and gives."""

    inputs: list[Text] = field(
        factory=list, metadata=meta("in", "text, audio, image", choices=("text", "audio", "image"))
    )
    outputs: list[Text] = field(
        factory=list,
        metadata=meta("out", "text, audio, image", choices=("text", "audio", "image")),
    )
    tools: Flag = field(default=False, metadata=meta("tools", "The model can call tools."))
    reranker: Flag = field(default=False, metadata=meta("reranker", "The model reranks."))
    context: Whole = field(
        default=0, metadata=meta("context", "Context length in tokens; 0 = unknown.", minimum=0)
    )


@frozen(kw_only=True)
class ModelSection:
    """One local model: how its server is run and reached."""

    cmd: Text = field(
        default="",
        metadata=meta("cmd", "The command that runs the server. No shell; ${PORT} is its port."),
    )
    cmd_stop: Text = field(
        default="",
        metadata=meta("cmdStop", "The command that stops it; ${PID} is its process id."),
    )
    proxy: Text = field(
        default="",
        metadata=meta("proxy", "Where the server listens. Default: http://localhost:${PORT}"),
    )
    aliases: list[Text] = field(
        factory=list, metadata=meta("aliases", "Further names clients may use.")
    )
    env: list[Text] = field(
        factory=list, metadata=meta("env", "NAME=value, added to the environment.")
    )
    check_endpoint: Text = field(
        default="/health",
        metadata=meta("checkEndpoint", "Path that answers 200 once the server is ready, or none."),
    )
    ttl: Whole = field(
        default=-1,
        metadata=meta(
            "ttl", "Idle seconds before the model is unloaded; 0 = never, -1 = globalTTL.",
            minimum=-1,
        ),
    )  # fmt: skip
    unload_timeout: Whole = field(
        default=0,
        metadata=meta("unloadTimeout", "Seconds to end politely; 0 = the global value.", minimum=0),
    )
    unlisted: Flag = field(
        default=False, metadata=meta("unlisted", "Leave it out of the list of models.")
    )
    use_model_name: Text = field(
        default="",
        metadata=meta("useModelName", "Name to send to the server in place of the one asked for."),
    )
    name: Text = field(default="", metadata=meta("name", "Name shown to people."))
    description: Text = field(default="", metadata=meta("description", "Shown to people."))
    concurrency_limit: Whole = field(
        default=0,
        metadata=meta("concurrencyLimit", "Requests held at once; 0 = 10."),
    )
    filters: ModelFiltersSection = field(
        factory=ModelFiltersSection, metadata=meta("filters", "Changes to request bodies.")
    )
    macros: dict[str, Anything] = field(
        factory=dict, metadata=meta("macros", "Macros of this model.", macros=True, keys=MACRO_KEYS)
    )
    metadata: dict[str, Anything] = field(
        factory=dict, metadata=meta("metadata", "Anything; listed with the model.")
    )
    send_loading_state: Flag | None = field(
        default=None,
        metadata=meta("sendLoadingState", "Stream progress while the model loads."),
    )
    stream_keep_alive: Whole | None = field(
        default=None,
        metadata=meta(
            "streamKeepAlive",
            "Seconds of silence before a stream's first byte after which a comment is sent; "
            "0 = none are.",
            minimum=0,
        ),
    )
    timeouts: TimeoutsSection = field(
        factory=TimeoutsSection, metadata=meta("timeouts", "Limits of one connection, seconds.")
    )
    compat: CompatSection = field(
        factory=CompatSection, metadata=meta("compat", "Concessions to particular servers.")
    )
    capabilities: CapabilitiesSection | None = field(
        default=None, metadata=meta("capabilities", "What the model takes and gives.")
    )
