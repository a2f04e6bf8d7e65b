"""The Quart application of the control plane. Collaborators come in here; there are no globals.

Authentication, CORS, unknown paths, wrong methods and the access log are the data plane's, which is
the only client of this application.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from secrets import token_hex
from typing import Any, Protocol

import quart
import trio
from attrs import field, frozen
from hypercorn.typing import ASGISendCallable, ASGISendEvent
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection
from quart_trio.wrappers import TrioResponse
from werkzeug.exceptions import HTTPException

from llamaswap.config.live import LiveConfig
from llamaswap.config.schema import Config
from llamaswap.error_envelope import envelope
from llamaswap.errors import LlamaswapError
from llamaswap.nursery.facts import UpstreamFacts
from llamaswap.nursery.profile import ActiveProfile
from llamaswap.planning.events import ProcessState
from llamaswap.telemetry.book import Book
from llamaswap.telemetry.bus import EventBus
from llamaswap.telemetry.counters import Counters
from llamaswap.telemetry.decisions import Decisions
from llamaswap.telemetry.hardware.once import HardwareReport
from llamaswap.telemetry.inflight import Inflight
from llamaswap.telemetry.lifecycle import Lifecycle
from llamaswap.telemetry.loghub import LogHub
from llamaswap.telemetry.sampler import Monitor


class ModelsView(Protocol):
    """What the management API needs of the supervisor."""

    def states(self) -> Mapping[str, ProcessState]:
        """Every configured local model's state now."""
        ...

    def facts(self, model: str) -> UpstreamFacts:
        """What there is to tell about a local model's upstream now."""
        ...

    async def unload(self, models: Sequence[str]) -> None:
        """Stop these models (real ids) and return when they are stopped."""
        ...


@frozen
class Surroundings:
    """Everything the routes touch."""

    models: ModelsView
    current_config: Callable[[], Config]
    hub: LogHub
    live: LiveConfig
    decisions: Decisions
    profile: ActiveProfile
    monitor: Monitor
    hardware: HardwareReport
    lifecycle: Lifecycle
    counters: Counters
    bus: EventBus
    inflight: Inflight
    book: Book
    boot: str = field(factory=lambda: token_hex(4))
    """Tells this life of the program from others, for clients that come back."""

    def last_row(self) -> int:
        """Id of the newest row of activity; 0: there is none."""
        return self.book.last_row

    @property
    def config(self) -> Config:
        """The configuration in force now."""
        return self.current_config()


class _Connection(TrioASGIHTTPConnection):
    """A request whose resources end with its answer, and whose last message is sent whole."""

    async def handle_request(  # type: ignore[override]  # quart-trio's own signature
        self, nursery: trio.Nursery, request: quart.Request, send: ASGISendCallable
    ) -> None:
        async def send_all_of_it(message: ASGISendEvent) -> None:
            # On the last message hypercorn reports a disconnect, for which quart-trio cancels this
            # very call before hypercorn has armed its keep-alive timer (hypercorn 0.18).
            last = message["type"] == "http.response.body" and not message["more_body"]
            with trio.CancelScope(shield=last):
                await send(message)

        async with AsyncExitStack() as stack:
            request.exit_stack = stack  # type: ignore[attr-defined]
            await super().handle_request(nursery, request, send_all_of_it)


class ControlPlane(QuartTrio):
    """The application, with its seams set."""

    asgi_http_class = _Connection


def create_app(
    *,
    models: ModelsView,
    config: Callable[[], Config],
    hub: LogHub,
    live: LiveConfig,
    decisions: Decisions,
    profile: ActiveProfile,
    monitor: Monitor,
    hardware: HardwareReport,
    lifecycle: Lifecycle,
    counters: Counters,
    bus: EventBus,
    inflight: Inflight,
    book: Book,
) -> ControlPlane:
    """Build the application. `config` returns the configuration in force when it is called."""
    from llamaswap.api import (  # cycle of types
        activity,
        captures,
        configuration,
        events,
        history,
        listings,
        logs,
        metrics,
        performance,
        profiles,
        ui,
        unload,
        version,
    )
    from llamaswap.api import (
        decisions as decision_routes,
    )
    from llamaswap.api import (
        hardware as hardware_routes,
    )
    from llamaswap.api import (
        inflight as inflight_routes,
    )

    app = ControlPlane("llamaswap", static_folder=None)
    app.config["RESPONSE_TIMEOUT"] = None
    app.config["BODY_TIMEOUT"] = None
    app.config["MAX_CONTENT_LENGTH"] = None
    app.url_map.merge_slashes = False  # a model's name may hold two, or begin with one
    around = Surroundings(
        models,
        config,
        hub,
        live,
        decisions,
        profile,
        monitor,
        hardware,
        lifecycle,
        counters,
        bus,
        inflight,
        book,
    )
    families = (
        activity,
        captures,
        configuration,
        decision_routes,
        events,
        hardware_routes,
        history,
        inflight_routes,
        listings,
        logs,
        metrics,
        performance,
        profiles,
        ui,
        unload,
        version,
    )
    for family in families:
        family.add_routes(app, around)

    async def on_error(error: Exception) -> quart.Response:
        assert isinstance(error, LlamaswapError)
        return error_response(error)

    async def on_http_error(error: Exception) -> quart.Response:
        assert isinstance(error, HTTPException)
        return error_response(error.code or 500)  # of a defect, quart logs the traceback

    app.register_error_handler(LlamaswapError, on_error)
    app.register_error_handler(HTTPException, on_http_error)
    return app


def error_response(error: LlamaswapError | int) -> quart.Response:
    """`error`, or a bare status, in the envelope that the request asks for."""
    request = quart.request
    answer = envelope(error, accept=request.headers.get("Accept", ""), path=request.path)
    return TrioResponse(answer.body, status=answer.status, headers=dict(answer.headers))


def json_response(body: Any, status: int = 200) -> quart.Response:
    """`body` as JSON."""
    import msgspec

    content = msgspec.json.encode(body)
    return TrioResponse(content, status=status, content_type="application/json")


def text_response(text: str, content_type: str = "text/plain; charset=utf-8") -> quart.Response:
    """Plain text."""
    return TrioResponse(text, content_type=content_type)
