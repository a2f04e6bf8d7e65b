"""The resolved configuration with the keys and the nesting of a file.

Source: config part 2.
"""

from __future__ import annotations

from typing import Any

from llamaswap.config.schema import (
    Capabilities,
    Config,
    Filters,
    Model,
    Peer,
    Routing,
    Selector,
    Timeouts,
)


def as_document(config: Config) -> dict[str, Any]:
    """`config` with the keys and the nesting of a file, everything said; nothing hidden."""
    return {
        "healthCheckTimeout": config.health_check_timeout,
        "logLevel": config.log_level,
        "logTimeFormat": config.log_time_format,
        "logToStdout": config.log_to_stdout,
        "metricsMaxInMemory": config.metrics_max_in_memory,
        "captureBuffer": config.capture_buffer,
        "store": _store(config),
        "ui": {
            "title": config.ui_title,
            "basePath": config.ui_base_path,
            "activity": {"session_id": list(config.session_id_headers)},
        },
        "performance": {
            "disabled": config.performance.disabled,
            "every": f"{config.performance.every:g}s",
        },
        "globalTTL": config.global_ttl,
        "unloadTimeout": config.unload_timeout,
        "startPort": config.start_port,
        "sendLoadingState": config.send_loading_state,
        "streamKeepAlive": config.stream_keep_alive,
        "includeAliasesInList": config.include_aliases_in_list,
        "apiKeys": list(config.api_keys),
        "models": {name: _model(model) for name, model in config.models.items()},
        "profiles": {
            name: {"description": profile.description, "pins": dict(profile.pins)}
            for name, profile in config.profiles.items()
        },
        "selectors": {name: _selector(item) for name, item in config.selectors.items()},
        "routing": _routing(config.routing),
        "hooks": {"on_startup": {"preload": list(config.preload)}},
        "peers": {name: _peer(peer) for name, peer in config.peers.items()},
        "upstream": {"ignorePaths": list(config.ignore_paths)},
    }


def _store(config: Config) -> dict[str, Any] | None:
    if config.store_path is None:
        return None
    return {"path": config.store_path, "maxRows": config.store_max_rows}


def _model(model: Model) -> dict[str, Any]:
    return {
        "cmd": model.cmd,
        "cmdStop": model.cmd_stop,
        "proxy": model.proxy,
        "aliases": list(model.aliases),
        "env": list(model.env),
        "checkEndpoint": model.check_endpoint,
        "ttl": model.ttl,
        "unloadTimeout": model.unload_timeout,
        "unlisted": model.unlisted,
        "useModelName": model.use_model_name,
        "name": model.name,
        "description": model.description,
        "concurrencyLimit": model.concurrency_limit,
        "filters": _filters(model.filters),
        "metadata": dict(model.metadata),
        "sendLoadingState": model.send_loading_state,
        "streamKeepAlive": model.stream_keep_alive,
        "timeouts": _timeouts(model.timeouts),
        "compat": {"ignoreWebsockets": model.ignore_websockets},
        "capabilities": _capabilities(model.capabilities),
    }


def _filters(filters: Filters) -> dict[str, Any]:
    return {
        "stripParams": ",".join(filters.strip_params),
        "setParams": dict(filters.set_params),
        "setParamsByID": {key: dict(params) for key, params in filters.set_params_by_id.items()},
    }


def _timeouts(timeouts: Timeouts) -> dict[str, int]:
    return {
        "connect": timeouts.connect,
        "keepalive": timeouts.keepalive,
        "responseHeader": timeouts.response_header,
        "tlsHandshake": timeouts.tls_handshake,
        "expectContinue": timeouts.expect_continue,
        "idleConn": timeouts.idle_conn,
    }


def _capabilities(capabilities: Capabilities | None) -> dict[str, Any] | None:
    if capabilities is None:
        return None
    return {
        "in": list(capabilities.inputs),
        "out": list(capabilities.outputs),
        "tools": capabilities.tools,
        "reranker": capabilities.reranker,
        "context": capabilities.context,
    }


def _selector(selector: Selector) -> dict[str, Any]:
    return {
        "strategy": selector.strategy,
        "targets": list(selector.targets),
        "settings": {"spillover": selector.spillover},
        "name": selector.name,
        "description": selector.description,
        "unlisted": selector.unlisted,
        "metadata": dict(selector.metadata),
    }


def _routing(routing: Routing) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "groups": {
            name: {
                "members": list(group.members),
                "swap": group.swap,
                "exclusive": group.exclusive,
                "persistent": group.persistent,
            }
            for name, group in routing.groups.items()
        }
    }
    if (matrix := routing.matrix) is not None:
        settings = {
            "matrix": {
                "vars": dict(matrix.vars),
                "evict_costs": dict(matrix.evict_costs),
                "sets": dict(matrix.sets),
            }
        }
    return {
        "router": {"use": routing.router, "settings": settings},
        "scheduler": {
            "use": routing.scheduler,
            "settings": {
                "fifo": {
                    "priority": dict(routing.fifo.priority),
                    "maxWait": routing.fifo.max_wait,
                },
                "batch": {
                    "priority": dict(routing.batch.priority),
                    "maxWait": routing.batch.max_wait,
                    "maxQueue": routing.batch.max_queue,
                    "patience": routing.batch.patience,
                    "minVisit": routing.batch.min_visit,
                },
            },
        },
    }


def _peer(peer: Peer) -> dict[str, Any]:
    return {
        "proxy": peer.proxy,
        "apiKey": peer.api_key,
        "models": list(peer.models),
        "filters": _filters(peer.filters),
        "timeouts": _timeouts(peer.timeouts),
    }
