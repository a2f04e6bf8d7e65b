"""The resolved configuration: frozen values the rest of the program runs on.

Source: spec config part 2. Durations are whole seconds unless a field says otherwise. Values here
are final: macros expanded, ports assigned, defaults and inheritance applied.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from attrs import field, frozen

DEFAULT_IGNORE_PATHS = (r".*\.(js|json|css|png|gif|jpg|jpeg|ico|txt)$",)
DEFAULT_CONCURRENCY = 10
DEFAULT_GROUP = "(default)"


@frozen(kw_only=True)
class Timeouts:
    """Limits of one connection to an upstream, seconds; 0 = none. Source: config §2.5.1."""

    connect: int = 30
    keepalive: int = 30
    response_header: int = 0
    tls_handshake: int = 10
    expect_continue: int = 1
    idle_conn: int = 90


@frozen(kw_only=True)
class Filters:
    """What is removed from and set in request bodies. Source: config §2.5.2."""

    strip_params: tuple[str, ...] = ()
    set_params: Mapping[str, Any] = field(factory=dict)
    set_params_by_id: Mapping[str, Mapping[str, Any]] = field(factory=dict)


@frozen(kw_only=True)
class Capabilities:
    """What a model takes and gives. Source: config §2.5.3."""

    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    tools: bool = False
    reranker: bool = False
    context: int = 0


@frozen(kw_only=True)
class Model:
    """One local model: how its server is run and reached. Source: config §2.5."""

    id: str
    cmd: str = ""
    cmd_stop: str = ""
    proxy: str = ""
    auto_port: int | None = None
    """The port put in for `${PORT}`; None: the model does not use it."""
    aliases: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    check_endpoint: str = "/health"
    ttl: int = 0
    """Idle seconds before the model is unloaded; 0 = never. Resolved against `globalTTL`."""
    unload_timeout: int = 10
    """Seconds between the polite stop and SIGKILL. Resolved against the global value."""
    unload_timeout_set: bool = False
    """Whether an operator wrote the value, here or globally; decides the grace of an eviction."""
    unlisted: bool = False
    use_model_name: str = ""
    name: str = ""
    description: str = ""
    concurrency_limit: int = 0
    """Requests held at once; <= 0 means DEFAULT_CONCURRENCY."""
    filters: Filters = field(factory=Filters)
    metadata: Mapping[str, Any] = field(factory=dict)
    send_loading_state: bool = False
    stream_keep_alive: int = 0
    """Seconds of silence before a stream's first byte after which a comment is sent; 0 = none."""
    timeouts: Timeouts = field(factory=Timeouts)
    ignore_websockets: bool = False
    capabilities: Capabilities | None = None
    macros: Mapping[str, Any] = field(factory=dict, eq=False)
    """As declared, not expanded; for display. What they do is already in the other fields."""

    @property
    def limit(self) -> int:
        """Requests that may be held (waiting or being served) at once."""
        return self.concurrency_limit if self.concurrency_limit > 0 else DEFAULT_CONCURRENCY


@frozen(kw_only=True)
class Group:
    """Models that share a slot. Source: config part 5."""

    members: tuple[str, ...] = ()
    swap: bool = True
    exclusive: bool = True
    persistent: bool = False


@frozen(kw_only=True)
class Matrix:
    """Sets of models that may run together, as written. Source: config part 6."""

    sets: Mapping[str, str]
    """In the order of the document."""
    vars: Mapping[str, str] = field(factory=dict)
    evict_costs: Mapping[str, int] = field(factory=dict)
    """By real model id."""


@frozen(kw_only=True)
class Fifo:
    """Settings of scheduler `fifo`. Source: config §2.6, lifecycle §2.9."""

    priority: Mapping[str, int] = field(factory=dict)
    """By real model id."""
    max_wait: float = 0.0


@frozen(kw_only=True)
class Batch:
    """Settings of scheduler `batch`. Source: scheduling §2."""

    priority: Mapping[str, int] = field(factory=dict)
    max_wait: float = 60.0
    max_queue: int = 100
    patience: float = 0.15
    min_visit: float = 5.0


@frozen(kw_only=True)
class Routing:
    """Which planner and scheduler decide, with their settings, in canonical form."""

    router: Literal["group", "matrix"] = "group"
    groups: Mapping[str, Group] = field(factory=dict)
    """Includes `(default)`; empty in matrix mode."""
    matrix: Matrix | None = None
    scheduler: Literal["fifo", "batch"] = "fifo"
    fifo: Fifo = field(factory=Fifo)
    batch: Batch = field(factory=Batch)


@frozen(kw_only=True)
class Peer:
    """Another server requests are forwarded to. Source: config §2.7."""

    id: str
    proxy: str
    models: tuple[str, ...]
    api_key: str = field(default="", repr=False)
    filters: Filters = field(factory=Filters)
    timeouts: Timeouts = field(factory=lambda: Timeouts(response_header=60))


@frozen(kw_only=True)
class Selector:
    """A name that stands for one of several targets. Source: config §2.8."""

    id: str
    strategy: Literal["warm", "pin", "spillover"]
    targets: tuple[str, ...]
    spillover: int = 1
    name: str = ""
    description: str = ""
    unlisted: bool = False
    metadata: Mapping[str, Any] = field(factory=dict)


@frozen(kw_only=True)
class Profile:
    """Names redirected while the profile is active. Source: config §2.9."""

    name: str
    pins: Mapping[str, str]
    description: str = ""


@frozen(kw_only=True)
class Performance:
    """The performance monitor. Source: config §2.12."""

    disabled: bool = False
    every: float = 5.0


@frozen(kw_only=True)
class Config:
    """Everything an operator configured, resolved. Source: config §2.3."""

    health_check_timeout: int = 120
    log_level: Literal["debug", "info", "warn", "error"] = "info"
    log_time_format: str = ""
    log_to_stdout: Literal["proxy", "upstream", "both", "none"] = "proxy"
    metrics_max_in_memory: int = 1000
    capture_buffer: int = 5
    """MB; 0 = captures off."""
    store_path: str | None = None
    store_max_rows: int = 0
    """Rows of a file store beyond this are pruned, oldest first; 0 = none are."""
    session_id_headers: tuple[str, ...] = ("X-Session-ID", "X-Litellm-Session-Id")
    ui_title: str = ""
    """Name of this server for people; empty: the pages have their own. Source: web-ui §2.1."""
    ui_base_path: str = ""
    """`/like/this`, without a slash at the end; empty: the root, or what a proxy's header says."""
    performance: Performance = field(factory=Performance)
    include_aliases_in_list: bool = False
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    models: Mapping[str, Model] = field(factory=dict)
    """In sorted order of their ids."""
    aliases: Mapping[str, str] = field(factory=dict)
    """Alias (explicit or derived) to real model id; never shadows a model id."""
    routing: Routing = field(factory=Routing)
    peers: Mapping[str, Peer] = field(factory=dict)
    selectors: Mapping[str, Selector] = field(factory=dict)
    profiles: Mapping[str, Profile] = field(factory=dict)
    preload: tuple[str, ...] = ()
    """Real model ids, in order, duplicates kept."""
    ignore_paths: tuple[str, ...] = DEFAULT_IGNORE_PATHS
    """RE2 expressions; `config.patterns.compile_pattern` makes them usable."""
    start_port: int = 5800
    """The models have their ports already; this and the next three are for display."""
    global_ttl: int = 0
    unload_timeout: int = 10
    send_loading_state: bool = False
    stream_keep_alive: int = 0
    macros: Mapping[str, Any] = field(factory=dict, eq=False)
    """As declared, not expanded; for display."""

    def real_id(self, name: str) -> str | None:
        """The local model `name` means, by id or alias; None: there is none."""
        return name if name in self.models else self.aliases.get(name)
