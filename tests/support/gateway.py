"""A real gateway over real HTTP, with a scripted request path behind it.

The path is scripted because these tests are about bytes and connections; what stands behind the
gateway in production is tested with the real engine elsewhere. Keys, clock, entropy, application,
HTTP parser and server are the ones that ship.
"""

import asyncio
import socket
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import uvicorn
from openai import AsyncOpenAI

from octant.adapters.sqlite.settings import SqliteSettings
from octant.adapters.sqlite.store import SqliteStore
from octant.adapters.system.clock import SystemClock
from octant.adapters.system.entropy import SystemEntropy
from octant.admission.control import RateLimitStatus
from octant.core.envelope import RequestEnvelope
from octant.core.failure import Failure, FailureKind
from octant.core.identity import Scope
from octant.core.ids import ActorId, RouteId, TenantId
from octant.core.route import DeploymentState
from octant.core.sampling import Sampling
from octant.core.stage import Stage
from octant.core.stream import Broken, ChoiceFinished, Completed, Started, StreamItem, TextDelta
from octant.core.usage import FinishReason, Usage
from octant.gateway.api_keys import DEFAULT_SCOPES, KeyGrant, MintedKey, mint_key
from octant.gateway.application import create_application
from octant.gateway.authentication import Authenticator, KeyCacheSettings
from octant.gateway.drain import Drain
from octant.gateway.headers import SENT
from octant.gateway.http_protocol import bounded_http
from octant.gateway.services import GatewayServices, HealthCheck
from octant.gateway.sessions import SessionPolicy, SessionStore
from octant.gateway.settings import GatewaySettings
from octant.governance.governor import Governor
from octant.observability.metrics import Metrics
from octant.observability.recorder import EventRecorder
from octant.orchestration.hangup import Hangup
from octant.orchestration.routes import RouteListing
from octant.ports.store import ApiKey, Tenant
from tests.support.policies import built_in

PEPPER = b"pepper of the tests"
ACME = TenantId("acme")
GLOBEX = TenantId("globex")
# Never opened: whoever reaches it without having given one fails.
NO_STORE = SqliteStore(SqliteSettings(path=Path("nowhere")))
USAGE = Usage(prompt_tokens=7, cached_tokens=4, completion_tokens=3)
STARTED = Started(route=RouteId("local"), attempt=1, prompt_tokens=7)
HELLO = (
    STARTED,
    TextDelta(0, "Hel", (1,)),
    TextDelta(0, "", (2,)),
    TextDelta(0, "lo", (3,)),
    ChoiceFinished(0, FinishReason.STOP),
    Completed(USAGE),
)

Script = Callable[[RequestEnvelope], AsyncIterator[StreamItem]]


def says(*items: StreamItem) -> Script:
    """A script that yields `items` without waiting."""

    async def script(_: RequestEnvelope) -> AsyncIterator[StreamItem]:
        for item in items:
            yield item

    return script


def broken(kind: FailureKind, message: str = "It broke.", **more: Any) -> Broken:
    """A terminal failure."""
    return Broken(Failure(kind=kind, stage=Stage.DECODE, message=message, **more), USAGE)


class ScriptedPath:
    """Stands in for RequestPath: answers every request by `script` and counts who is inside."""

    def __init__(self) -> None:
        self.script: Script = says(*HELLO)
        self.envelopes: list[RequestEnvelope] = []
        self.hangups: list[Hangup] = []
        self.limits: RateLimitStatus | None = None
        self.inside = 0
        self.unfinished = 0
        self._entered = asyncio.Event()
        self._left = asyncio.Event()

    async def run(
        self, envelope: RequestEnvelope, hangup: Hangup
    ) -> AsyncGenerator[StreamItem, None]:
        """The script's items; an early end is counted as `unfinished`."""
        self.envelopes.append(envelope)
        self.hangups.append(hangup)
        self.inside += 1
        self._entered.set()
        finished = False
        try:
            async for item in self.script(envelope):
                finished = isinstance(item, Completed | Broken)
                yield item
        finally:
            self.inside -= 1
            self.unfinished += not finished
            self._left.set()

    def rate_limits(self, envelope: RequestEnvelope) -> RateLimitStatus | None:
        """The limits set by the test."""
        return self.limits

    async def entered(self) -> None:
        """Returns when a request has reached the path."""
        async with asyncio.timeout(10):
            await self._entered.wait()
        self._entered.clear()

    async def left(self) -> None:
        """Returns when a request has left the path, however it ended."""
        async with asyncio.timeout(10):
            await self._left.wait()
        self._left.clear()


class KeyTable:
    """Keys and tenants in memory; `lookups` counts what a request costs the store."""

    def __init__(self) -> None:
        self.keys: dict[str, ApiKey] = {}
        self.tenants = {
            tenant: Tenant(id=tenant, name=tenant, created_unix_ns=0) for tenant in (ACME, GLOBEX)
        }
        self.lookups = 0

    async def key_by_prefix(self, prefix: str) -> ApiKey | None:
        self.lookups += 1
        return self.keys.get(prefix)

    async def tenant(self, tenant: TenantId) -> Tenant | None:
        return self.tenants.get(tenant)

    def mint(
        self, scopes: tuple[Scope, ...] = DEFAULT_SCOPES, tenant: TenantId = ACME, **more: Any
    ) -> MintedKey:
        """A new key, stored."""
        told: dict[str, Any] = {"actor": ActorId("alice"), "name": "test"} | more
        grant = KeyGrant(tenant=tenant, scopes=scopes, **told)
        minted = mint_key(grant, SystemEntropy(), PEPPER, SystemClock().unix_ns())
        self.keys[minted.record.prefix] = minted.record
        return minted


class Listing(NamedTuple):
    """What the gateway says about a model."""

    name: str
    created_unix_s: int = 1_700_000_000
    owned_by: str = "octant"
    max_context: int = 2_048
    state: DeploymentState = DeploymentState.READY
    reason: str = ""
    routes: tuple[RouteListing, ...] = ()


class Models:
    """The served models."""

    def __init__(self) -> None:
        self.listings = [Listing("tiny"), Listing("org/other")]
        self.asked_on = threading.main_thread()

    def models(self) -> Sequence[Listing]:
        return self.listings

    def default_sampling(self, model: str) -> Sampling:
        """Asked while a body is read, so it tells which thread reads."""
        self.asked_on = threading.current_thread()
        return Sampling()


class Dependencies:
    """The health of what is behind the gateway."""

    def __init__(self) -> None:
        self.store_healthy = True

    async def checks(self) -> Sequence[HealthCheck]:
        reason = "" if self.store_healthy else "disk full"
        return [HealthCheck("store", self.store_healthy, reason)]


class Page(NamedTuple):
    """A metrics page."""

    body: bytes
    content_type: str


class MetricsText:
    """Metrics that never change."""

    def render(self) -> Page:
        return Page(b"octant_up 1\n", "text/plain; version=0.0.4")


class Gateway(NamedTuple):
    """A running gateway: its parts, its address, and clients of it."""

    url: str
    port: int
    key: str
    path: ScriptedPath
    keys: KeyTable
    models: Models
    health: Dependencies
    drain: Drain
    counted: Metrics
    http: httpx2.AsyncClient

    def openai(self, **more: Any) -> AsyncOpenAI:
        """The official client, without retries unless asked for."""
        options: dict[str, Any] = {
            "api_key": self.key,
            "base_url": f"{self.url}/v1",
            "max_retries": 0,
        } | more
        return AsyncOpenAI(**options)

    async def post(self, path: str, body: Any, **headers: str) -> httpx2.Response:
        """POST of JSON with the key, unless `headers` say otherwise."""
        sent = {"authorization": f"Bearer {self.key}"} | headers
        return await self.http.post(path, json=body, headers=sent)

    async def chat(self, **fields: Any) -> httpx2.Response:
        """A chat completion of one user message."""
        body = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]} | fields
        return await self.post("/v1/chat/completions", body)

    @property
    def failures(self) -> int:
        """How many failures the gateway has counted by itself."""
        lines = self.counted.render().body.decode().splitlines()
        found = [line for line in lines if line.startswith("octant_failures_total{")]
        return sum(round(float(line.rpartition(" ")[2])) for line in found)

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        """GET with the key, unless `headers` say otherwise."""
        return await self.http.get(path, headers={"authorization": f"Bearer {self.key}"} | headers)


class Parts(NamedTuple):
    """What is scripted, and the services made of it."""

    path: ScriptedPath
    keys: KeyTable
    models: Models
    health: Dependencies
    counted: Metrics
    services: GatewayServices


def make_parts(
    settings: GatewaySettings,
    sessions: SessionStore = NO_STORE,
    session_policy: SessionPolicy | None = None,
) -> Parts:
    """A gateway without a server, with the policy that comes with Octant unless told another."""
    clock, path, keys = SystemClock(), ScriptedPath(), KeyTable()
    models, health, counted = Models(), Dependencies(), Metrics(version="test")
    services = GatewayServices(
        path=path,
        routes=models,
        authenticator=Authenticator(keys, clock, PEPPER, KeyCacheSettings()),
        health=health,
        metrics=MetricsText(),
        drain=Drain(),
        events=EventRecorder(counted, 16, 16),
        clock=clock,
        entropy=SystemEntropy(),
        sessions=sessions,
        session_policy=session_policy or Governor(built_in()),
        settings=settings,
    )
    return Parts(path, keys, models, health, counted, services)


@asynccontextmanager
async def running_gateway(
    settings: GatewaySettings,
    sessions: SessionStore = NO_STORE,
    session_policy: SessionPolicy | None = None,
) -> AsyncGenerator[Gateway, None]:
    """A gateway on a free port until the scope is left; nobody may be left inside then."""
    path, keys, models, health, counted, services = make_parts(settings, sessions, session_policy)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        hooks = {"response": [_check_headers]}
        async with (
            _serving(services, listener),
            httpx2.AsyncClient(base_url=url, event_hooks=hooks) as http,
        ):
            yield Gateway(
                url=url,
                port=port,
                key=keys.mint().plaintext,
                path=path,
                keys=keys,
                models=models,
                health=health,
                drain=services.drain,
                counted=counted,
                http=http,
            )
    services.drain.check_integrity()
    services.authenticator.check_integrity()
    assert services.drain.inside == 0
    assert path.inside == 0


async def _check_headers(response: httpx2.Response) -> None:
    """No answer has a header that the table of sent headers lacks; uvicorn adds three."""
    assert set(response.headers) <= SENT.keys() | {"date", "server", "transfer-encoding"}


@asynccontextmanager
async def _serving(
    services: GatewayServices, listener: socket.socket
) -> AsyncGenerator[None, None]:
    config = uvicorn.Config(
        create_application(services),
        http=bounded_http(services.settings, services.entropy, services.clock, services.events),
        log_config=None,
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:  # noqa: ASYNC110 - uvicorn tells it by an attribute only
        await asyncio.sleep(0.001)
    try:
        yield
    finally:
        server.should_exit = True
        await serving
