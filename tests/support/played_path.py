"""A request path over real layers and played engines, with what it leaves behind in reach."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

from octant.adapters.huggingface.chat_template import load_chat_template
from octant.adapters.huggingface.tokenizer import load_tokenizer
from octant.adapters.sqlite.settings import SqliteSettings
from octant.adapters.sqlite.store import SqliteStore
from octant.adapters.system.clock import SystemClock
from octant.adapters.system.entropy import SystemEntropy
from octant.adapters.tools.catalogue import ToolProgram
from octant.adapters.tools.runner import IsolatedToolRunner
from octant.adapters.tools.settings import ToolSettings
from octant.admission.control import AdmissionControl
from octant.admission.settings import AdmissionSettings
from octant.app.model_source import bundled_directory
from octant.app.policy_file import built_in_policy
from octant.context.chat_template import ChatTemplate
from octant.core.content import ChatInput, Role
from octant.core.envelope import RequestEnvelope
from octant.core.failure import Failure, FailureKind
from octant.core.ids import ActorId, SessionId
from octant.core.limits import Deadline, DeadlineOrigin
from octant.core.outcome import Outcome
from octant.core.route import Price
from octant.core.session import Session
from octant.core.stage import Stage
from octant.core.stream import (
    Broken,
    ChoiceFinished,
    Completed,
    Started,
    StreamItem,
    Terminal,
    TextDelta,
)
from octant.core.units import NS_PER_S, NanoUsd
from octant.core.usage import FinishReason, Usage
from octant.governance.governor import Governor
from octant.observability.metrics import Metrics
from octant.observability.recorder import EventRecorder
from octant.orchestration.agent_loop import AgentLoop
from octant.orchestration.breakers import Breakers
from octant.orchestration.execution import Execution, ExecutionSettings
from octant.orchestration.hangup import Hangup
from octant.orchestration.request_path import PathParts, PathSettings, RequestPath
from octant.orchestration.routes import DeployedRoute, PromptRules, RouteTable, ServedModel
from octant.orchestration.sessions import Sessions
from octant.orchestration.settlement import Settler
from octant.orchestration.tool_broker import ToolBroker
from octant.ports.store import Tenant
from tests.support.envelopes import PRINCIPAL, envelope, route
from tests.support.scripted_provider import ScriptedProvider

CLOCK = SystemClock()
MAX_TURNS = 3
SESSION = SessionId("ses_" + "0" * 32)
PRICE = Price(input_nano_usd=NanoUsd(10), output_nano_usd=NanoUsd(100))
USAGE = Usage(prompt_tokens=16, completion_tokens=2)
LOST = Broken(Failure(kind=FailureKind.ENGINE_LOST, stage=Stage.DECODE, message="gone"), Usage())


def started(name: str = "a") -> Started:
    return Started(route(name).id, 1, 16)


ANSWER: tuple[StreamItem, ...] = (
    started(),
    TextDelta(0, "Hi", (5,)),
    TextDelta(0, "!", (6,)),
    ChoiceFinished(0, FinishReason.STOP),
    Completed(USAGE),
)


def says(*texts: str, reason: FinishReason = FinishReason.STOP) -> tuple[StreamItem, ...]:
    """A whole answer in these pieces, a token each."""
    deltas = tuple(TextDelta(0, text, (5,)) for text in texts)
    usage = Usage(prompt_tokens=16, completion_tokens=len(texts))
    return (started(), *deltas, ChoiceFinished(0, reason), Completed(usage))


def calls(name: str, arguments: str) -> tuple[StreamItem, ...]:
    """A whole answer that is one tool call, as models write them."""
    return says(f'<tool_call>{{"name": "{name}", "arguments": {arguments}}}</tool_call>')


def text_of(items: Sequence[StreamItem]) -> str:
    """What was said, however it was cut."""
    return "".join(item.text for item in items if isinstance(item, TextDelta))


def shown(engine: ScriptedProvider, step: int) -> list[tuple[Role, str]]:
    """What the model was shown in its n-th call (from 1), as roles and texts."""
    given = engine.works[step - 1].input
    assert isinstance(given, ChatInput)
    return [(message.role, message.text) for message in given.messages]


class Bench(NamedTuple):
    """A path over played engines, with what it leaves behind in reach."""

    path: RequestPath
    store: SqliteStore
    admission: AdmissionControl
    settler: Settler

    async def ask(self, asked: RequestEnvelope) -> list[StreamItem]:
        """The items; the terminal one without its summary, which has tests of its own."""
        *items, last = [item async for item in self.path.run(asked, Hangup())]
        assert isinstance(last, Completed | Broken) and last.summary is not None
        stored = await self.store.summary(asked.request_id)
        assert last.summary == stored or (stored is None and isinstance(last, Broken))
        return [*items, last._replace(summary=None)]

    async def run(self, asked: RequestEnvelope) -> tuple[list[StreamItem], Terminal]:
        """The items before the terminal one, and that one."""
        *items, last = [item async for item in self.path.run(asked, Hangup())]
        assert isinstance(last, Completed | Broken)
        return items, last

    async def outcome(self, asked: RequestEnvelope) -> Outcome:
        await self.settler.drain()
        stored = await self.store.outcome(asked.request_id)
        assert stored is not None
        self.admission.check_integrity()
        return stored


async def with_session(made: Bench) -> None:
    """An empty session of the caller's."""
    session = Session(
        id=SESSION,
        tenant=PRINCIPAL.tenant,
        actor=ActorId("alice"),
        created_unix_ns=0,
        updated_unix_ns=0,
    )
    await made.store.put_session(session)


@asynccontextmanager
async def bench(
    directory: Path,
    *engines: ScriptedProvider,
    tools: Sequence[ToolProgram] = (),
    governor: Governor | None = None,
) -> AsyncGenerator[Bench, None]:
    store = SqliteStore(SqliteSettings(path=directory / "octant.db"))
    await store.open()
    await store.put_tenant(Tenant(id=PRINCIPAL.tenant, name="Acme", created_unix_ns=0))
    recorder = EventRecorder(Metrics(version="test"), 100, 100)
    admission = AdmissionControl(AdmissionSettings())
    settler = Settler(store, admission, recorder, CLOCK)
    routes = RouteTable(Breakers(recorder))
    routes.serve(_served(engines))
    governor = governor or _governor()
    runner = IsolatedToolRunner(ToolSettings(), CLOCK, tools)
    broker = ToolBroker(runner, governor.authorise_tool, store.append_audit, recorder, CLOCK)
    execution = Execution(recorder, CLOCK, SystemEntropy(), routes.breakers, ExecutionSettings())
    loop = AgentLoop(execution, broker, governor, recorder, CLOCK)
    parts = PathParts(
        routes, admission, governor, Sessions(store, MAX_TURNS), broker, execution, loop, settler
    )
    path = RequestPath(parts, recorder, CLOCK, PathSettings(64, 1 << 16))
    try:
        yield Bench(path, store, admission, settler)
    finally:
        await settler.drain()
        await runner.close()
        await store.close()
        assert [engine.open for engine in engines] == [0] * len(engines)
        admission.check_integrity()


@cache
def _governor() -> Governor:
    return Governor(built_in_policy().document)


@cache
def _rules() -> PromptRules:
    directory = bundled_directory()
    template = load_chat_template(directory)
    assert template is not None
    return PromptRules(
        tokenizer=load_tokenizer(directory),
        template=ChatTemplate(template.source, template.special_tokens, template.tool_source),
        tool_format="hermes",
    )


def _served(engines: Sequence[ScriptedProvider]) -> ServedModel:
    return ServedModel(
        name="m",
        created_unix_s=0,
        routes=tuple(
            DeployedRoute(route(name, price=PRICE), engine, _rules())
            for name, engine in zip("abc", engines, strict=False)
        ),
    )


def asked(number: int = 1, **changes: object) -> RequestEnvelope:
    now_ns = CLOCK.monotonic_ns()
    deadline = Deadline(at_ns=now_ns + 60 * NS_PER_S, origin=DeadlineOrigin.PROFILE)
    return envelope(number, received_ns=now_ns, deadline=deadline, **changes)
