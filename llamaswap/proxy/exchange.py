"""One request and its answer, from the parsed head to the last byte. Source: http-api §1–§3.

The order is: CORS and OPTIONS, route (404, 405, redirect), key, handler. A handler either answers
itself, passes the request to the control plane, or takes a lease on a model and carries bytes.
Leaving early, for whatever reason, closes the upstream connection: that is how a model server
learns to stop generating.
"""

from __future__ import annotations

import logging
from functools import partial
from time import monotonic
from urllib.parse import unquote

import trio
from attrs import define, field

from llamaswap.config.schema import Selector, Timeouts
from llamaswap.error_envelope import envelope
from llamaswap.errors import (
    BadGateway,
    LlamaswapError,
    ModelNotLoaded,
    RequestCancelled,
    UpstreamGone,
)
from llamaswap.nursery.lease import Lease
from llamaswap.proxy.auth import CHALLENGE, Unauthorized, check_key, check_site
from llamaswap.proxy.carriage import Carriage
from llamaswap.proxy.cors import preflight_headers
from llamaswap.proxy.dial import Unreachable, dial
from llamaswap.proxy.directory import Destination
from llamaswap.proxy.http1 import (
    Headers,
    ProtocolViolation,
    RequestHead,
    UpstreamViolation,
    render_head,
    status_line,
)
from llamaswap.proxy.passthrough import comfyui, pass_through
from llamaswap.proxy.peers import PeerLink, authorized, start_line
from llamaswap.proxy.prelude import Prelude, prelude_for
from llamaswap.proxy.request_coding import made_plain
from llamaswap.proxy.resolve import (
    Asked,
    RouterUnknown,
    asked_in_body,
    asked_in_query,
    destination,
)
from llamaswap.proxy.rewrite import rewrite
from llamaswap.proxy.routes import Match, Route, Rule, allowed, choose, match_path
from llamaswap.proxy.site import Site
from llamaswap.proxy.wire import Wire, connect_unix
from llamaswap.telemetry.access_log import AccessRecord
from llamaswap.telemetry.observation import Observation, Outcome

logger = logging.getLogger(__name__)

CONTROL_LIMITS = Timeouts(idle_conn=30)
CONTROL_RUN = 0
"""Runs of processes are numbered from 1."""
COMFYUI = "comfyui_auto"
LAST_WORD = 2.0
"""Seconds to tell a client that an operator cancelled its request."""


class MethodNotAllowed(LlamaswapError):
    """The path is there, the method is not."""

    status = 405


class NotFound(LlamaswapError):
    """No such path."""

    status = 404


@define(eq=False)
class Exchange:
    """One request on its way."""

    site: Site
    client: Wire
    head: RequestHead
    body: bytearray
    scope: trio.CancelScope
    """The connection's; cancelled when the client has left or the program cuts what is left. One
    per connection: entering a scope for each request would cost a tenth of the request."""
    path: str = ""
    query: str = ""
    status: int = 0
    """Of the answer's head; 0: nothing was sent yet."""
    sent: int = 0
    keep_alive: bool = True
    began: float = field(factory=monotonic)
    prelude: Prelude | None = None
    """What the client is shown before its upstream answers."""
    told: LlamaswapError | None = None
    """What went wrong, if the client was told in a stream that had begun."""
    watch: Observation | None = None
    """Set once a request that is observed has named a model."""

    def client_descriptor(self) -> int:
        """The client's socket; negative: closed."""
        return self.client.fileno()

    async def run(self) -> bool:
        """Answer the request. True: the connection may carry another one."""
        self.keep_alive = self.head.keep_alive and not self.site.draining
        self.site.begin(self)
        finished = False
        outcome, error = Outcome.LEFT, None
        try:
            await self._answer()
            finished, outcome, error = True, Outcome.COMPLETE, self.told
            if self.told is not None:
                outcome = Outcome.REFUSED
        except LlamaswapError as exc:
            outcome, error = Outcome.CUT if self.status else Outcome.REFUSED, exc
            finished = await self._send_error(exc)
        except (ConnectionError, OSError) as exc:
            logger.debug("client is gone: %s", exc)
        except UpstreamViolation as exc:
            outcome, error = Outcome.CUT, BadGateway(str(exc))
            logger.info("response of %s cut: %s", self.path, exc)
        finally:
            # not in an `except`: connecting, trio 0.35 wraps its Cancelled in a group
            if self.watch is not None:
                await self._say_cancelled(self.watch)
                self.watch.finish(outcome, error)
            self.body = bytearray()  # an upload goes, whoever still holds this exchange
            self.site.end(self)
            self._report()
        return finished and self.keep_alive

    # --- who answers ------------------------------------------------------------------------------

    async def _answer(self) -> None:
        raw, _, query = self.head.target.partition(b"?")
        self.query = query.decode("ascii")
        if self.head.method == "OPTIONS":
            self.path = raw.decode("ascii")
            await self.send(204, preflight_headers(self.head), b"")
            return
        match = match_path(raw)
        self.path = match.path
        route = self._route(match)
        if route is None:
            assert match.redirect is not None
            await self.redirect(307, match.redirect + (f"?{self.query}" if self.query else ""))
            return
        if route.auth:
            check_key(self.head, self.site.config.api_keys)
        if route.changes:
            check_site(self.head)
        match route.rule:
            case Rule.BODY:
                if self.head.get(b"content-encoding") is not None:
                    self.head, self.body = await made_plain(self.head, self.body)
                asked = asked_in_body(self.head, self.body, self.query)
                await self._infer(route, asked, raw.decode("ascii"))
            case Rule.QUERY:
                await self._infer(route, asked_in_query(self.query), raw.decode("ascii"))
            case Rule.UPSTREAM:
                await pass_through(self, raw.decode("ascii"))
            case Rule.COMFYUI:
                await comfyui(self, raw.decode("ascii"))
            case Rule.CONTROL:
                await self._control()
            case Rule.ALIVE:
                await self.send(200, [(b"Content-Type", b"text/plain; charset=utf-8")], b"OK")

    def _route(self, match: Match) -> Route | None:
        """The route, or None for a redirect. Raises NotFound or MethodNotAllowed."""
        if match.redirect is not None:
            return None
        if not match.routes:
            raise NotFound(f"page not found: {match.path}")
        route = choose(match.routes, self.head.method)
        if route is None:
            raise MethodNotAllowed(f"method {self.head.method} is not allowed for {match.path}")
        return route

    async def _infer(self, route: Route, asked: Asked, raw_path: str) -> None:
        """Dispatch by model name."""
        site = self.site
        try:
            to, selector = destination(
                asked.name, site.directory, site.profile.pins, site.selectors, site.leases.state
            )
        except RouterUnknown as exc:
            self.observe(exc.name, self.path, row=route.row, local=False)
            raise
        path = raw_path.removeprefix(route.strip) if route.strip else raw_path
        if self.passes_by(to):  # also by the books and the selector's count
            await self._dispatch(asked, to, path)
            return
        self.observe(to.model, self.path, row=route.row, local=to.peer is None, selector=selector)
        if selector is None:
            await self._dispatch(asked, to, path)
            return
        with site.selectors.reserve(selector, site.directory.resolved(to.requested)):
            await self._dispatch(asked, to, path)

    async def _dispatch(self, asked: Asked, to: Destination, path: str) -> None:
        """Send a request on, by the rules of its destination."""
        self.body, self.query = rewrite(asked, to, self.body, self.query)
        readable = self.head.method == "POST"
        if to.peer is not None:
            await self.carry_to_peer(to.peer, path, readable=readable)
            return
        carry = partial(self.carry, path=path, readable=readable)
        if asked.stream and self.head.method == "POST":
            model = self.site.config.models[to.model]
            self.prelude = prelude_for(self, model, to.requested, path)
            if self.prelude is not None:
                await self.prelude.lead(to.model, carry)
                return
        await self.serve(to.model, path, readable=readable)

    async def serve(self, model: str, path: str, *, readable: bool) -> None:
        """Send the request to a local model, which may have to be started."""
        if self.head.upgrade is not None and self._is_ignored_websocket(model):
            lease = self.site.leases.ready_lease(model)
            if lease is None:
                raise ModelNotLoaded(
                    f"model {model} is not loaded; ignored websocket requests cannot start it"
                )
            await self.carry(lease, path, readable=readable)
            return
        async with self.site.leases.lease(model) as lease:
            await self.carry(lease, path, readable=readable)

    def passes_by(self, to: Destination) -> bool:
        """Whether this is a WebSocket that its model's configuration wants to be ignored."""
        if self.head.upgrade is None or to.peer is not None:
            return False
        return self._is_ignored_websocket(to.model)

    def _is_ignored_websocket(self, model: str) -> bool:
        upgrade = self.head.upgrade or b""
        return b"websocket" in upgrade.lower() and self.site.config.models[model].ignore_websockets

    # --- being observed ---------------------------------------------------------------------------

    def observe(
        self, model: str, path: str, *, row: bool, local: bool, selector: Selector | None = None
    ) -> None:
        """Tell the observer that this request has named a model."""
        observer = self.site.observer
        if observer is not None:
            self.watch = Observation(
                observer,
                model,
                path,
                self.head.method,
                self.head.fields,
                self._client_address(),
                self.scope,
                row,
                local,
                began=self.began,
            )
            if selector is not None:
                self.watch.metadata["selector"] = selector.id
            observer.begin(self.watch)

    async def _say_cancelled(self, watch: Observation) -> None:
        """Answer a request that an operator cancelled, if nothing was sent; its client is there."""
        if not watch.cancelled or self.status:
            return
        self.keep_alive = False  # the connection's scope is cancelled for good
        with trio.move_on_after(LAST_WORD, shield=True):
            await self._send_error(RequestCancelled(f"request {watch.id} was cancelled"))

    # --- carrying ---------------------------------------------------------------------------------

    async def carry(self, lease: Lease, path: str, *, readable: bool) -> None:
        """Send the request to a leased upstream and its answer to the client."""
        endpoint, limits = lease.endpoint, lease.timeouts
        if self.watch is not None:
            self.watch.granted(lease.run, unquote(path), self.body)
        via = self.site.proxies.way_to(endpoint) if self.site.proxies else None
        start = start_line(self.head.method, endpoint, path, self.query, via)

        async def connect() -> Wire:
            try:
                return await dial(endpoint, limits, via)
            except Unreachable as exc:
                if self.site.leases.ready_lease(lease.model) is None:
                    raise UpstreamGone(f"[{lease.model}] process is not ready") from exc
                raise BadGateway(f"{lease.model}: {exc}") from exc

        dress = None if via is None else partial(authorized, endpoint=endpoint, via=via)
        await Carriage(self, lease.model, lease.run, connect, limits, dress).carry(
            start, self.body, readable=readable
        )

    async def carry_to_peer(self, link: PeerLink, path: str, *, readable: bool) -> None:
        """Send the request to a peer, at once, and its answer to the client."""
        if self.watch is not None:
            self.watch.granted(link.run, unquote(path), self.body)
        start = link.start_line(self.head.method, path, self.query)
        dress = partial(link.dress, own_keys=self.site.config.api_keys)
        await Carriage(self, link.name, link.run, link.connect, link.peer.timeouts, dress).carry(
            start, self.body, readable=readable
        )

    async def _control(self) -> None:
        """Pass the request on to the control plane."""
        start = f"{self.head.method} ".encode("ascii") + self.head.target + b" HTTP/1.1"
        path = self.site.control_socket

        async def connect() -> Wire:
            try:
                return await connect_unix(path)
            except OSError as exc:
                raise BadGateway(f"the control plane does not answer: {exc}") from exc

        await Carriage(self, "control plane", CONTROL_RUN, connect, CONTROL_LIMITS).carry(
            start, self.body, readable=False
        )

    # --- our own answers --------------------------------------------------------------------------

    async def _send_error(self, error: LlamaswapError) -> bool:
        """Answer with an envelope if nothing was sent yet. False: the response was cut."""
        if self.status:
            logger.info("response of %s cut: %s", self.path, error)
            return False
        accept = (self.head.get(b"accept") or b"").decode("latin-1")
        answer = envelope(error, accept=accept, path=self.path)
        headers = [(name.encode(), value.encode()) for name, value in answer.headers]
        if isinstance(error, Unauthorized):
            headers.append(CHALLENGE)
        if isinstance(error, MethodNotAllowed):
            headers.append(
                (b"Allow", allowed(match_path(self.head.target.partition(b"?")[0]).routes).encode())
            )
        if isinstance(error, ProtocolViolation):
            self.keep_alive = False
        try:
            await self.send(error.status, headers, answer.body)
        except (ConnectionError, OSError):
            return False
        return True

    async def redirect(self, status: int, location: str) -> None:
        """Lead elsewhere; `location` is percent-encoded."""
        await self.send(status, [(b"Location", location.encode("ascii", "replace"))], b"")

    async def send(self, status: int, headers: Headers, body: bytes) -> None:
        """Send an answer of our own, whole; its framing is added to `headers`."""
        if status != 204:
            headers.append((b"Content-Length", b"%d" % len(body)))
        if not self.keep_alive:
            headers.append((b"Connection", b"close"))
        elif self.head.version == "1.0":
            headers.append((b"Connection", b"keep-alive"))
        self.status = status
        if self.head.method == "HEAD":
            body = b""
        await self.client.send_all(render_head(status_line(status), headers) + body)
        self.sent += len(body)
        if self.watch is not None:
            self.watch.head(status, headers, framed=False)
            self.watch.take(body)

    def _report(self) -> None:
        if self.site.on_finished is None:
            return
        head, watch = self.head, self.watch
        agent = head.get(b"user-agent") or b""
        self.site.on_finished(
            AccessRecord(
                self._client_address() if watch is None else watch.remote,
                head.method,
                self.path,
                "HTTP/1.1" if head.version == "1.1" else "HTTP/1.0",
                self.status or 499,
                self.sent,
                agent.decode("latin-1"),
                monotonic() - self.began,
            )
        )

    def _client_address(self) -> str:
        forwarded = self.head.get(b"x-forwarded-for")
        if forwarded is not None and (first := forwarded.partition(b",")[0].strip()):
            return first.decode("latin-1")
        real = self.head.get(b"x-real-ip")
        if real is not None and real.strip():
            return real.strip().decode("latin-1")
        return self.peer

    @property
    def peer(self) -> str:
        """The client's address without its port."""
        return getattr(self.client, "peer", "")
