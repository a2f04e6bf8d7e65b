"""One request and its answer, from the parsed head to the last byte. Source: http-api §1–§3.

The order is: CORS and OPTIONS, route (404, 405, redirect), key, handler. A handler either answers
itself, passes the request to the control plane, or takes a lease on a model and carries bytes.
Leaving early, for whatever reason, closes the upstream connection: that is how a model server
learns to stop generating.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache, partial
from time import monotonic
from urllib.parse import unquote

import trio
from attrs import define, field

from llamaswap.config.patterns import compile_pattern
from llamaswap.config.schema import Selector, Timeouts
from llamaswap.error_envelope import envelope
from llamaswap.errors import (
    BadGateway,
    BadRequest,
    LlamaswapError,
    ModelNotLoaded,
    ModelUnknown,
    RequestCancelled,
    UpstreamGone,
)
from llamaswap.nursery.lease import Lease
from llamaswap.proxy.auth import CHALLENGE, Unauthorized, check_key, check_site
from llamaswap.proxy.carriage import Carriage
from llamaswap.proxy.dial import Unreachable, dial
from llamaswap.proxy.directory import Destination
from llamaswap.proxy.http1 import (
    Headers,
    ProtocolViolation,
    RequestHead,
    UpstreamViolation,
    is_token,
    render_head,
    status_line,
)
from llamaswap.proxy.peers import PeerLink, authorized, start_line
from llamaswap.proxy.prelude import Prelude, prelude_for
from llamaswap.proxy.resolve import (
    Asked,
    RouterUnknown,
    asked_in_body,
    asked_in_query,
    destination,
    split_upstream_path,
    upstream_redirect,
)
from llamaswap.proxy.rewrite import rewrite, rewrite_for_peer
from llamaswap.proxy.routes import Match, Route, Rule, allowed, choose, match_path, observed
from llamaswap.proxy.site import Site
from llamaswap.proxy.wire import Wire, connect_unix
from llamaswap.telemetry.access_log import AccessRecord
from llamaswap.telemetry.observation import Observation, Outcome

logger = logging.getLogger(__name__)

CORS_DEFAULT = b"Content-Type, Authorization, Accept, X-Requested-With"
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
    selector: str = ""
    """Id of the selector that chose the model; empty: the client named it."""
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
            self.site.end(self)
            self._report()
        return finished and self.keep_alive

    # --- who answers ------------------------------------------------------------------------------

    async def _answer(self) -> None:
        raw, _, query = self.head.target.partition(b"?")
        self.query = query.decode("ascii")
        if self.head.method == "OPTIONS":
            self.path = raw.decode("ascii")
            await self._send(204, self._cors(), b"")
            return
        match = match_path(raw)
        self.path = match.path
        route = self._route(match)
        if route is None:
            assert match.redirect is not None
            await self._redirect(307, match.redirect + (f"?{self.query}" if self.query else ""))
            return
        if route.auth:
            check_key(self.head, self.site.config.api_keys)
        if route.changes:
            check_site(self.head)
        match route.rule:
            case Rule.BODY:
                asked = asked_in_body(self.head, self.body, self.query)
                await self._infer(route, asked, raw.decode("ascii"))
            case Rule.QUERY:
                await self._infer(route, asked_in_query(self.query), raw.decode("ascii"))
            case Rule.UPSTREAM:
                await self._pass_through(raw.decode("ascii"))
            case Rule.COMFYUI:
                await self._comfyui(raw.decode("ascii"))
            case Rule.CONTROL:
                await self._control()
            case Rule.ALIVE:
                await self._send(200, [(b"Content-Type", b"text/plain; charset=utf-8")], b"OK")

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
            self._observe(exc.name, self.path, row=route.row, local=False)
            raise
        self._observe(to.model, self.path, row=route.row, local=to.peer is None, selector=selector)
        path = raw_path.removeprefix(route.strip) if route.strip else raw_path
        if selector is None:
            await self._dispatch(asked, to, path)
            return
        self.selector = selector.id
        with site.selectors.reserve(selector, site.directory.resolved(to.requested)):
            await self._dispatch(asked, to, path)

    async def _dispatch(self, asked: Asked, to: Destination, path: str) -> None:
        """Send a request on, by the rules of its destination."""
        self.body, self.query = rewrite(asked, to, self.body, self.query)
        readable = self.head.method == "POST"
        if to.peer is not None:
            await self._carry_to_peer(to.peer, path, readable=readable)
            return
        carry = partial(self._carry, path=path, readable=readable)
        if asked.stream and self.head.method == "POST":
            model = self.site.config.models[to.model]
            self.prelude = prelude_for(self, model, asked.name, path)
            if self.prelude is not None:
                await self.prelude.lead(to.model, carry)
                return
        async with self.site.leases.lease(to.model) as lease:
            await carry(lease)

    async def _pass_through(self, raw: str) -> None:
        """`/upstream/<model>/<tail>`: the tail as received, no look at the body."""
        if raw == "/upstream":
            if self.head.method in ("GET", "HEAD"):
                await self._redirect(302, "/ui/models")
            else:
                await self._redirect(307, "/upstream/")
            return
        tail = split_upstream_path(
            self.site.directory, self.site.profile.pins, raw.removeprefix("/upstream/")
        )
        if not tail.raw:
            status = 301 if self.head.method in ("GET", "HEAD") else 308
            await self._redirect(status, upstream_redirect(tail.written, self.query))
            return
        to = tail.destination
        decoded = unquote(tail.raw)
        watched = observed(self.head.method, decoded)
        if watched is not None:
            self._observe(to.model, decoded, row=watched.row, local=to.peer is None)
        if to.peer is not None:
            self.body, self.query = rewrite_for_peer(self._asked(), to, self.body, self.query)
            await self._carry_to_peer(to.peer, tail.raw, readable=False)
            return
        ignored = any(p.search(decoded) for p in _patterns(self.site.config.ignore_paths))
        if ignored and self.site.leases.ready_lease(to.model) is None:
            raise ModelNotLoaded(
                f"model {to.model} is not loaded; path matches upstream.ignorePaths"
            )
        await self._serve_raw(to.model, tail.raw)

    def _asked(self) -> Asked | None:
        """What the body names, if it names a model at all."""
        try:
            return asked_in_body(self.head, self.body, "")
        except (BadRequest, ModelUnknown):
            return None

    async def _comfyui(self, raw: str) -> None:
        """`/comfyui/<tail>`: the model `comfyui_auto`; only its root may start it."""
        if raw == "/comfyui":
            status = 301 if self.head.method in ("GET", "HEAD") else 308
            await self._redirect(status, "/comfyui/" + (f"?{self.query}" if self.query else ""))
            return
        if COMFYUI not in self.site.config.models:
            raise ModelUnknown(f"local model {COMFYUI} not found")
        tail = raw.removeprefix("/comfyui")
        if tail != "/" and self.site.leases.ready_lease(COMFYUI) is None:
            raise ModelNotLoaded(f"model {COMFYUI} is not loaded; only /comfyui/ can start it")
        await self._serve_raw(COMFYUI, tail)

    async def _serve_raw(self, model: str, raw_path: str) -> None:
        description = self.site.config.models[model]
        if self._wants_websocket() and description.ignore_websockets:
            lease = self.site.leases.ready_lease(model)
            if lease is None:
                raise ModelNotLoaded(
                    f"model {model} is not loaded; ignored websocket requests cannot start it"
                )
            await self._carry(lease, raw_path, readable=False)
            return
        async with self.site.leases.lease(model) as lease:
            await self._carry(lease, raw_path, readable=False)

    # --- being observed ---------------------------------------------------------------------------

    def _observe(
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

    async def _carry(self, lease: Lease, path: str, *, readable: bool) -> None:
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

    async def _carry_to_peer(self, link: PeerLink, path: str, *, readable: bool) -> None:
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

    def _wants_websocket(self) -> bool:
        return self.head.upgrade is not None and b"websocket" in self.head.upgrade.lower()

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
            await self._send(error.status, headers, answer.body)
        except (ConnectionError, OSError):
            return False
        return True

    async def _redirect(self, status: int, location: str) -> None:
        await self._send(status, [(b"Location", location.encode("ascii", "replace"))], b"")

    async def _send(self, status: int, headers: Headers, body: bytes) -> None:
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

    def _cors(self) -> Headers:
        """The answer to every OPTIONS request. Source: http-api §1.3."""
        wished = self.head.get(b"access-control-request-headers")
        if wished is None:
            names = CORS_DEFAULT
        else:
            parts = (part.strip() for part in wished.split(b","))
            names = b", ".join(part for part in parts if is_token(part))
        return [
            (b"Access-Control-Allow-Origin", b"*"),
            (b"Access-Control-Allow-Methods", b"GET, POST, PUT, PATCH, DELETE, OPTIONS"),
            (b"Access-Control-Allow-Headers", names),
            (b"Access-Control-Max-Age", b"86400"),
        ]

    def _report(self) -> None:
        if self.site.on_finished is None:
            return
        agent = self.head.get(b"user-agent") or b""
        self.site.on_finished(
            AccessRecord(
                self._client_address(),
                self.head.method,
                self.path,
                "HTTP/1.1" if self.head.version == "1.1" else "HTTP/1.0",
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


@lru_cache(maxsize=8)
def _patterns(texts: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    return tuple(compile_pattern(text) for text in texts)
