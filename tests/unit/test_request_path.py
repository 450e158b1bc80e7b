"""The request path: real admission, policy, assembly, routing and store; engines are played."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from octant.adapters.huggingface.chat_template import load_chat_template
from octant.adapters.huggingface.tokenizer import load_tokenizer
from octant.adapters.sqlite.settings import SqliteSettings
from octant.adapters.sqlite.store import SqliteStore
from octant.adapters.system.clock import SystemClock
from octant.adapters.system.entropy import SystemEntropy
from octant.adapters.tools.runner import IsolatedToolRunner
from octant.adapters.tools.settings import ToolSettings
from octant.admission.control import AdmissionControl
from octant.admission.settings import AdmissionSettings
from octant.app.model_source import bundled_directory
from octant.app.policy_file import built_in_policy
from octant.context.chat_template import ChatTemplate
from octant.core.content import TextPrompt, ToolDefinition
from octant.core.envelope import RequestEnvelope
from octant.core.failure import Failure, FailureKind
from octant.core.limits import Deadline, DeadlineOrigin
from octant.core.outcome import Outcome, OutcomeStatus
from octant.core.route import Price
from octant.core.sampling import Sampling
from octant.core.stage import Stage
from octant.core.stream import (
    Broken,
    ChoiceFinished,
    Completed,
    Started,
    StreamItem,
    TextDelta,
    ToolCallDelta,
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
from octant.orchestration.settlement import Settler, month_of
from octant.orchestration.tool_broker import ToolBroker
from octant.ports.store import Tenant
from tests.support.envelopes import PRINCIPAL, chat, envelope, route
from tests.support.scripted_provider import ScriptedProvider

CLOCK = SystemClock()
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

    async def outcome(self, asked: RequestEnvelope) -> Outcome:
        await self.settler.drain()
        stored = await self.store.outcome(asked.request_id)
        assert stored is not None
        self.admission.check_integrity()
        return stored


@asynccontextmanager
async def bench(directory: Path, *engines: ScriptedProvider) -> AsyncGenerator[Bench, None]:
    store = SqliteStore(SqliteSettings(path=directory / "octant.db"))
    await store.open()
    await store.put_tenant(Tenant(id=PRINCIPAL.tenant, name="Acme", created_unix_ns=0))
    recorder = EventRecorder(Metrics(version="test"), 100, 100)
    admission = AdmissionControl(AdmissionSettings())
    settler = Settler(store, admission, recorder, CLOCK)
    routes = RouteTable(Breakers(recorder))
    routes.serve(_served(engines))
    governor = Governor(built_in_policy().document)
    runner = IsolatedToolRunner(ToolSettings(), CLOCK)
    broker = ToolBroker(runner, governor.authorise_tool, store.append_audit, recorder, CLOCK)
    execution = Execution(recorder, CLOCK, SystemEntropy(), routes.breakers, ExecutionSettings())
    loop = AgentLoop(execution, broker, governor, recorder, CLOCK)
    parts = PathParts(
        routes, admission, governor, Sessions(store), broker, execution, loop, settler
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


def _served(engines: Sequence[ScriptedProvider]) -> ServedModel:
    directory = bundled_directory()
    template = load_chat_template(directory)
    assert template is not None
    rules = PromptRules(
        tokenizer=load_tokenizer(directory),
        template=ChatTemplate(template.source, template.special_tokens, template.tool_source),
        tool_format="hermes",
    )
    return ServedModel(
        name="m",
        created_unix_s=0,
        routes=tuple(
            DeployedRoute(route(name, price=PRICE), engine, rules)
            for name, engine in zip("abc", engines, strict=False)
        ),
    )


def asked(number: int = 1, **changes: object) -> RequestEnvelope:
    now_ns = CLOCK.monotonic_ns()
    deadline = Deadline(at_ns=now_ns + 60 * NS_PER_S, origin=DeadlineOrigin.PROFILE)
    return envelope(number, received_ns=now_ns, deadline=deadline, **changes)


async def test_a_whole_answer_is_passed_on_and_settled_with_its_price(tmp_path: Path) -> None:
    async with bench(tmp_path, ScriptedProvider(ANSWER)) as made:
        request = asked()
        *said, finished, completed = (await made.ask(request))[1:]
        assert "".join(item.text for item in said if isinstance(item, TextDelta)) == "Hi!"
        assert [finished, completed] == list(ANSWER[-2:])
        outcome = await made.outcome(request)
        assert (outcome.status, outcome.usage) == (OutcomeStatus.COMPLETED, USAGE)
        assert outcome.cost_nano_usd == 16 * 10 + 2 * 100
        month = month_of(request.received_unix_ns)
        assert await made.store.spent(PRINCIPAL.tenant, month) == outcome.cost_nano_usd
        assert (await made.store.manifest(request.request_id)) is not None
        (record,) = await made.store.audit(PRINCIPAL.tenant, 10)
        assert (record.decision, record.rule) == ("completed", "authorise.cedar.default.models")


async def test_before_any_output_another_route_takes_over(tmp_path: Path) -> None:
    first, second = ScriptedProvider([started(), LOST]), ScriptedProvider(ANSWER)
    async with bench(tmp_path, first, second) as made:
        request = asked()
        items = await made.ask(request)
        assert items[-1] == Completed(USAGE)
        assert [work.attempt for work in (*first.works, *second.works)] == [1, 2]
        outcome = await made.outcome(request)
        assert (outcome.attempts, outcome.route) == (2, "b")


async def test_after_output_the_request_ends_with_its_route(tmp_path: Path) -> None:
    first = ScriptedProvider([started(), TextDelta(0, "Hi", (5,)), LOST])
    second = ScriptedProvider(ANSWER)
    async with bench(tmp_path, first, second) as made:
        request = asked()
        assert (await made.ask(request))[-1] == LOST
        assert second.works == []
        assert (await made.outcome(request)).status is OutcomeStatus.PARTIAL


async def test_with_no_route_left_the_caller_learns_why_the_last_one_failed(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path, ScriptedProvider([started(), LOST])) as made:
        assert (await made.ask(asked()))[-1] == LOST


async def test_the_prompt_is_echoed_once_however_many_attempts_there_are(tmp_path: Path) -> None:
    engines = ScriptedProvider([started(), LOST]), ScriptedProvider(ANSWER)
    async with bench(tmp_path, *engines) as made:
        items = await made.ask(asked(input=TextPrompt(text="Hello", echo=True)))
        text = "".join(item.text for item in items if isinstance(item, TextDelta))
        assert text == "HelloHi!"


async def test_a_caller_who_leaves_pays_for_what_was_generated_also_for_tool_calls(
    tmp_path: Path,
) -> None:
    call = '<tool_call>\n{"name": "f", "arguments": {"a": 1'
    engine = ScriptedProvider([started(), TextDelta(0, call, tuple(range(20))), *ANSWER[1:]])
    tools = (ToolDefinition(name="f"),)
    async with bench(tmp_path, engine) as made:
        request = asked(input=msgspec.structs.replace(chat("Hi"), tools=tools), stream=True)
        items = made.path.run(request, Hangup())
        async for item in items:
            if isinstance(item, ToolCallDelta):
                break
        await items.aclose()
        outcome = await made.outcome(request)
        assert outcome.status is OutcomeStatus.CANCELLED
        assert outcome.usage == Usage(prompt_tokens=16, completion_tokens=20)


async def test_a_caller_who_leaves_before_any_output_owes_nothing(tmp_path: Path) -> None:
    async with bench(tmp_path, ScriptedProvider(ANSWER)) as made:
        request = asked()
        items = made.path.run(request, Hangup())
        assert isinstance(await anext(items), Started)
        await items.aclose()
        outcome = await made.outcome(request)
        assert (outcome.status, outcome.cost_nano_usd) == (OutcomeStatus.CANCELLED, 0)


async def test_what_the_edge_ends_is_recorded_under_its_own_reason(tmp_path: Path) -> None:
    async with bench(tmp_path, ScriptedProvider(ANSWER)) as made:
        request, hangup = asked(), Hangup()
        items = made.path.run(request, hangup)
        await anext(items)
        hangup.failure = Failure(
            kind=FailureKind.DEADLINE_EXCEEDED, stage=Stage.DECODE, message="late"
        )
        await items.aclose()
        outcome = await made.outcome(request)
        assert outcome.failure is not None
        assert outcome.failure.kind is FailureKind.DEADLINE_EXCEEDED


async def test_an_unknown_model_is_refused_and_recorded(tmp_path: Path) -> None:
    async with bench(tmp_path, ScriptedProvider()) as made:
        request = asked(model=msgspec.structs.replace(envelope().model, name="none"))
        (refused,) = await made.ask(request)
        assert isinstance(refused, Broken)
        assert refused.failure.kind is FailureKind.MODEL_NOT_FOUND
        assert (await made.outcome(request)).attempts == 0


async def test_the_context_is_what_the_engine_really_holds(tmp_path: Path) -> None:
    engine = ScriptedProvider(ANSWER, max_context=100)
    async with bench(tmp_path, engine) as made:
        await made.ask(asked(sampling=Sampling()))
        (work,) = engine.works
        assert work.sampling.max_tokens == 100 - len(work.prompt_tokens)


async def test_an_answer_that_cannot_be_stored_is_broken_and_costs_nothing(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path, ScriptedProvider(ANSWER, ANSWER)) as made:
        allowance = msgspec.structs.replace(
            envelope().allowance, budget_nano_usd=NanoUsd(16 * 100 + 512 * 10)
        )
        stranger = msgspec.structs.replace(PRINCIPAL, tenant="nobody")
        request = asked(principal=stranger, allowance=allowance)
        broken = (await made.ask(request))[-1]
        assert isinstance(broken, Broken)
        assert broken.failure.kind is FailureKind.RECORD_NOT_STORED
        # The same budget is whole again: what is in no ledger was not charged.
        again = (await made.ask(asked(2, principal=stranger, allowance=allowance)))[-1]
        assert isinstance(again, Broken)
        assert again.failure.kind is FailureKind.RECORD_NOT_STORED


async def test_a_defect_is_told_as_one_and_still_settles(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(tmp_path, ScriptedProvider()) as made:
        request = asked()
        broken = (await made.ask(request))[-1]
        assert isinstance(broken, Broken)
        assert broken.failure.kind is FailureKind.INTERNAL_ERROR
        assert "met a defect" in caplog.text
        assert (await made.outcome(request)).status is OutcomeStatus.FAILED
