"""Application: from an ASGI connection to an endpoint, and the last border of every failure.

Law: routing looks at `scope["path"]` and nothing else, exactly; a URL rebuilt from headers is never
trusted. Whatever goes wrong, the caller gets one well-formed answer or a closed connection. What
fails here never became a request of the path, which counts its own failures.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from starlette.types import ASGIApp, Receive, Scope, Send

from octant.core.events import RequestRefused
from octant.core.failure import DEFECT, Failed, Failure, FailureKind
from octant.core.stage import Stage
from octant.gateway.body import ClientGone
from octant.gateway.dialects.chat_completions import ChatCompletions
from octant.gateway.dialects.completions import Completions
from octant.gateway.exchange import SlowReader
from octant.gateway.failures import Header
from octant.gateway.headers import Head, read_head
from octant.gateway.inference import Call, Inference
from octant.gateway.listings import MODELS_PREFIX, Listings
from octant.gateway.reply import CLOSE, Reply
from octant.gateway.services import GatewayServices

_log = logging.getLogger(__name__)

_Handler = Callable[[Call], Awaitable[None]]


class Endpoint(NamedTuple):
    """One path: its method and what answers."""

    method: str
    handler: _Handler


def create_application(services: GatewayServices) -> ASGIApp:
    """The ASGI application over `services`."""
    return Application(services)


class Application:
    """The ASGI callable; `endpoints` is the whole table of paths."""

    def __init__(self, services: GatewayServices) -> None:
        listings = Listings(services)
        self._services = services
        self._model = Endpoint("GET", listings.model)
        self.endpoints: dict[str, Endpoint] = {
            "/v1/chat/completions": Endpoint("POST", Inference(services, ChatCompletions())),
            "/v1/completions": Endpoint("POST", Inference(services, Completions())),
            "/v1/models": Endpoint("GET", listings.models),
            "/health/live": Endpoint("GET", listings.live),
            "/health/ready": Endpoint("GET", listings.ready),
            "/health/models": Endpoint("GET", listings.model_health),
            "/metrics": Endpoint("GET", listings.metrics),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves HTTP; turns WebSockets away."""
        match scope["type"]:
            case "http":
                await self._http(scope, receive, send)
            case "lifespan":
                await _lifespan(receive, send)
            case _:
                await send({"type": "websocket.close", "code": 1000})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = read_head(scope, self._services.clock, self._services.entropy)
        reply = Reply(send, head)
        if self._services.drain.draining:
            reply.extra.append(CLOSE)
        try:
            endpoint = self._endpoint(head)
            if head.method != endpoint.method:
                allow = [(b"allow", endpoint.method.encode())]
                await self._refuse(reply, _wrong_method(head, endpoint.method), allow)
                return
            await endpoint.handler(Call(head, receive, reply))
        except Failed as error:
            await self._refuse(reply, error.failure)
        except (ClientGone, SlowReader) as error:
            _log.info("request %s ended by the caller: %s", head.request_id, type(error).__name__)
        except Exception:
            # The last border: a defect of ours must still be answered, and named in the log.
            _log.exception("request %s met a defect in the gateway", head.request_id)
            await self._refuse(reply, DEFECT)

    async def _refuse(self, reply: Reply, failure: Failure, more: Sequence[Header] = ()) -> None:
        services = self._services
        services.events.emit(RequestRefused(at_ns=services.clock.monotonic_ns(), failure=failure))
        # A started response cannot be refused; leaving it incomplete closes the connection.
        if not reply.started:
            await reply.failure(failure, more)

    def _endpoint(self, head: Head) -> Endpoint:
        found = self.endpoints.get(head.path)
        if found is None and head.path.startswith(MODELS_PREFIX):
            found = self._model
        if found is None:
            raise Failed(_unknown_path(head, self.endpoints))
        return found


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _unknown_path(head: Head, endpoints: dict[str, Endpoint]) -> Failure:
    known = ", ".join(f"{endpoint.method} {path}" for path, endpoint in endpoints.items())
    asked = f"{head.method} {head.path[:200]}"
    return Failure(
        kind=FailureKind.NOT_FOUND,
        stage=Stage.BOUNDARY,
        message=f"Unknown request URL: {asked}. This server answers {known}.",
    )


def _wrong_method(head: Head, allowed: str) -> Failure:
    return Failure(
        kind=FailureKind.METHOD_NOT_ALLOWED,
        stage=Stage.BOUNDARY,
        message=f"Not allowed to {head.method} on {head.path[:200]}. Use {allowed}.",
    )
