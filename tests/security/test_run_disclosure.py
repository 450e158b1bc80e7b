"""What policy takes out of an answer stays out of all that is kept of it, and is on record."""

from pathlib import Path

from octant.core.content import ChatInput, ToolDefinition
from octant.core.envelope import ContextPolicy, OutputContract, SessionUse, ToolGrant
from octant.core.evidence import Document
from octant.core.failure import FailureKind
from octant.core.sampling import Sampling
from octant.core.stream import Broken, ChoiceFinished, Completed, TextDelta, ToolCallDelta
from octant.core.usage import FinishReason, Usage
from octant.core.verdict import Decision
from octant.orchestration.hangup import Hangup
from tests.support.envelopes import PRINCIPAL, chat
from tests.support.played_path import (
    LOST,
    SESSION,
    Bench,
    asked,
    bench,
    calls,
    says,
    started,
    text_of,
    with_session,
)
from tests.support.policies import governor
from tests.support.scripted_provider import ScriptedProvider

SECRET = "sk-proj-abcdefghijklmnop1234567890ABCDEFGHIJ"
EMAIL = "jane@example.com"
CARD = "4111111111111111"
CALCULATOR = ToolGrant(allowed=("calculator",), max_steps=2)
CARD_NUMBER = OutputContract(
    json_schema={"properties": {"card": {"type": "integer"}}, "required": ["card"]}, max_repairs=0
)


async def actions(made: Bench) -> list[tuple[str, str, str]]:
    records = await made.store.audit(PRINCIPAL.tenant, 10)
    return sorted((record.action, record.decision, record.rule) for record in records)


async def test_an_answer_that_is_blocked_is_on_record_as_blocked(tmp_path: Path) -> None:
    engine = ScriptedProvider(says("The key is ", f"{SECRET} ", "now"))
    by = governor('[pii.output]\nsecret = "block"')
    async with bench(tmp_path, engine, governor=by) as made:
        items, last = await made.run(asked())
        assert isinstance(last, Broken)
        assert (last.failure.kind, text_of(items)) == (FailureKind.POLICY_BLOCKED, "The key is ")
        assert last.summary is not None
        verdict = last.summary.decisions[-1].verdict
        assert (verdict.decision, verdict.rule) == (Decision.BLOCK, "pii.output.secret")
        assert ("policy", "block", "pii.output.secret") in await actions(made)


async def test_what_was_taken_out_of_half_an_answer_is_on_record(tmp_path: Path) -> None:
    """A caller leaves, or an engine is lost: what was sent by then had been changed."""
    said = (started(), TextDelta(0, f"Mail {EMAIL} or call. ", (5,)))
    by = governor('[pii.output]\nemail = "redact"')
    async with bench(tmp_path, ScriptedProvider((*said, LOST), said), governor=by) as made:
        items, last = await made.run(asked(1))
        assert isinstance(last, Broken) and EMAIL not in text_of(items)
        left = made.path.run(asked(2), Hangup())
        assert [type(await anext(left)).__name__ for _ in range(2)] == ["Started", "TextDelta"]
        await left.aclose()
        assert (await actions(made)).count(("policy", "change", "pii.output")) == 2


async def test_a_session_keeps_nothing_that_was_not_sent(tmp_path: Path) -> None:
    more = calls("calculator", f'{{"expression": "{CARD} + 0"}}')
    engine = ScriptedProvider(more, says(f"Mail {EMAIL}", " now."))
    by = governor('[pii.output]\nemail = "redact"\ncard = "redact"')
    async with bench(tmp_path, engine, governor=by) as made:
        await with_session(made)
        items, last = await made.run(asked(tools=CALCULATOR, session=SessionUse(id=SESSION)))
        assert isinstance(last, Completed)
        assert text_of(items) == "Mail [redacted:email] now."
        kept = await made.store.conversation(PRINCIPAL.tenant, SESSION)
        assert kept is not None and kept.messages[-1].text == "Mail [redacted:email] now."
        assert not [value for value in (EMAIL, CARD) if value in str(kept)]


async def test_a_session_that_holds_what_telemetry_must_not_is_not_recorded(
    tmp_path: Path,
) -> None:
    engine = ScriptedProvider(says("Noted."), says("Fine."))
    by = governor('[pii.telemetry]\nemail = "redact"')
    async with bench(tmp_path, engine, governor=by) as made:
        await with_session(made)
        for number, text in ((1, f"I am {EMAIL}."), (2, "Who am I?")):
            request = asked(number, input=chat(text), session=SessionUse(id=SESSION))
            assert isinstance((await made.run(request))[1], Completed)
            assert await made.store.recording(request.request_id) is None


async def test_what_a_tool_was_given_and_said_keeps_a_run_from_being_recorded(
    tmp_path: Path,
) -> None:
    more = calls("calculator", f'{{"expression": "{CARD} + 0"}}')
    by = governor('[pii.telemetry]\ncard = "redact"')
    async with bench(tmp_path, ScriptedProvider(more, says("Done.")), governor=by) as made:
        request = asked(tools=CALCULATOR)
        assert isinstance((await made.run(request))[1], Completed)
        assert await made.store.recording(request.request_id) is None


async def test_an_answer_is_held_against_its_contract_as_it_is_sent(tmp_path: Path) -> None:
    """A number that policy takes out is no number any more, so the answer does not fit."""
    engine = ScriptedProvider(says('{"card": ', CARD, "}"))
    by = governor('[pii.output]\ncard = "redact"')
    async with bench(tmp_path, engine, governor=by) as made:
        items, last = await made.run(asked(output=CARD_NUMBER))
        assert isinstance(last, Broken)
        assert (last.failure.kind, text_of(items)) == (FailureKind.OUTPUT_INVALID, "")


async def test_values_come_back_into_json_as_json(tmp_path: Path) -> None:
    engine = ScriptedProvider(says('{"card": ', "<CARD_1>", "}"), says('{"card": "<CARD_1>"}'))
    contract = OutputContract(json_schema={"type": "object", "required": ["card"]}, max_repairs=0)
    async with bench(tmp_path, engine) as made:
        for number in (1, 2):
            request = asked(number, input=chat("My card is 4111-1111 1111 1111."), output=contract)
            items, last = await made.run(request)
            assert isinstance(last, Completed)
            assert text_of(items) == '{"card": "4111-1111 1111 1111"}'


async def test_a_source_supports_a_sentence_from_which_policy_takes_a_value(tmp_path: Path) -> None:
    context = ContextPolicy(
        documents=(Document(id="d", text=f"Jane answers under {EMAIL} at night."),),
        require_citations=True,
    )
    engine = ScriptedProvider(says(f"Jane answers under {EMAIL} at night. [1]"))
    by = governor('[pii.output]\nemail = "redact"')
    async with bench(tmp_path, engine, governor=by) as made:
        items, last = await made.run(asked(input=chat("Where?"), context=context))
        assert isinstance(last, Completed)
        assert text_of(items) == "Jane answers under [redacted:email] at night. [1]"


async def test_words_of_a_schema_are_screened_where_a_model_or_a_record_gets_them(
    tmp_path: Path,
) -> None:
    schema = {"properties": {"card": {"enum": [CARD]}}, "required": ["card", f"of {CARD}"]}
    contract = OutputContract(json_schema=schema, max_repairs=1)
    engine = ScriptedProvider(says('{"card": "5"}'), says('{"card": "5"}'))
    async with bench(tmp_path, engine) as made:
        request = asked(output=contract)
        _, last = await made.run(request)
        assert isinstance(last, Broken)
        assert last.failure.kind is FailureKind.OUTPUT_INVALID
        assert "<CARD_1>" in str(engine.works[1].input)
        kept = (await made.store.outcome(request.request_id), engine.works[1].input)
        assert CARD not in str(kept)


async def test_names_of_calls_are_guarded_too(tmp_path: Path) -> None:
    mine = ToolDefinition(name="mine", parameters={"type": "object"})
    given = ChatInput(messages=chat("Hi").messages, tools=(mine,))
    engine = ScriptedProvider(calls(f"send {SECRET} ", "{}"))
    async with bench(tmp_path, engine) as made:
        await with_session(made)
        items, last = await made.run(asked(input=given, session=SessionUse(id=SESSION)))
        assert isinstance(last, Completed)
        assert SECRET not in str(items)
        assert SECRET not in str(await made.store.conversation(PRINCIPAL.tenant, SESSION))


async def test_no_answer_passes_unchecked_beside_a_proposed_call(tmp_path: Path) -> None:
    """Neither another choice, nor what is said in the same one."""
    mine = ToolDefinition(name="mine", parameters={"type": "object"})
    given = ChatInput(messages=chat("Hi").messages, tools=(mine,))
    called = ToolCallDelta(0, 0, "c", "mine", "{}")
    ends = ChoiceFinished(0, FinishReason.TOOL_CALLS)
    usage = Completed(Usage(prompt_tokens=16, completion_tokens=2))
    other = (TextDelta(1, "No JSON.", (5,)), ChoiceFinished(1, FinishReason.STOP))
    two = (started(), called, ends, *other, usage)
    beside = (started(), TextDelta(0, "No JSON.", (5,)), called, ends, usage)
    async with bench(tmp_path, ScriptedProvider(two, beside)) as made:
        sampling = Sampling(max_tokens=16, n=2)
        items, last = await made.run(asked(1, input=given, output=CARD_NUMBER, sampling=sampling))
        assert isinstance(last, Broken)
        assert (last.failure.kind, text_of(items)) == (FailureKind.OUTPUT_INVALID, "")
        items, last = await made.run(asked(2, input=given, output=CARD_NUMBER))
        assert isinstance(last, Completed)
        assert items[1:] == [called, ends]
        assert last.summary is not None and last.summary.output_valid is None
