"""What every implementation of the Store port promises of sessions."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.ids import TenantId
from octant.core.session import Conversation
from octant.core.stage import Stage
from octant.ports.store import Settlement, Store
from tests.contract.conftest import OpenStore
from tests.support.settlements import (
    ACME,
    MONTH,
    UMBRELLA,
    append,
    failed_outcome,
    recording,
    request_id,
    session,
    session_id,
    settlement,
    whole_settlement,
)


async def read(store: Store, number: int) -> Conversation:
    found = await store.conversation(ACME.id, session_id(number))
    assert found is not None
    return found


async def talk(store: Store, number: int, turns: int, *, first: int = 0) -> None:
    """A new session with so many turns, of the requests from `first` on."""
    await store.put_session(session(number))
    for version in range(turns):
        await store.settle(whole_settlement(first + version, session=number, version=version))


async def refusal(settling: Settlement, store: Store) -> Failure:
    with pytest.raises(Failed) as caught:
        await store.settle(settling)
    assert caught.value.failure.stage is Stage.SESSION
    return caught.value.failure


async def test_a_session_is_read_as_written(store: Store) -> None:
    await store.put_session(session(1))
    assert await read(store, 1) == Conversation(session=session(1))
    assert await store.conversation(ACME.id, session_id(2)) is None


async def test_what_a_newer_version_wrote_into_a_session_survives_a_turn(store: Store) -> None:
    newer = session(1, title="Plän", unknown={"colour": {"hue": 2**60}})
    await store.put_session(newer)
    await store.settle(whole_settlement(1, session=1, version=0))
    kept = (await read(store, 1)).session
    assert kept.unknown == newer.unknown
    assert (kept.title, kept.version, kept.updated_unix_ns) == ("Plän", 1, 1_001)


async def test_turns_come_back_in_order_with_their_placeholders(store: Store) -> None:
    await talk(store, 1, turns=12)
    found = await read(store, 1)
    given = [append(version, session=1, version=version) for version in range(12)]
    assert list(found.turns) == [each.turn for each in given]
    assert found.placeholders == {k: v for each in given for k, v in each.placeholders.items()}
    assert (found.session.version, found.session.updated_unix_ns) == (12, 1_011)


async def test_a_placeholder_keeps_the_value_it_has_in_older_turns(store: Store) -> None:
    await talk(store, 1, turns=1)
    again = append(5, session=1, version=1, placeholders={"<EMAIL_1>": "other", "<IP_1>": "::1"})
    await store.settle(msgspec.structs.replace(settlement(5), session=again))
    placeholders = (await read(store, 1)).placeholders
    assert placeholders == {"<EMAIL_1>": "person0@example.org", "<IP_1>": "::1"}


async def test_a_session_that_moved_on_refuses_the_whole_settlement(store: Store) -> None:
    await talk(store, 1, turns=2)
    failure = await refusal(whole_settlement(9, session=1, version=1), store)
    assert failure.kind is FailureKind.CONFLICT
    assert "stands at version 2" in failure.message and "again" in failure.message
    assert failure.detail == {"version": 2, "expected_version": 1}
    assert await store.outcome(request_id(9)) is None
    assert await store.recording(request_id(9)) is None
    assert len(await store.audit(ACME.id, 10)) == 2
    assert await store.spent(ACME.id, MONTH) == 14


async def test_the_request_of_a_refused_turn_settles_without_it(store: Store) -> None:
    await talk(store, 1, turns=1)
    await refusal(whole_settlement(9, session=1, version=0), store)
    ended = msgspec.structs.replace(settlement(9), outcome=failed_outcome(9))
    await store.settle(ended)
    await store.settle(ended)
    assert await store.outcome(request_id(9)) == failed_outcome(9)
    assert (await read(store, 1)).session.version == 1


async def test_a_turn_for_a_session_that_is_gone_is_refused(store: Store) -> None:
    await talk(store, 1, turns=1)
    await store.delete_session(ACME.id, session_id(1))
    failure = await refusal(whole_settlement(9, session=1, version=1), store)
    assert failure.kind is FailureKind.NOT_FOUND
    assert "Begin a new session" in failure.message


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant": UMBRELLA.id},
        {"turn": append(8, session=1, version=0).turn},
        {"turn": append(9, session=1, version=1).turn},
    ],
    ids=["tenant", "request", "version"],
)
async def test_a_turn_that_is_not_of_its_request_is_refused(
    store: Store, changes: dict[str, object]
) -> None:
    await store.put_session(session(1))
    await store.put_session(session(1, tenant=UMBRELLA.id))
    wrong = msgspec.structs.replace(
        settlement(9), session=append(9, session=1, version=0, **changes)
    )
    assert (await refusal(wrong, store)).kind is FailureKind.INVALID_VALUE
    assert (await read(store, 1)).session.version == 0


async def test_settling_again_adds_no_second_turn(store: Store) -> None:
    await store.put_session(session(1))
    given = whole_settlement(1, session=1, version=0)
    await asyncio.gather(*(store.settle(given) for _ in range(5)))
    await store.settle(given)
    assert (await read(store, 1)).session.version == 1
    assert len(await store.audit(ACME.id, 10)) == 1


async def test_one_of_many_wins_each_version(store: Store) -> None:
    await store.put_session(session(1))
    callers, versions = 64, 4
    for version in range(versions):
        first = version * callers
        given = [
            whole_settlement(first + caller, session=1, version=version)
            for caller in range(callers)
        ]
        others = [settlement(10_000 + first + caller) for caller in range(4)]
        results = await asyncio.gather(*map(store.settle, given + others), return_exceptions=True)
        refused = [r.failure for r in results if isinstance(r, Failed)]
        assert results.count(None) == 1 + len(others)
        assert {failure.kind for failure in refused} == {FailureKind.CONFLICT}
        assert results[callers:] == [None] * len(others)
    found = await read(store, 1)
    assert [turn.version for turn in found.turns] == [1, 2, 3, 4]
    assert await store.spent(ACME.id, MONTH) == 7 * versions * 5


async def test_turns_of_one_batch_may_follow_one_another(store: Store) -> None:
    await store.put_session(session(1))
    given = [whole_settlement(version, session=1, version=version) for version in range(20)]
    await asyncio.gather(*map(store.settle, given))
    assert (await read(store, 1)).session.version == 20


async def test_a_conversation_is_read_as_it_stood_at_one_version(store: Store) -> None:
    await store.put_session(session(1))
    seen: list[Conversation] = []

    async def watch() -> None:
        while not seen or seen[-1].session.version < 50:
            seen.append(await read(store, 1))

    watching = asyncio.ensure_future(watch())
    for version in range(50):
        await store.settle(whole_settlement(version, session=1, version=version))
    await watching
    assert all(len(each.turns) == each.session.version for each in seen)
    assert all(len(each.placeholders) == each.session.version for each in seen)


async def test_an_id_is_taken_once_by_each_tenant(store: Store) -> None:
    await store.put_session(session(1))
    with pytest.raises(Failed) as caught:
        await store.put_session(session(1, title="Another"))
    assert caught.value.failure.kind is FailureKind.CONFLICT
    await store.put_session(session(1, tenant=UMBRELLA.id, title="Theirs"))
    assert (await read(store, 1)).session.title == "Plans"


async def test_a_session_begins_empty_and_with_its_tenant(store: Store) -> None:
    with pytest.raises(Failed) as caught:
        await store.put_session(session(1, version=3))
    assert caught.value.failure.kind is FailureKind.INVALID_VALUE
    with pytest.raises(Failed, match="'nobody'") as caught:
        await store.put_session(session(1, tenant=TenantId("nobody")))
    assert caught.value.failure.kind is FailureKind.NOT_FOUND


async def test_the_sessions_of_another_tenant_are_missing(store: Store) -> None:
    await talk(store, 1, turns=1)
    theirs = UMBRELLA.id
    assert await store.conversation(theirs, session_id(1)) is None
    assert await store.sessions(theirs, 10) == []
    assert await store.delete_session(theirs, session_id(1)) is False
    with pytest.raises(Failed) as caught:
        await store.branch_session(session(2, tenant=theirs, parent=session_id(1)))
    assert caught.value.failure.kind is FailureKind.NOT_FOUND
    given = settlement(9, tenant=theirs)
    reaching = append(9, session=1, version=1, tenant=theirs)
    failure = await refusal(msgspec.structs.replace(given, session=reaching), store)
    assert failure.kind is FailureKind.NOT_FOUND
    assert (await read(store, 1)).session.version == 1


async def test_sessions_are_listed_by_their_last_change(store: Store) -> None:
    for number in range(4):
        await store.put_session(session(number))
    await store.put_session(session(9, tenant=UMBRELLA.id))
    await store.settle(whole_settlement(1, session=1, version=0))
    listed = await store.sessions(ACME.id, 3)
    assert [each.id for each in listed] == [session_id(1), session_id(3), session_id(2)]
    assert listed[0].version == 1


async def test_a_branch_begins_with_the_turns_of_its_parent(store: Store) -> None:
    await talk(store, 1, turns=3)
    await store.branch_session(session(2, parent=session_id(1), parent_version=2))
    parent, branch = await read(store, 1), await read(store, 2)
    assert branch.turns == parent.turns[:2]
    assert set(branch.placeholders) == {"<EMAIL_1>", "<EMAIL_2>"}
    assert (branch.session.version, branch.session.parent) == (2, session_id(1))
    await store.settle(whole_settlement(9, session=2, version=2))
    assert (await read(store, 2)).session.version == 3
    assert await read(store, 1) == parent


async def test_a_branch_from_the_beginning_is_empty(store: Store) -> None:
    await talk(store, 1, turns=1)
    await store.branch_session(session(2, parent=session_id(1), parent_version=0))
    assert (await read(store, 2)).turns == ()


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"parent": session_id(7)}, FailureKind.NOT_FOUND),
        ({"parent": None}, FailureKind.NOT_FOUND),
        ({"parent_version": 2}, FailureKind.INVALID_VALUE),
        ({"parent_version": -1}, FailureKind.INVALID_VALUE),
        ({"id": session_id(1)}, FailureKind.CONFLICT),
    ],
)
async def test_a_branch_needs_a_parent_a_version_and_an_id(
    store: Store, changes: dict[str, object], kind: FailureKind
) -> None:
    await talk(store, 1, turns=1)
    asked: dict[str, object] = {"parent": session_id(1), "parent_version": 1}
    with pytest.raises(Failed) as caught:
        await store.branch_session(session(2, **(asked | changes)))
    assert caught.value.failure.kind is kind
    assert caught.value.failure.stage is Stage.SESSION
    assert await store.conversation(ACME.id, session_id(2)) is None


async def test_deleting_removes_turns_placeholders_and_recordings(store: Store) -> None:
    await talk(store, 1, turns=2)
    await talk(store, 2, turns=1, first=10)
    assert await store.delete_session(ACME.id, session_id(1)) is True
    assert await store.delete_session(ACME.id, session_id(1)) is False
    assert await store.conversation(ACME.id, session_id(1)) is None
    assert await store.recording(request_id(0)) is None
    assert await store.recording(request_id(1)) is None
    assert await store.recording(request_id(10)) == recording(10)
    assert await store.events(request_id(0)) != []
    assert await store.outcome(request_id(0)) is not None
    await store.put_session(session(1))
    assert await read(store, 1) == Conversation(session=session(1))


async def test_deleting_removes_recordings_of_requests_that_added_no_turn(store: Store) -> None:
    await store.put_session(session(1))
    for number, tenant in ((1, ACME.id), (2, UMBRELLA.id)):
        ended = settlement(number, tenant=tenant)
        assert ended.manifest is not None
        manifest = msgspec.structs.replace(ended.manifest, session=session_id(1))
        await store.settle(
            msgspec.structs.replace(ended, manifest=manifest, recording=recording(number))
        )
    await store.delete_session(ACME.id, session_id(1))
    assert await store.recording(request_id(1)) is None
    assert await store.recording(request_id(2)) == recording(2)


async def test_nothing_of_a_deleted_session_stays_on_the_disk(store: Store, tmp_path: Path) -> None:
    """Nor in the log that the file is written from, while the server goes on running."""

    def on_disk() -> bool:
        return any(b"4111 1111" in path.read_bytes() for path in tmp_path.iterdir())

    await store.put_session(session(1))
    turn = append(1, session=1, version=0, placeholders={"<CARD_1>": "4111 1111 1111 1111"})
    await store.settle(msgspec.structs.replace(settlement(1), session=turn))
    assert on_disk()
    assert await store.delete_session(ACME.id, session_id(1))
    await store.put_session(session(2))
    assert not on_disk()


async def test_a_branch_outlives_its_parent(store: Store) -> None:
    await talk(store, 1, turns=2)
    await store.branch_session(session(2, parent=session_id(1), parent_version=2))
    before = await read(store, 2)
    await store.delete_session(ACME.id, session_id(1))
    assert await read(store, 2) == before


async def test_sessions_outlive_the_process(store: Store, make: OpenStore) -> None:
    await talk(store, 1, turns=2)
    before = await read(store, 1)
    await store.close()
    again = make()
    await again.open()
    assert await read(again, 1) == before
    await again.close()
