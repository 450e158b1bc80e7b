"""Administration's border: identity, bounds and failures of everything under its prefix.

    head -> identity -> body, bounded -> the API (gateway.administration.api)

Law: nobody gets further without a key that holds the scope, nothing is held beyond the bound, and
every answer has the ids and the error shape of all others. The API itself is loaded at its first
request, on a thread: a server that nobody administers pays neither its time nor its memory.
"""

import asyncio
import logging
from importlib import import_module
from typing import NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from octant.core.events import RequestRefused
from octant.core.failure import DEFECT, Failed, Failure, FailureKind
from octant.core.identity import Scope as Authority
from octant.core.stage import Stage
from octant.gateway.authentication import Authenticator
from octant.gateway.body import ClientGone, Declared, read_body
from octant.gateway.drain import Drain
from octant.gateway.headers import Head, read_head
from octant.gateway.reply import Reply
from octant.gateway.settings import GatewaySettings
from octant.lifecycle.administration import Administration, Caller
from octant.ports.clock import Clock
from octant.ports.entropy import Entropy
from octant.ports.sink import EventSink

PREFIX = "/admin/v1"
OPENAPI_PATH = "/openapi.json"

_API = "octant.gateway.administration.api"
_SCOPES = (Authority.DEPLOYMENTS,)
_READING = ("GET", "HEAD")

_log = logging.getLogger(__name__)


class AdministrationServices(NamedTuple):
    """What the border needs."""

    administration: Administration
    authenticator: Authenticator
    drain: Drain
    events: EventSink
    clock: Clock
    entropy: Entropy
    settings: GatewaySettings


class AdministrationApplication:
    """The ASGI callable that is mounted at `PREFIX`."""

    def __init__(self, services: AdministrationServices) -> None:
        self._services = services
        self._api: ASGIApp | None = None
        self._loading = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        services = self._services
        head = read_head(scope, services.clock, services.entropy)
        reply = Reply(send, head)
        try:
            await self._answer(scope, receive, _Stamped(send, reply), head)
        except Failed as error:
            self._refused(error.failure)
            await reply.failure(error.failure)
        except ClientGone:
            _log.info("request %s ended by the caller", head.request_id)
        except Exception:
            # The last border: a defect of ours must still be answered, and named in the log.
            _log.exception("request %s met a defect in the administration", head.request_id)
            self._refused(DEFECT)
            if not reply.started:
                await reply.failure(DEFECT)

    async def _answer(self, scope: Scope, receive: Receive, send: "_Stamped", head: Head) -> None:
        caller: Caller | None = None
        body = b""
        if head.path != PREFIX + OPENAPI_PATH:
            identity = await self._services.authenticator.authenticate(
                head.headers.get(b"authorization"), _SCOPES
            )
            caller = Caller(identity.principal, head.request_id)
        if head.method not in _READING:
            self._refuse_when_draining()
            body = await self._body(receive, head)
        api = await self._loaded()
        state = {"caller": caller, "request_id": head.request_id, "refused": self._refused}
        await api({**scope, "state": state}, _once(body, receive), send)

    async def _body(self, receive: Receive, head: Head) -> bytes:
        sent = head.headers
        length = sent.get(b"content-length")
        if sent.get(b"content-type") is None and length in (None, b"0"):
            return b""
        declared = Declared(sent.get(b"content-type"), sent.get(b"content-encoding"), length)
        return await read_body(receive, declared, self._services.settings)

    async def _loaded(self) -> ASGIApp:
        async with self._loading:
            if self._api is None:
                module = await asyncio.to_thread(import_module, _API)
                api: ASGIApp = await asyncio.to_thread(
                    module.create_api, self._services.administration
                )
                self._api = api
        return self._api

    def _refuse_when_draining(self) -> None:
        if self._services.drain.draining:
            raise Failed(
                Failure(
                    kind=FailureKind.DRAINING,
                    stage=Stage.BOUNDARY,
                    message="This server is shutting down and changes nothing any more. Try again "
                    "shortly.",
                )
            )

    def _refused(self, failure: Failure) -> None:
        now_ns = self._services.clock.monotonic_ns()
        self._services.events.emit(RequestRefused(at_ns=now_ns, failure=failure))


class _Stamped:
    """Sends what the API answers, with the ids of the request."""

    def __init__(self, send: Send, reply: Reply) -> None:
        self._send = send
        self._reply = reply

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._reply.started = True
            message = {**message, "headers": [*message["headers"], *self._reply.ids]}
        await self._send(message)


def _once(body: bytes, receive: Receive) -> Receive:
    """The body that was read already, then whatever the connection says."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return waiting.pop() if waiting else await receive()

    return next_message
