"""What every implementation of the Store port promises of the audit chain."""

import asyncio

import pytest

from octant.core.audit import GENESIS, AuditRecord
from octant.core.audit_walk import FROM_THE_START, walk
from octant.core.failure import Failed, FailureKind
from octant.core.record import decode, encode
from octant.ports.store import Store
from tests.contract.conftest import OpenStore
from tests.support.settlements import ACME, UMBRELLA, audited, session, settlement, whole_settlement

PAGE = 5


async def length(store: Store) -> int:
    """The records of the chain, which has to be sound."""
    found = await walk(store.audit_chain, PAGE)
    assert found.broken is None
    assert found.records == found.head.seq
    return found.records


async def test_records_of_all_tenants_form_one_chain(store: Store) -> None:
    await store.settle(settlement(1))
    await store.append_audit([audited("keys.create"), audited("keys.revoke", tenant=UMBRELLA.id)])
    await store.settle(settlement(2, tenant=UMBRELLA.id))
    chain = await store.audit_chain(FROM_THE_START, 10)
    assert [link.seq for link in chain] == [1, 2, 3, 4]
    assert [link.record.action for link in chain] == [
        "inference",
        "keys.create",
        "keys.revoke",
        "inference",
    ]
    assert [link.previous for link in chain] == [GENESIS, *(link.digest for link in chain[:-1])]
    assert await length(store) == 4


async def test_the_chain_is_read_in_pages(store: Store) -> None:
    await store.append_audit([audited(f"change-{number}") for number in range(10)])
    whole = await store.audit_chain(FROM_THE_START, 100)
    assert await store.audit_chain(0, 100) == whole
    assert await store.audit_chain(3, 4) == whole[3:7]
    assert await store.audit_chain(10, 4) == []


async def test_appended_records_are_read_by_tenant(store: Store) -> None:
    record = audited("keys.create")
    await store.append_audit([record, audited("keys.create", tenant=UMBRELLA.id)])
    assert await store.audit(ACME.id, 10) == [record]


async def test_appending_nothing_is_no_record(store: Store) -> None:
    await store.append_audit([])
    assert await length(store) == 0


async def test_many_writers_make_one_chain(store: Store) -> None:
    await asyncio.gather(
        *(store.settle(settlement(number)) for number in range(100)),
        *(store.append_audit([audited(f"a-{n}"), audited(f"b-{n}")]) for n in range(100)),
    )
    assert await length(store) == 300


async def test_two_processes_make_one_chain(store: Store, make: OpenStore) -> None:
    other = make()
    await other.open()
    for number in range(5):
        await store.append_audit([audited(f"here-{number}")])
        await other.append_audit([audited(f"there-{number}"), audited(f"there-too-{number}")])
        await other.settle(settlement(number))
    await asyncio.gather(*(each.append_audit([audited("at once")]) for each in (store, other) * 20))
    assert await length(other) == 60
    await other.close()


async def test_settling_again_adds_no_record(store: Store) -> None:
    for _ in range(3):
        await store.settle(settlement(1))
    await asyncio.gather(*(store.settle(settlement(1)) for _ in range(10)))
    assert await length(store) == 1


async def test_what_was_refused_never_stood_in_the_chain(store: Store) -> None:
    await store.put_session(session(1))
    given = [
        settlement(1),
        whole_settlement(2, session=1, version=5),
        settlement(3),
        whole_settlement(4, session=2, version=0),
        settlement(5),
    ]
    results = await asyncio.gather(*map(store.settle, given), return_exceptions=True)
    assert [isinstance(result, Failed) for result in results] == [False, True, False, True, False]
    assert await length(store) == 3
    await store.append_audit([audited("after")])
    assert await length(store) == 4


async def test_the_chain_goes_on_after_a_restart(store: Store, make: OpenStore) -> None:
    await store.append_audit([audited("before")])
    await store.close()
    again = make()
    await again.open()
    await again.append_audit([audited("after")])
    assert await length(again) == 2
    await again.close()


async def test_fields_of_a_newer_version_are_part_of_what_is_chained(store: Store) -> None:
    newer = decode(encode(audited("keys.create"))[:-1] + b',"reason":"leak"}', AuditRecord)
    await store.append_audit([newer])
    assert await length(store) == 1
    (link,) = await store.audit_chain(FROM_THE_START, 1)
    assert b'"reason":"leak"' in link.encoded


async def test_a_record_that_cannot_be_stored_takes_no_place(store: Store) -> None:
    too_large = audited("too large", at_unix_ns=2**70)
    results = await asyncio.gather(
        store.append_audit([audited("one")]),
        store.append_audit([audited("two"), too_large]),
        store.append_audit([audited("three")]),
        return_exceptions=True,
    )
    assert [isinstance(result, Failed) for result in results] == [False, True, False]
    assert await length(store) == 2
    with pytest.raises(Failed, match="2 audit records") as caught:
        await store.append_audit([audited("two"), too_large])
    assert caught.value.failure.kind is FailureKind.RECORD_NOT_STORED
