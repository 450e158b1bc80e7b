"""The request path: real admission, policy, assembly, routing and store; engines are played."""

from pathlib import Path

import msgspec
import pytest

from octant.core.content import TextPrompt, ToolDefinition
from octant.core.failure import Failure, FailureKind
from octant.core.outcome import OutcomeStatus
from octant.core.route import DeploymentState
from octant.core.sampling import Sampling
from octant.core.stage import Stage
from octant.core.stream import (
    Broken,
    Completed,
    Started,
    TextDelta,
    ToolCallDelta,
)
from octant.core.units import NanoUsd
from octant.core.usage import Usage
from octant.orchestration.hangup import Hangup
from octant.orchestration.settlement import month_of
from tests.support.envelopes import PRINCIPAL, chat, envelope
from tests.support.played_path import ANSWER, LOST, USAGE, asked, bench, started
from tests.support.scripted_provider import ScriptedProvider


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


@pytest.mark.parametrize(
    ("holds", "kind"),
    [
        (128, FailureKind.CONTEXT_LENGTH_EXCEEDED),
        (512, FailureKind.ENGINE_UNAVAILABLE),
    ],
)
async def test_a_loading_route_is_waited_for_only_where_the_prompt_would_fit(
    tmp_path: Path, holds: int, kind: FailureKind
) -> None:
    ready, loading = ScriptedProvider(max_context=128), ScriptedProvider(max_context=holds)
    loading.state = DeploymentState.LOADING
    async with bench(tmp_path, ready, loading) as made:
        *_, last = await made.ask(asked(input=chat("word " * 200)))
        assert isinstance(last, Broken)
        assert last.failure.kind is kind
    assert not ready.works


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
