"""What may be written about which models run together and which request goes next.

Source: config §2.6, parts 5 and 6.
"""

from __future__ import annotations

from attrs import field, frozen

from llamaswap.config.kinds import Flag, Number, Text, Whole, meta


@frozen(kw_only=True)
class GroupSection:
    """Models that share a slot."""

    members: list[Text] = field(factory=list, metadata=meta("members", "Model ids."))
    swap: Flag = field(default=True, metadata=meta("swap", "One member runs at a time."))
    exclusive: Flag = field(
        default=True, metadata=meta("exclusive", "Starting a member stops other groups.")
    )
    persistent: Flag = field(
        default=False, metadata=meta("persistent", "Other groups never stop this one.")
    )


@frozen(kw_only=True)
class MatrixSection:
    """Sets of models that may run together."""

    sets: dict[str, Text] | None = field(
        default=None,
        metadata=meta("sets", "Name to expression, e.g. (a | b) & c.", shape="E-MX-SETS"),
    )
    vars: dict[str, Text] = field(
        factory=dict,
        metadata=meta(
            "vars", "Short names for models, used in sets.", keys=r"^[A-Za-z0-9.-]{1,32}$"
        ),
    )
    evict_costs: dict[str, Whole] = field(
        factory=dict,
        metadata=meta("evict_costs", "What it costs to unload a model; default 1."),
    )


@frozen(kw_only=True)
class RouterSettingsSection:
    """Settings of the routers."""

    groups: dict[str, GroupSection] = field(
        factory=dict, metadata=meta("groups", "Groups of models.")
    )
    matrix: MatrixSection | None = field(
        default=None, metadata=meta("matrix", "Sets of models that may run together.")
    )


@frozen(kw_only=True)
class RouterSection:
    """Who decides which models run together."""

    use: Text = field(
        default="", metadata=meta("use", "group or matrix", choices=("group", "matrix", ""))
    )
    settings: RouterSettingsSection = field(
        factory=RouterSettingsSection, metadata=meta("settings", "Settings of the routers.")
    )


@frozen(kw_only=True)
class FifoSection:
    """First come, first served."""

    priority: dict[str, Whole] = field(
        factory=dict, metadata=meta("priority", "Model to priority; higher goes first.")
    )
    max_wait: Number = field(
        default=0.0,
        metadata=meta("maxWait", "Seconds after which a request goes first; 0 = off."),
    )


@frozen(kw_only=True)
class BatchSection:
    """Requests of one model are served together, within limits."""

    priority: dict[str, Whole] = field(
        factory=dict, metadata=meta("priority", "Model to priority; higher goes first.")
    )
    max_wait: Number = field(
        default=60.0,
        metadata=meta("maxWait", "Seconds after which a waiting model is overdue."),
    )
    max_queue: Whole = field(
        default=100,
        metadata=meta("maxQueue", "Requests that may wait for one model."),
    )
    patience: Number = field(
        default=0.15,
        metadata=meta("patience", "Share of a swap's cost an idle model is held back for."),
    )
    min_visit: Number = field(
        default=5.0,
        metadata=meta("minVisit", "Shortest visit of a busy model, in swap costs."),
    )


@frozen(kw_only=True)
class SchedulerSettingsSection:
    """Settings of the schedulers."""

    fifo: FifoSection = field(
        factory=FifoSection, metadata=meta("fifo", "First come, first served.")
    )
    batch: BatchSection = field(
        factory=BatchSection, metadata=meta("batch", "Requests of one model together.")
    )


@frozen(kw_only=True)
class SchedulerSection:
    """Who decides which request goes next."""

    use: Text = field(
        default="", metadata=meta("use", "fifo or batch", choices=("fifo", "batch", ""))
    )
    settings: SchedulerSettingsSection = field(
        factory=SchedulerSettingsSection, metadata=meta("settings", "Settings of the schedulers.")
    )


@frozen(kw_only=True)
class RoutingSection:
    """Which models run together, and which request goes next."""

    router: RouterSection = field(
        factory=RouterSection, metadata=meta("router", "Which models run together.")
    )
    scheduler: SchedulerSection = field(
        factory=SchedulerSection, metadata=meta("scheduler", "Which request goes next.")
    )
