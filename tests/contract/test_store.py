"""What every implementation of the Store port promises."""

import asyncio

import msgspec
import pytest

from octant.core.events import FirstToken, RequestSettled
from octant.core.failure import Failed, FailureKind
from octant.core.ids import TenantId
from octant.core.outcome import OutcomeStatus
from octant.core.record import decode, encode
from octant.core.units import NanoUsd
from octant.ports.store import RequestFilter, Store, Tenant, UsageLine
from tests.contract.conftest import OpenStore
from tests.support.settlements import (
    ACME,
    MONTH,
    UMBRELLA,
    api_key,
    audited,
    failed_outcome,
    manifest,
    outcome,
    recording,
    request_id,
    session,
    session_id,
    settlement,
    summary,
)


async def test_a_tenant_is_read_as_written_and_replaced_by_id(store: Store) -> None:
    assert await store.tenant(ACME.id) == ACME
    renamed = msgspec.structs.replace(ACME, name="Acme Ltd", budget_nano_usd=None)
    await store.put_tenant(renamed)
    assert await store.tenant(ACME.id) == renamed
    assert await store.tenants() == [renamed, UMBRELLA]
    assert await store.tenant(TenantId("nobody")) is None


async def test_what_a_newer_version_wrote_into_a_tenant_is_kept(store: Store) -> None:
    newer = decode(encode(ACME)[:-1] + b',"residency":"eu"}', Tenant)
    await store.put_tenant(newer)
    read = await store.tenant(ACME.id)
    assert read is not None
    assert read.unknown == {"residency": "eu"}


async def test_a_key_is_found_by_its_prefix(store: Store) -> None:
    key = api_key(models=("m",))
    await store.put_key(key)
    assert await store.key_by_prefix(key.prefix) == key
    assert await store.key_by_prefix("oct_none") is None
    revoked = msgspec.structs.replace(key, revoked_unix_ns=9)
    await store.put_key(revoked)
    assert await store.key_by_prefix(key.prefix) == revoked


async def test_keys_are_listed_by_tenant(store: Store) -> None:
    mine, theirs = api_key("k1"), api_key("k2", tenant=UMBRELLA.id)
    await store.put_key(mine)
    await store.put_key(theirs)
    assert await store.keys(ACME.id) == [mine]
    assert await store.keys() == [mine, theirs]


async def test_two_keys_never_share_a_prefix(store: Store) -> None:
    await store.put_key(api_key("k1"))
    with pytest.raises(Failed) as caught:
        await store.put_key(api_key("k2", prefix="oct_k1"))
    assert caught.value.failure.kind is FailureKind.CONFLICT
    assert [key.id for key in await store.keys()] == ["k1"]


async def test_a_key_needs_its_tenant(store: Store) -> None:
    with pytest.raises(Failed) as caught:
        await store.put_key(api_key(tenant=TenantId("nobody")))
    assert caught.value.failure.kind is FailureKind.NOT_FOUND
    assert "'nobody'" in caught.value.failure.message


async def test_a_settlement_is_read_back_whole(store: Store) -> None:
    given = settlement(1)
    await store.settle(given)
    assert await store.outcome(request_id(1)) == given.outcome
    assert await store.manifest(request_id(1)) == manifest(1)
    assert await store.audit(ACME.id, 10) == list(given.audit)
    assert await store.spent(ACME.id, MONTH) == 7


async def test_events_come_back_in_order_of_time(store: Store) -> None:
    await store.settle(settlement(1))
    events = await store.events(request_id(1))
    assert [type(event) for event in events] == [FirstToken, RequestSettled]
    assert events[1] == settlement(1).events[0]


async def test_summary_and_recording_are_kept_where_a_request_left_them(store: Store) -> None:
    given = msgspec.structs.replace(settlement(1), summary=summary(1), recording=recording(1))
    await store.settle(given)
    await store.settle(settlement(2))
    assert await store.summary(request_id(1)) == summary(1)
    assert await store.recording(request_id(1)) == recording(1)
    assert await store.summary(request_id(2)) is None
    assert await store.recording(request_id(2)) is None


async def test_what_was_never_settled_is_unknown(store: Store) -> None:
    assert await store.summary(request_id(1)) is None
    assert await store.recording(request_id(1)) is None
    assert await store.outcome(request_id(1)) is None
    assert await store.manifest(request_id(1)) is None
    assert await store.events(request_id(1)) == []
    assert await store.spent(ACME.id, MONTH) == 0


async def test_a_failed_request_without_a_manifest_settles_too(store: Store) -> None:
    given = msgspec.structs.replace(
        settlement(1), outcome=failed_outcome(1), manifest=None, audit=(), events=()
    )
    await store.settle(given)
    assert await store.outcome(request_id(1)) == failed_outcome(1)
    assert await store.manifest(request_id(1)) is None


async def test_settling_again_counts_once(store: Store) -> None:
    for _ in range(3):
        await store.settle(settlement(1))
    assert await store.spent(ACME.id, MONTH) == 7
    assert len(await store.audit(ACME.id, 10)) == 1


async def test_settling_again_at_the_same_time_counts_once(store: Store) -> None:
    await asyncio.gather(*(store.settle(settlement(1)) for _ in range(20)))
    assert await store.spent(ACME.id, MONTH) == 7
    assert len(await store.outcomes(RequestFilter())) == 1


async def test_a_settled_request_is_never_rewritten(store: Store) -> None:
    await store.settle(settlement(1))
    with pytest.raises(Failed) as caught:
        await store.settle(settlement(1, cost_nano_usd=NanoUsd(999)))
    assert caught.value.failure.kind is FailureKind.CONFLICT
    assert await store.outcome(request_id(1)) == outcome(1)
    assert await store.spent(ACME.id, MONTH) == 7


async def test_a_record_that_cannot_be_stored_fails_alone(store: Store) -> None:
    orphan = settlement(7, tenant=TenantId("nobody"))
    too_large = settlement(8, cost_nano_usd=NanoUsd(2**70))
    given = [*(settlement(number) for number in range(6)), orphan, too_large, settlement(9)]
    results = await asyncio.gather(*map(store.settle, given), return_exceptions=True)
    failed = [isinstance(result, Failed) for result in results]
    assert failed == [False] * 6 + [True, True, False]
    kinds = {result.failure.kind for result in results if isinstance(result, Failed)}
    assert kinds == {FailureKind.RECORD_NOT_STORED}
    assert await store.outcome(request_id(7)) is None
    assert await store.events(request_id(8)) == []
    assert await store.spent(ACME.id, MONTH) == 7 * 7


async def test_money_is_counted_by_tenant_and_month(store: Store) -> None:
    await asyncio.gather(
        store.settle(settlement(1)),
        store.settle(settlement(2, cost_nano_usd=NanoUsd(100))),
        store.settle(settlement(3, month="2026-12")),
        store.settle(settlement(4, tenant=UMBRELLA.id)),
    )
    assert await store.spent(ACME.id, MONTH) == 107
    assert await store.spent(ACME.id, "2026-12") == 7
    assert await store.spent(UMBRELLA.id, MONTH) == 7


async def test_usage_is_summed_by_tenant_and_model(store: Store) -> None:
    await store.settle(settlement(1))
    await store.settle(settlement(2, model="big", cost_nano_usd=NanoUsd(2**40)))
    await store.settle(settlement(3))
    await store.settle(settlement(4, month="2026-12"))
    await store.settle(settlement(5, tenant=UMBRELLA.id))

    def line(model: str, requests: int, cost: int, tenant: TenantId = ACME.id) -> UsageLine:
        return UsageLine(
            tenant=tenant,
            month=MONTH,
            model=model,
            requests=requests,
            prompt_tokens=10 * requests,
            cached_tokens=4 * requests,
            completion_tokens=5 * requests,
            cost_nano_usd=NanoUsd(cost),
        )

    mine = [line("big", 1, 2**40), line("m", 2, 14)]
    assert await store.usage(ACME.id, MONTH) == mine
    assert await store.usage(None, MONTH) == [*mine, line("m", 1, 7, UMBRELLA.id)]
    assert sum(each.cost_nano_usd for each in mine) == await store.spent(ACME.id, MONTH)
    assert await store.usage(ACME.id, "2027-01") == []


async def test_requests_are_listed_newest_first_and_filtered(store: Store) -> None:
    for number in range(3):
        await store.settle(settlement(number))
    await store.settle(settlement(3, tenant=UMBRELLA.id))
    failed = msgspec.structs.replace(settlement(4), outcome=failed_outcome(4))
    await store.settle(failed)
    everyone = await store.outcomes(RequestFilter())
    assert [each.request_id for each in everyone] == [request_id(n) for n in (4, 3, 2, 1, 0)]
    mine = await store.outcomes(RequestFilter(tenant=ACME.id, limit=2))
    assert [each.request_id for each in mine] == [request_id(4), request_id(2)]
    wrong = await store.outcomes(RequestFilter(status=OutcomeStatus.FAILED.value))
    assert [each.request_id for each in wrong] == [request_id(4)]


async def test_audit_is_newest_first_and_kept_apart_by_tenant(store: Store) -> None:
    for number in range(3):
        await store.settle(settlement(number))
    await store.settle(settlement(3, tenant=UMBRELLA.id))
    assert [record.request_id for record in await store.audit(ACME.id, 2)] == [
        request_id(2),
        request_id(1),
    ]
    assert len(await store.audit(None, 10)) == 4


async def test_another_store_on_the_same_state_sees_everything(
    store: Store, make: OpenStore
) -> None:
    await store.settle(settlement(1))
    await store.put_key(api_key())
    other = make()
    await other.open()
    assert await other.outcome(request_id(1)) == outcome(1)
    assert await other.key_by_prefix("oct_k1") == api_key()
    await other.settle(settlement(2))
    await other.close()
    assert await store.spent(ACME.id, MONTH) == 14


async def test_closing_writes_out_what_is_pending(make: OpenStore) -> None:
    first = make()
    await first.open()
    await first.put_tenant(ACME)
    pending = [asyncio.ensure_future(first.settle(settlement(n))) for n in range(50)]
    await asyncio.sleep(0)
    await first.close()
    await asyncio.gather(*pending)
    second = make()
    await second.open()
    assert await second.spent(ACME.id, MONTH) == 50 * 7
    await second.close()


async def test_a_caller_who_leaves_holds_nobody_up(store: Store) -> None:
    left = [asyncio.ensure_future(store.settle(settlement(n))) for n in range(20)]
    stayed = [asyncio.ensure_future(store.settle(settlement(n))) for n in range(20, 40)]
    await asyncio.sleep(0)
    for task in left:
        task.cancel()
    await asyncio.gather(*stayed)
    assert await store.spent(ACME.id, MONTH) in range(20 * 7, 40 * 7 + 1, 7)


async def test_a_closed_store_refuses_in_one_voice(make: OpenStore) -> None:
    closed = make()
    await closed.open()
    await closed.close()
    await closed.close()
    for attempt in (
        closed.settle(settlement(1)),
        closed.put_tenant(ACME),
        closed.tenant(ACME.id),
        closed.events(request_id(1)),
        closed.append_audit([audited("keys.create")]),
        closed.put_session(session(1)),
        closed.conversation(ACME.id, session_id(1)),
    ):
        with pytest.raises(Failed) as caught:
            await attempt
        assert caught.value.failure.kind is FailureKind.RECORD_NOT_STORED
