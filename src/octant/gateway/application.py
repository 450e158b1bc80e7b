"""Application: from an ASGI connection to an endpoint, and the last border of every failure.

Law: routing looks at `scope["path"]` and nothing else; a URL rebuilt from headers is never trusted.
Whatever goes wrong, the caller gets one well-formed answer or a closed connection. What fails here
never became a request of the path, which counts its own failures. A mounted application answers for
itself.
"""

import logging
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from octant.core.events import RequestRefused
from octant.core.failure import DEFECT, Failed, Failure, FailureKind
from octant.core.stage import Stage
from octant.gateway.body import ClientGone
from octant.gateway.dialects.chat_completions import ChatCompletions
from octant.gateway.dialects.completions import Completions
from octant.gateway.dialects.runs import Runs
from octant.gateway.exchange import SlowReader
from octant.gateway.failures import Header
from octant.gateway.headers import Head, read_head
from octant.gateway.inference import Inference
from octant.gateway.listings import Listings
from octant.gateway.reply import CLOSE, Reply
from octant.gateway.routing import Call, Endpoint, Found, Routing
from octant.gateway.schemas import Schemas
from octant.gateway.services import GatewayServices
from octant.gateway.sessions import Sessions

_log = logging.getLogger(__name__)


def create_application(services: GatewayServices) -> ASGIApp:
    """The ASGI application over `services`."""
    return Application(services)


def endpoints_of(services: GatewayServices) -> tuple[Endpoint, ...]:
    """The whole table of paths, except what lies under `services.mounts`."""
    listings, schemas = Listings(services), Schemas()
    sessions = Sessions(
        services.sessions,
        services.session_policy,
        services.authenticator,
        services.clock,
        services.entropy,
        services.settings,
    )
    return (
        Endpoint("POST", "/v1/chat/completions", Inference(services, ChatCompletions())),
        Endpoint("POST", "/v1/completions", Inference(services, Completions())),
        Endpoint("POST", "/v1/runs", Inference(services, Runs())),
        Endpoint("POST", "/v1/sessions", sessions.create),
        Endpoint("GET", "/v1/sessions", sessions.listing),
        Endpoint("GET", "/v1/sessions/{id}", sessions.show),
        Endpoint("DELETE", "/v1/sessions/{id}", sessions.delete),
        Endpoint("POST", "/v1/sessions/{id}/branch", sessions.branch),
        Endpoint("GET", "/v1/schemas", schemas.listing),
        Endpoint("GET", "/v1/schemas/{name}", schemas.show),
        Endpoint("GET", "/v1/models", listings.models),
        Endpoint("GET", "/v1/models/{id}", listings.model, rest=True),
        Endpoint("GET", "/health/live", listings.live),
        Endpoint("GET", "/health/ready", listings.ready),
        Endpoint("GET", "/health/models", listings.model_health),
        Endpoint("GET", "/metrics", listings.metrics),
    )


class Application:
    """The ASGI callable."""

    def __init__(self, services: GatewayServices) -> None:
        self._services = services
        self.routing = Routing(endpoints_of(services), services.mounts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves HTTP; turns WebSockets away."""
        match scope["type"]:
            case "http":
                mounted = self.routing.mounted(scope["path"])
                if mounted is None:
                    await self._http(scope, receive, send)
                    return
                prefix, application = mounted
                root_path = scope.get("root_path", "") + prefix
                await application({**scope, "root_path": root_path}, receive, send)
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
            found = self._find(head)
            endpoint = found.methods.get(head.method)
            if endpoint is None:
                allowed = ", ".join(found.methods)
                allow = [(b"allow", allowed.encode())]
                await self._refuse(reply, _wrong_method(head, allowed), allow)
                return
            await endpoint.handler(Call(head, receive, reply, found.names))
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

    def _find(self, head: Head) -> Found:
        found = self.routing.find(head.path)
        if found is None:
            raise Failed(_unknown_path(head, self.routing.endpoints))
        return found


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _unknown_path(head: Head, endpoints: Sequence[Endpoint]) -> Failure:
    known = ", ".join(f"{endpoint.method} {endpoint.path}" for endpoint in endpoints)
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
