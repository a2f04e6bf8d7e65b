"""What may be written: each section of the file, its keys, their kinds and defaults.

These classes hold values as written, after macros; `schema` holds what they mean. The reader, the
warnings about unknown keys and the schema for editors all come from here.

Source: config part 2.
"""

from __future__ import annotations

from attrs import field, frozen

from llamaswap.config.kinds import MACRO_KEYS, Anything, Duration, Flag, Text, Whole, meta
from llamaswap.config.model_sections import FiltersSection, ModelSection, TimeoutsSection
from llamaswap.config.routing_sections import GroupSection, MatrixSection, RoutingSection


@frozen(kw_only=True)
class PeerSection:
    """Another server requests are forwarded to."""

    proxy: Text = field(default="", metadata=meta("proxy", "Its URL.", required=True))
    api_key: Text = field(default="", metadata=meta("apiKey", "Key to send to it."))
    models: list[Text] = field(
        factory=list, metadata=meta("models", "Models it offers.", required=True, filled=True)
    )
    filters: FiltersSection = field(
        factory=FiltersSection, metadata=meta("filters", "Changes to request bodies.")
    )
    timeouts: TimeoutsSection = field(
        factory=TimeoutsSection, metadata=meta("timeouts", "Limits of one connection, seconds.")
    )


@frozen(kw_only=True)
class SelectorSettingsSection:
    """Settings of a selector."""

    spillover: Whole = field(
        default=1, metadata=meta("spillover", "Requests a target holds before the next is used.")
    )


@frozen(kw_only=True)
class SelectorSection:
    """A name that stands for one of several targets."""

    strategy: Text = field(
        default="",
        metadata=meta(
            "strategy",
            "warm, pin or spillover",
            choices=("warm", "pin", "spillover"),
            required=True,
        ),
    )
    targets: list[Text] = field(
        factory=list,
        metadata=meta("targets", "Models, aliases or peer models.", required=True, filled=True),
    )
    settings: SelectorSettingsSection = field(
        factory=SelectorSettingsSection, metadata=meta("settings", "Settings of the strategy.")
    )
    name: Text = field(default="", metadata=meta("name", "Name shown to people."))
    description: Text = field(default="", metadata=meta("description", "Shown to people."))
    unlisted: Flag = field(
        default=False, metadata=meta("unlisted", "Leave it out of the list of models.")
    )
    metadata: dict[str, Anything] = field(
        factory=dict, metadata=meta("metadata", "Anything; listed with the selector.")
    )


@frozen(kw_only=True)
class ProfileSection:
    """Names redirected while the profile is active."""

    description: Text = field(default="", metadata=meta("description", "Shown to people."))
    pins: dict[str, Text] = field(
        factory=dict,
        metadata=meta(
            "pins",
            "Requested name to target; empty = disabled.",
            required=True,
            filled=True,
            keys=r"\S",
        ),
    )


@frozen(kw_only=True)
class StoreSection:
    """Where activity is kept."""

    path: Text = field(
        default="", metadata=meta("path", "The SQLite file.", required=True, filled=True)
    )
    max_rows: Whole = field(
        default=0, metadata=meta("maxRows", "Oldest rows beyond this go; 0 = keep all.")
    )


@frozen(kw_only=True)
class ActivityUiSection:
    """The activity page."""

    session_id: list[Text] = field(
        factory=lambda: ["X-Session-ID", "X-Litellm-Session-Id"],
        metadata=meta("session_id", "Headers that name a client's session; [] = none."),
    )


@frozen(kw_only=True)
class UiSection:
    """The web UI."""

    title: Text = field(
        default="", metadata=meta("title", "Name of this server, shown by the pages.")
    )
    base_path: Text = field(
        default="",
        metadata=meta(
            "basePath", "Path below which a reverse proxy shows this server, such as /llm."
        ),
    )
    activity: ActivityUiSection = field(
        factory=ActivityUiSection, metadata=meta("activity", "The activity page.")
    )


@frozen(kw_only=True)
class PerformanceSection:
    """The performance monitor."""

    disabled: Flag = field(default=False, metadata=meta("disabled", "Switch the monitor off."))
    every: Duration = field(
        default=5.0, metadata=meta("every", "Time between measurements, at least 5s.", default="5s")
    )


@frozen(kw_only=True)
class OnStartupSection:
    """What happens after the start."""

    preload: list[Text] = field(
        factory=list, metadata=meta("preload", "Models to load, one after the other.")
    )


@frozen(kw_only=True)
class HooksSection:
    """What happens at certain moments."""

    on_startup: OnStartupSection = field(
        factory=OnStartupSection, metadata=meta("on_startup", "What happens after the start.")
    )


@frozen(kw_only=True)
class UpstreamSection:
    """Requests to /upstream/<model>."""

    ignore_paths: list[Text] = field(
        factory=list,
        metadata=meta("ignorePaths", "Regular expressions of paths that do not start the model."),
    )


@frozen(kw_only=True)
class RootSection:
    """The configuration of llamaswap."""

    health_check_timeout: Whole = field(
        default=120,
        metadata=meta("healthCheckTimeout", "Seconds a model may take to start, at least 15."),
    )
    log_level: Text = field(default="info", metadata=meta("logLevel", "debug, info, warn or error"))
    log_time_format: Text = field(
        default="", metadata=meta("logTimeFormat", "Time stamp of log lines, e.g. rfc3339.")
    )
    log_to_stdout: Text = field(
        default="proxy",
        metadata=meta(
            "logToStdout",
            "Which log goes to stdout: proxy, upstream, both or none.",
            choices=("proxy", "upstream", "both", "none"),
        ),
    )
    log_requests: Flag | None = field(
        default=None, metadata=meta("logRequests", "Has no effect any more.", deprecated=True)
    )
    metrics_max_in_memory: Whole = field(
        default=1000,
        metadata=meta("metricsMaxInMemory", "Activity rows kept without store.path."),
    )
    capture_buffer: Whole = field(
        default=5, metadata=meta("captureBuffer", "MB for captured requests; 0 = off.")
    )
    store: StoreSection | None = field(
        default=None, metadata=meta("store", "Where activity is kept; absent = in memory.")
    )
    ui: UiSection = field(factory=UiSection, metadata=meta("ui", "The web UI."))
    performance: PerformanceSection = field(
        factory=PerformanceSection, metadata=meta("performance", "The performance monitor.")
    )
    global_ttl: Whole = field(
        default=0,
        metadata=meta("globalTTL", "Default of ttl, seconds; 0 = never unload.", minimum=0),
    )
    unload_timeout: Whole = field(
        default=10, metadata=meta("unloadTimeout", "Seconds to end politely.", minimum=0)
    )
    start_port: Whole = field(
        default=5800, metadata=meta("startPort", "First automatic port.", minimum=1)
    )
    send_loading_state: Flag = field(
        default=False, metadata=meta("sendLoadingState", "Default of the models' key.")
    )
    stream_keep_alive: Whole = field(
        default=0, metadata=meta("streamKeepAlive", "Default of the models' key.", minimum=0)
    )
    include_aliases_in_list: Flag = field(
        default=False, metadata=meta("includeAliasesInList", "List aliases like models.")
    )
    api_keys: list[Text] = field(
        factory=list,
        metadata=meta(
            "apiKeys", "Keys clients must send; empty = no authentication.", items=r"^[^ ]+$"
        ),
    )
    macros: dict[str, Anything] = field(
        factory=dict,
        metadata=meta("macros", "Texts to use as ${NAME}.", macros=True, keys=MACRO_KEYS),
    )
    models: dict[str, ModelSection] = field(
        factory=dict, metadata=meta("models", "The local models, by id.")
    )
    profiles: dict[str, ProfileSection] = field(
        factory=dict, metadata=meta("profiles", "Redirections of names, by profile.", keys=r"\S")
    )
    selectors: dict[str, SelectorSection] = field(
        factory=dict,
        metadata=meta("selectors", "Names that stand for one of several targets.", keys=r"\S"),
    )
    groups: dict[str, GroupSection] = field(
        factory=dict, metadata=meta("groups", "Groups of models; newer: routing.router.")
    )
    matrix: MatrixSection | None = field(
        default=None, metadata=meta("matrix", "Sets of models; newer: routing.router.")
    )
    routing: RoutingSection = field(
        factory=RoutingSection,
        metadata=meta("routing", "Which models run together, and which request goes next."),
    )
    hooks: HooksSection = field(
        factory=HooksSection, metadata=meta("hooks", "What happens at certain moments.")
    )
    peers: dict[str, PeerSection] = field(
        factory=dict, metadata=meta("peers", "Other servers requests are forwarded to.")
    )
    upstream: UpstreamSection = field(
        factory=UpstreamSection, metadata=meta("upstream", "Requests to /upstream/<model>.")
    )
