"""Runs in sessions: what goes on, what is kept, and who may not."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from octant.core.envelope import (
    RequestEnvelope,
    SessionUse,
)
from octant.core.events import PolicyDecided
from octant.core.failure import FailureKind
from octant.core.ids import ActorId
from octant.core.outcome import OutcomeStatus
from octant.core.stream import (
    Broken,
    Completed,
)
from octant.orchestration.hangup import Hangup
from tests.support.envelopes import PRINCIPAL, chat
from tests.support.played_path import (
    MAX_TURNS,
    PRICE,
    SESSION,
    asked,
    bench,
    says,
    shown,
    text_of,
    with_session,
)
from tests.support.policies import governor
from tests.support.scripted_provider import ScriptedProvider


def in_session(number: int, text: str, **use: Any) -> RequestEnvelope:
    return asked(number, input=chat(text), session=SessionUse(id=SESSION, **use))


async def test_a_session_goes_on_where_it_was_with_its_placeholders(tmp_path: Path) -> None:
    engine = ScriptedProvider(says("Noted."), says("You said ", "<CARD_1>", "."))
    async with bench(tmp_path, engine) as made:
        await with_session(made)
        await made.run(in_session(1, "My card is 4111 1111 1111 1111."))
        items, last = await made.run(in_session(2, "Which card?"))
        assert text_of(items) == "You said 4111 1111 1111 1111."
        assert last.summary is not None and last.summary.session is not None
        assert last.summary.session.version == 2
        stored = await made.store.conversation(PRINCIPAL.tenant, SESSION)
        assert stored is not None
        assert [message.text for message in stored.messages] == [
            "My card is <CARD_1>.",
            "Noted.",
            "Which card?",
            "You said <CARD_1>.",
        ]
    assert [text for _, text in shown(engine, 2)] == [
        "My card is <CARD_1>.",
        "Noted.",
        "Which card?",
    ]


@pytest.mark.parametrize("expected", [1, 7])
async def test_another_version_than_expected_is_a_conflict_before_any_work(
    tmp_path: Path, expected: int
) -> None:
    engine = ScriptedProvider()
    async with bench(tmp_path, engine) as made:
        await with_session(made)
        _, last = await made.run(in_session(1, "Hi", expected_version=expected))
        assert isinstance(last, Broken)
        assert last.failure.kind is FailureKind.CONFLICT
    assert not engine.works


async def test_a_session_that_moved_on_meanwhile_makes_its_request_a_conflict(
    tmp_path: Path,
) -> None:
    engine = ScriptedProvider(says("First."), says("Second."))
    async with bench(tmp_path, engine) as made:
        await with_session(made)
        slow = made.path.run(in_session(1, "slow"), Hangup())
        first = [await anext(slow)]
        await made.run(in_session(2, "quick"))
        rest = [item async for item in slow]
        last = (first + rest)[-1]
        assert isinstance(last, Broken)
        assert last.failure.kind is FailureKind.CONFLICT
        stored = await made.store.conversation(PRINCIPAL.tenant, SESSION)
        assert stored is not None and stored.session.version == 1
        outcome = await made.store.outcome(asked(1).request_id)
        assert outcome is not None and outcome.status is OutcomeStatus.PARTIAL
        # It was answered, so it is owed; else whoever asks twice at once would pay for one.
        assert outcome.cost_nano_usd == 16 * PRICE.input_nano_usd + PRICE.output_nano_usd


async def test_a_session_that_is_only_read_stays_as_it_is(tmp_path: Path) -> None:
    async with bench(tmp_path, ScriptedProvider(says("Hi."))) as made:
        await with_session(made)
        _, last = await made.run(in_session(1, "Hi", store=False))
        assert isinstance(last, Completed)
        stored = await made.store.conversation(PRINCIPAL.tenant, SESSION)
        assert stored is not None and stored.session.version == 0


OWN_SESSIONS = """
@id("models") permit (principal, action == Action::"UseModel", resource);
@id("own-sessions") permit (principal, action == Action::"UseSession", resource)
when { resource.actor == principal.actor };"""


async def test_a_session_is_used_as_far_as_policy_permits_and_that_is_on_record(
    tmp_path: Path,
) -> None:
    engine = ScriptedProvider(says("Hi."))
    async with bench(tmp_path, engine, governor=governor(cedar=OWN_SESSIONS)) as made:
        await with_session(made)
        bob = replace(PRINCIPAL, actor=ActorId("bob"))
        own, foreign = in_session(1, "Hi"), replace(in_session(2, "Hi"), principal=bob)
        wrong = replace(in_session(3, "Hi", expected_version=9), principal=bob)
        _, last = await made.run(own)
        assert isinstance(last, Completed)
        for request in (foreign, wrong):
            _, last = await made.run(request)
            assert isinstance(last, Broken)
            assert last.failure.kind is FailureKind.PERMISSION_DENIED
            assert last.failure.detail["rule"] == "authorise.not_permitted"
        assert len(engine.works) == 1
        told = []
        for request in (own, foreign):
            summary = await made.store.summary(request.request_id)
            events = await made.store.events(request.request_id)
            assert summary is not None
            rules = [event.verdict.rule for event in events if isinstance(event, PolicyDecided)]
            assert rules == [decided.verdict.rule for decided in summary.decisions]
            told.append(rules[:2])
        assert told == [
            ["authorise.cedar.models", "authorise.cedar.own-sessions"],
            ["authorise.cedar.models", "authorise.not_permitted"],
        ]
        stored = await made.store.conversation(PRINCIPAL.tenant, SESSION)
        assert stored is not None and stored.session.version == 1


async def test_a_full_session_can_only_be_read(tmp_path: Path) -> None:
    engine = ScriptedProvider(*[says("Hi.")] * (MAX_TURNS + 1))
    async with bench(tmp_path, engine) as made:
        await with_session(made)
        for number in range(1, MAX_TURNS + 1):
            await made.run(in_session(number, "Hi"))
        _, full = await made.run(in_session(MAX_TURNS + 1, "Hi"))
        assert isinstance(full, Broken)
        assert full.failure.kind is FailureKind.INVALID_VALUE
        _, read = await made.run(in_session(MAX_TURNS + 2, "Hi", store=False))
        assert isinstance(read, Completed)


async def test_an_unknown_session_is_not_found(tmp_path: Path) -> None:
    async with bench(tmp_path, ScriptedProvider()) as made:
        _, last = await made.run(in_session(1, "Hi"))
        assert isinstance(last, Broken)
        assert last.failure.kind is FailureKind.NOT_FOUND
