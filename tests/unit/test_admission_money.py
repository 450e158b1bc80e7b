"""Admission: budgets of tenants and of single requests, reserved before work and settled after."""

import msgspec
import pytest

from octant.admission.control import AdmissionControl, Admitted, Estimate
from octant.admission.settings import AdmissionSettings
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.ids import TenantId
from octant.core.limits import Allowance, RunBudget
from octant.core.units import NanoUsd
from octant.core.usage import Usage
from tests.support.envelopes import PRINCIPAL, envelope

MONTH, NEXT_MONTH = "2026-11", "2026-12"
LIMITED = Allowance(budget_nano_usd=NanoUsd(1_000))


def control(spent: int = 0, **settings: int) -> AdmissionControl:
    made = AdmissionControl(AdmissionSettings(**settings))
    made.open_account(PRINCIPAL.tenant, MONTH, NanoUsd(spent))
    return made


def admit(admission: AdmissionControl, number: int, cost: int, month: str = MONTH) -> Admitted:
    asked = envelope(number, allowance=LIMITED)
    return admission.admit(asked, Estimate(1, 1, NanoUsd(cost)), month, 0)


def refused(admission: AdmissionControl, number: int, cost: int) -> Failure:
    with pytest.raises(Failed) as caught:
        admit(admission, number, cost)
    admission.check_integrity()
    return caught.value.failure


def test_a_budget_counts_what_was_spent_before_this_process() -> None:
    admission = control(spent=600)
    failure = refused(admission, 1, 401)
    assert failure.kind is FailureKind.INSUFFICIENT_QUOTA
    assert failure.detail == {
        "limit_nano_usd": 1_000,
        "spent_nano_usd": 600,
        "reserved_nano_usd": 0,
        "needed_nano_usd": 401,
    }
    admit(admission, 2, 400)


def test_running_requests_hold_their_highest_cost_and_return_the_rest() -> None:
    admission = control()
    first = admit(admission, 1, 700)
    assert refused(admission, 2, 301).detail["reserved_nano_usd"] == 700
    admission.settle(first, Usage(), NanoUsd(100), 0)
    admit(admission, 3, 900)
    assert refused(admission, 4, 1).kind is FailureKind.INSUFFICIENT_QUOTA


def test_a_request_is_charged_to_the_month_in_which_it_was_admitted() -> None:
    admission = control()
    first = admit(admission, 1, 1_000)
    admission.open_account(PRINCIPAL.tenant, NEXT_MONTH, NanoUsd(0))
    admission.settle(first, Usage(), NanoUsd(1_000), 0)
    assert refused(admission, 2, 1).kind is FailureKind.INSUFFICIENT_QUOTA
    admit(admission, 3, 1_000, NEXT_MONTH)


def test_an_open_account_is_not_overwritten_by_a_late_reading() -> None:
    admission = control(spent=0)
    admission.settle(admit(admission, 1, 900), Usage(), NanoUsd(900), 0)
    admission.open_account(PRINCIPAL.tenant, MONTH, NanoUsd(0))
    assert refused(admission, 2, 101).detail["spent_nano_usd"] == 900


def test_spending_must_be_known_before_more_is_allowed() -> None:
    admission = AdmissionControl(AdmissionSettings())
    assert not admission.has_account(PRINCIPAL.tenant, MONTH)
    with pytest.raises(Failed, match="not open"):
        admit(admission, 1, 0)


def test_without_a_budget_any_cost_is_admitted() -> None:
    admission = control(spent=10**15)
    asked = envelope(1)
    assert admission.admit(asked, Estimate(1, 1, NanoUsd(10**12)), MONTH, 0).request_id


def test_a_request_may_not_cost_more_than_its_own_budget() -> None:
    admission, budget = control(), RunBudget(cost_nano_usd=NanoUsd(50))
    asked = envelope(1, budget=budget)
    admission.admit(asked, Estimate(10, 10, NanoUsd(50)), MONTH, 0)
    with pytest.raises(Failed) as caught:
        admission.admit(envelope(2, budget=budget), Estimate(10, 10, NanoUsd(51)), MONTH, 0)
    assert caught.value.failure.kind is FailureKind.INSUFFICIENT_QUOTA
    assert caught.value.failure.param == "budget"


def test_a_guess_at_tokens_refuses_no_budget() -> None:
    asked = envelope(1, budget=RunBudget(tokens=20))
    assert control().admit(asked, Estimate(1_000, 0, NanoUsd(0)), MONTH, 0).request_id


def test_idle_accounts_make_room_and_held_ones_do_not() -> None:
    admission = control(max_accounts=2)
    held = admit(admission, 1, 0)
    for number in range(5):
        admission.open_account(TenantId(f"t{number}"), MONTH, NanoUsd(0))
        admission.check_integrity()
    assert admission.has_account(PRINCIPAL.tenant, MONTH)
    assert admission.has_account(TenantId("t4"), MONTH)
    assert not admission.has_account(TenantId("t3"), MONTH)
    admission.settle(held, Usage(), NanoUsd(0), 0)


def test_no_account_is_opened_when_all_are_held() -> None:
    admission = control(max_accounts=1)
    admit(admission, 1, 0)
    with pytest.raises(Failed) as caught:
        admission.open_account(TenantId("other"), MONTH, NanoUsd(0))
    assert caught.value.failure.kind is FailureKind.OVERLOADED


def test_many_held_accounts_do_not_hide_the_idle_ones() -> None:
    admission = AdmissionControl(AdmissionSettings(max_accounts=60))
    for number in range(50):
        tenant = TenantId(f"held{number}")
        admission.open_account(tenant, MONTH, NanoUsd(0))
        holder = msgspec.structs.replace(PRINCIPAL, tenant=tenant)
        admission.admit(envelope(number, principal=holder), Estimate(1, 1, NanoUsd(0)), MONTH, 0)
    refusals = 0
    for number in range(40):
        try:
            admission.open_account(TenantId(f"new{number}"), MONTH, NanoUsd(0))
        except Failed:
            refusals += 1
        admission.check_integrity()
    assert refusals <= 40 // 2
    assert all(admission.has_account(TenantId(f"held{n}"), MONTH) for n in range(50))
