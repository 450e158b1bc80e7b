"""The agent loop: own tools between calls, answers held until they passed, bounds."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from octant.core.content import ChatInput, Role, ToolChoice
from octant.core.envelope import (
    ContextPolicy,
    OutputContract,
    SessionUse,
    ToolGrant,
    TraceSettings,
)
from octant.core.evidence import Document
from octant.core.failure import FailureKind
from octant.core.limits import RunBudget
from octant.core.outcome import OutcomeStatus
from octant.core.sampling import Sampling
from octant.core.stream import (
    Broken,
    ChoiceFinished,
    Completed,
    StreamItem,
    ToolCallDelta,
    ToolRan,
)
from octant.core.tools import ToolStatus
from octant.core.units import NanoUsd
from octant.core.usage import FinishReason, Usage
from octant.core.work import ModelWork
from octant.orchestration.agent_loop import MAX_CALLS
from tests.support.envelopes import PRINCIPAL, chat
from tests.support.played_path import (
    PRICE,
    SESSION,
    USAGE,
    asked,
    bench,
    calls,
    says,
    shown,
    started,
    text_of,
    with_session,
)
from tests.support.scripted_provider import ScriptedProvider

TOOLS = ToolGrant(allowed=("calculator",), max_steps=3)
SUM = OutputContract(
    json_schema={
        "type": "object",
        "properties": {"sum": {"type": "integer"}},
        "required": ["sum"],
        "additionalProperties": False,
    }
)


async def test_an_own_tool_is_run_and_its_result_answered_with(tmp_path: Path) -> None:
    engine = ScriptedProvider(calls("calculator", '{"expression": "12 * 7"}'), says("84."))
    async with bench(tmp_path, engine) as made:
        request = asked(input=chat("12 times 7?"), tools=TOOLS)
        items, last = await made.run(request)
        assert isinstance(last, Completed)
        assert text_of(items) == "84."
        [ran] = [item for item in items if isinstance(item, ToolRan)]
        assert json.loads(ran.answer.content) == {"result": 84}
        assert [item for item in items if isinstance(item, ChoiceFinished)] == [items[-1]]
        assert [role for role, _ in shown(engine, 2)] == [Role.USER, Role.ASSISTANT, Role.TOOL]
        assert shown(engine, 2)[-1] == (Role.TOOL, ran.answer.content)
        summary = last.summary
        assert summary is not None
        assert [tool.status for tool in summary.tools] == [ToolStatus.SUCCEEDED]
        assert [(attempt.step, attempt.attempt) for attempt in summary.attempts] == [(1, 1), (2, 2)]
        outcome = await made.outcome(request)
        assert outcome.usage == Usage(prompt_tokens=32, completion_tokens=2)
        assert outcome.cost_nano_usd == 32 * PRICE.input_nano_usd + 2 * PRICE.output_nano_usd
        actions = [record.action for record in await made.store.audit(PRINCIPAL.tenant, 10)]
        assert sorted(actions) == ["inference", "tool"]


async def test_the_last_call_may_use_no_tool(tmp_path: Path) -> None:
    more = calls("calculator", '{"expression": "1"}')
    engine = ScriptedProvider(more, more, says("Enough."))
    async with bench(tmp_path, engine) as made:
        items, last = await made.run(asked(tools=TOOLS))
        assert isinstance(last, Completed)
        assert text_of(items) == "Enough."
    choices = [work.input.tool_choice for work in engine.works if isinstance(work.input, ChatInput)]
    assert choices == [ToolChoice.AUTO, ToolChoice.AUTO, ToolChoice.NONE]


async def test_one_call_means_one_call(tmp_path: Path) -> None:
    engine = ScriptedProvider(calls("calculator", '{"expression": "1"}'))
    async with bench(tmp_path, engine) as made:
        _, last = await made.run(asked(tools=ToolGrant(allowed=("calculator",), max_steps=1)))
        assert isinstance(last, Completed)
    assert len(engine.works) == 1


async def test_a_route_that_calls_tools_when_it_must_not_gets_no_further_call(
    tmp_path: Path,
) -> None:
    """Upstreams can ignore `tool_choice: none`."""
    script = (
        started(),
        ToolCallDelta(0, 0, "call_0", "calculator", '{"expression": "1"}'),
        ChoiceFinished(0, FinishReason.TOOL_CALLS),
        Completed(Usage(prompt_tokens=16, completion_tokens=2)),
    )
    engine = ScriptedProvider(*[script] * 4)
    async with bench(tmp_path, engine) as made:
        await with_session(made)
        request = asked(tools=TOOLS, session=SessionUse(id=SESSION))
        items, last = await made.run(request)
        assert isinstance(last, Completed) and last.summary is not None
        assert len(engine.works) == TOOLS.max_steps
        assert len([item for item in items if isinstance(item, ToolRan)]) == TOOLS.max_steps - 1
        assert items[-1] == ChoiceFinished(0, FinishReason.STOP)
        [warning] = last.summary.warnings
        assert "last call" in warning
        kept = await made.store.conversation(PRINCIPAL.tenant, SESSION)
        assert kept is not None
        called = [call.id for message in kept.messages for call in message.tool_calls]
        answered = [m.tool_call_id for m in kept.messages if m.role is Role.TOOL]
        assert called == answered


class Watched(ScriptedProvider):
    """Says when its first answer is over; a tool is started in the same step."""

    def __init__(self, *scripts: Sequence[StreamItem]) -> None:
        super().__init__(*scripts)
        self.over = asyncio.Event()

    @asynccontextmanager
    async def generate(self, work: ModelWork) -> AsyncGenerator[AsyncIterator[StreamItem], None]:
        async with super().generate(work) as items:
            yield items
        self.over.set()


async def test_a_tool_that_a_leaving_caller_stops_is_on_record(tmp_path: Path) -> None:
    engine = Watched(calls("calculator", '{"expression": "1"}'))
    async with bench(tmp_path, engine) as made:
        request = asked(tools=TOOLS)
        running = asyncio.create_task(made.run(request))
        await engine.over.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        outcome = await made.outcome(request)
        assert outcome.status is OutcomeStatus.CANCELLED
        summary = await made.store.summary(request.request_id)
        assert summary is not None
        assert [tool.status for tool in summary.tools] == [ToolStatus.FAILED]
        actions = [record.action for record in await made.store.audit(PRINCIPAL.tenant, 10)]
        assert sorted(actions) == ["inference", "tool"]


async def test_calls_of_one_answer_are_bounded_and_all_have_results(tmp_path: Path) -> None:
    *_, one, finished, _ = calls("clock", "{}")
    many = [started(), *[one] * (MAX_CALLS + 2), finished, Completed(USAGE)]
    engine = ScriptedProvider(many, says("Done."), max_context=4_096)
    async with bench(tmp_path, engine) as made:
        request = asked(tools=ToolGrant(allowed=("clock",)))
        items, last = await made.run(request)
        assert last.summary is not None
        assert len([item for item in items if isinstance(item, ToolRan)]) == MAX_CALLS
        assert len(last.summary.tools) == MAX_CALLS
        [warning] = last.summary.warnings
        assert "the rest was not run" in warning


async def test_a_tool_that_was_not_granted_is_the_callers_to_run(tmp_path: Path) -> None:
    engine = ScriptedProvider(calls("calculator", '{"expression": "1"}'))
    async with bench(tmp_path, engine) as made:
        items, last = await made.run(asked())
        assert isinstance(last, Completed)
        assert not [item for item in items if isinstance(item, ToolRan)]


async def test_a_tool_that_does_not_exist_is_refused_before_any_work(tmp_path: Path) -> None:
    engine = ScriptedProvider()
    async with bench(tmp_path, engine) as made:
        _, last = await made.run(asked(tools=ToolGrant(allowed=("teleport",))))
        assert isinstance(last, Broken)
        assert last.failure.kind is FailureKind.INVALID_VALUE
        assert "calculator" in last.failure.message
    assert not engine.works


async def test_the_result_of_a_tool_is_screened_before_the_model_sees_it(tmp_path: Path) -> None:
    """The calculator says what it was asked, so a card number in the question comes back."""
    engine = ScriptedProvider(
        calls("calculator", '{"expression": "<CARD_1> + 0"}'), says("It is ", "<CARD_1>", ".")
    )
    async with bench(tmp_path, engine) as made:
        request = asked(input=chat("Add 0 to 4111111111111111."), tools=TOOLS)
        items, last = await made.run(request)
        assert isinstance(last, Completed)
        assert text_of(items) == "It is 4111111111111111."
        [ran] = [item for item in items if isinstance(item, ToolRan)]
        assert json.loads(ran.arguments) == {"expression": "4111111111111111 + 0"}
        assert "4111111111111111" in ran.answer.content
        for step in (1, 2):
            assert "4111111111111111" not in str(shown(engine, step))
        recording = await made.store.recording(request.request_id)
        assert recording is not None and len(recording.steps) == 2
        assert "4111" not in str(await made.store.events(request.request_id))


async def test_a_broken_contract_is_asked_for_again_and_only_the_good_answer_seen(
    tmp_path: Path,
) -> None:
    engine = ScriptedProvider(says("It is ", "5."), says('{"sum": ', "5}"))
    async with bench(tmp_path, engine) as made:
        items, last = await made.run(asked(output=SUM))
        assert isinstance(last, Completed)
        assert text_of(items) == '{"sum": 5}'
        assert last.summary is not None and last.summary.output_valid is True
    assert shown(engine, 2)[-2][1] == "It is 5."
    assert shown(engine, 2)[-1][0] is Role.USER


async def test_an_answer_that_stays_broken_is_never_seen_and_is_paid_for(tmp_path: Path) -> None:
    engine = ScriptedProvider(says("five"), says("still five"))
    async with bench(tmp_path, engine) as made:
        request = asked(output=SUM)
        items, last = await made.run(request)
        assert isinstance(last, Broken)
        assert text_of(items) == ""
        assert (last.failure.kind, last.failure.rule.status) == (FailureKind.OUTPUT_INVALID, 422)
        outcome = await made.outcome(request)
        assert outcome.usage == Usage(prompt_tokens=32, completion_tokens=2)
        assert outcome.cost_nano_usd > 0


async def test_a_required_citation_that_supports_nothing_is_not_passed_on(tmp_path: Path) -> None:
    context = ContextPolicy(
        documents=(Document(id="hours", text="The shop opens at nine."),), require_citations=True
    )
    engine = ScriptedProvider(
        says("The shop sells bread. [1]"), says("The shop opens at nine. [1]")
    )
    async with bench(tmp_path, engine) as made:
        request = asked(input=chat("When does it open?"), context=context)
        _, refused = await made.run(request)
        assert isinstance(refused, Broken)
        assert refused.failure.kind is FailureKind.OUTPUT_INVALID
        items, last = await made.run(asked(2, input=chat("When does it open?"), context=context))
        assert isinstance(last, Completed)
        assert text_of(items) == "The shop opens at nine. [1]"
        assert last.summary is not None
        [citation] = last.summary.citations
        assert (citation.document_id, citation.supported) == ("hours", True)
    role, text = shown(engine, 1)[0]
    assert role is Role.SYSTEM and text.endswith("[1] The shop opens at nine.")


async def test_steps_share_the_token_budget_of_their_request(tmp_path: Path) -> None:
    engine = ScriptedProvider(calls("calculator", '{"expression": "1"}'), says("1."))
    async with bench(tmp_path, engine) as made:
        request = asked(tools=TOOLS, budget=RunBudget(tokens=200), sampling=Sampling())
        _, last = await made.run(request)
        assert isinstance(last, Broken | Completed)
    first, second = (work.sampling.max_tokens for work in engine.works)
    assert first is not None and second is not None
    assert second < first - 16


async def test_calls_answered_before_a_later_one_is_refused_are_paid_for(tmp_path: Path) -> None:
    used = Usage(prompt_tokens=16, completion_tokens=250)
    *called, _ = calls("calculator", '{"expression": "1"}')
    async with bench(tmp_path, ScriptedProvider([*called, Completed(used)])) as made:
        request = asked(tools=TOOLS, budget=RunBudget(tokens=300), sampling=Sampling())
        _, last = await made.run(request)
        assert isinstance(last, Broken)
        assert last.failure.kind is FailureKind.INSUFFICIENT_QUOTA
        outcome = await made.outcome(request)
        assert outcome.cost_nano_usd == 16 * PRICE.input_nano_usd + 250 * PRICE.output_nano_usd


async def test_later_calls_are_paid_from_what_is_left_of_the_requests_money(tmp_path: Path) -> None:
    """The context has 512 tokens and could be paid once; then most of that is gone."""
    used = Usage(prompt_tokens=16, completion_tokens=400)
    *called, _ = calls("calculator", '{"expression": "1"}')
    engine = ScriptedProvider([*called, Completed(used)], says("1."))
    most = 512 * (PRICE.input_nano_usd + PRICE.output_nano_usd)
    async with bench(tmp_path, engine) as made:
        budget = RunBudget(cost_nano_usd=NanoUsd(most))
        request = asked(tools=TOOLS, budget=budget, sampling=Sampling())
        assert isinstance((await made.run(request))[1], Completed)
    second = engine.works[1]
    prompts = used.prompt_tokens + len(second.prompt_tokens)
    left = most - prompts * PRICE.input_nano_usd
    affordable = left // PRICE.output_nano_usd - used.completion_tokens
    assert second.sampling.max_tokens == affordable


async def test_what_must_not_be_recorded_is_not(tmp_path: Path) -> None:
    engine = ScriptedProvider(says("Hi."), says("Hi."))
    async with bench(tmp_path, engine) as made:
        kept, not_kept = asked(1), asked(2, trace=TraceSettings(record=False))
        for request in (kept, not_kept):
            await made.run(request)
        assert await made.store.recording(kept.request_id) is not None
        assert await made.store.recording(not_kept.request_id) is None
