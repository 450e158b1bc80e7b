"""Admission: rates, concurrency and queue bounds, with the exact instant to come back."""

import pytest

from octant.admission.bucket import RateBucket
from octant.admission.control import AdmissionControl, Admitted, Estimate
from octant.admission.cost_model import Observation
from octant.admission.settings import AdmissionSettings
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.identity import Principal
from octant.core.ids import KeyId
from octant.core.limits import Allowance, Profile, QueueLimit, TenantLimits
from octant.core.units import NS_PER_S, NanoUsd
from octant.core.usage import Usage
from tests.support.envelopes import PRINCIPAL, envelope

MONTH = "2026-11"
MINUTE_NS = 60 * NS_PER_S
ROOMY = AdmissionSettings()


def control(settings: AdmissionSettings = ROOMY) -> AdmissionControl:
    made = AdmissionControl(settings)
    made.open_account(PRINCIPAL.tenant, MONTH, NanoUsd(0))
    return made


def allowance(key: TenantLimits | None = None, tenant: TenantLimits | None = None) -> Allowance:
    return Allowance(key=key or TenantLimits(), tenant=tenant or TenantLimits())


def admit(
    admission: AdmissionControl,
    number: int,
    allowed: Allowance,
    *,
    tokens: int = 10,
    now_ns: int = 0,
    profile: Profile = Profile.INTERACTIVE,
) -> Admitted:
    asked = envelope(number, allowance=allowed, profile=profile)
    return admission.admit(asked, Estimate(tokens, 0, NanoUsd(0)), MONTH, now_ns)


def refused(admission: AdmissionControl, number: int, allowed: Allowance, **how: int) -> Failure:
    with pytest.raises(Failed) as caught:
        admit(admission, number, allowed, **how)
    admission.check_integrity()
    return caught.value.failure


def test_requests_per_minute_come_back_one_by_one() -> None:
    admission, allowed = control(), allowance(TenantLimits(requests_per_minute=6))
    for number in range(6):
        admit(admission, number, allowed)
    failure = refused(admission, 6, allowed)
    assert failure.kind is FailureKind.RATE_LIMIT_EXCEEDED
    assert failure.retry_after_ns == 10 * NS_PER_S
    assert failure.detail == {"scope": "key"}
    just_before = refused(admission, 7, allowed, now_ns=10 * NS_PER_S - 1)
    assert just_before.retry_after_ns == 1
    admit(admission, 8, allowed, now_ns=10 * NS_PER_S)


def test_tokens_are_reserved_at_once_and_returned_when_unused() -> None:
    admission, allowed = control(), allowance(TenantLimits(tokens_per_minute=100))
    first = admit(admission, 1, allowed, tokens=80)
    assert refused(admission, 2, allowed, tokens=40).retry_after_ns == 12 * NS_PER_S
    admission.settle(first, Usage(prompt_tokens=20, completion_tokens=10), NanoUsd(0), 0)
    admit(admission, 3, allowed, tokens=70)
    assert refused(admission, 4, allowed, tokens=1).kind is FailureKind.RATE_LIMIT_EXCEEDED


def test_more_used_than_reserved_is_owed_before_anything_is_granted() -> None:
    admission, allowed = control(), allowance(TenantLimits(tokens_per_minute=60))
    first = admit(admission, 1, allowed, tokens=60)
    admission.settle(first, Usage(prompt_tokens=60, completion_tokens=30), NanoUsd(0), 0)
    admission.check_integrity()
    assert refused(admission, 2, allowed, tokens=1).retry_after_ns == 31 * NS_PER_S


def test_key_and_tenant_are_limited_at_once_and_the_slowest_names_the_wait() -> None:
    admission = control()
    allowed = allowance(TenantLimits(requests_per_minute=1), TenantLimits(tokens_per_minute=20))
    admit(admission, 1, allowed, tokens=20)
    failure = refused(admission, 2, allowed, tokens=10)
    assert failure.retry_after_ns == MINUTE_NS
    assert failure.detail == {"scope": "key"}


def test_a_refusal_by_one_scope_takes_nothing_from_the_other() -> None:
    admission = control()
    tight = allowance(TenantLimits(tokens_per_minute=10), TenantLimits(tokens_per_minute=100))
    admit(admission, 1, tight, tokens=10)
    for number in range(2, 12):
        refused(admission, number, tight, tokens=10)
    left = admission.rate_limits(envelope(allowance=allowance(tenant=tight.tenant)), 0).tokens
    assert left is not None
    assert left.remaining == 90


def test_a_request_larger_than_a_minute_is_never_told_to_wait() -> None:
    failure = refused(control(), 1, allowance(TenantLimits(tokens_per_minute=9)), tokens=10)
    assert failure.kind is FailureKind.REQUEST_TOO_LARGE
    assert failure.retry_after_ns is None
    assert "10 tokens" in failure.message
    assert failure.param == "max_tokens"


def test_a_limit_of_zero_closes_the_key() -> None:
    failure = refused(control(), 1, allowance(TenantLimits(requests_per_minute=0)))
    assert failure.kind is FailureKind.INSUFFICIENT_QUOTA


@pytest.mark.parametrize("scope", ["key", "tenant"])
def test_concurrency_is_released_by_settling(scope: str) -> None:
    admission, allowed = control(), allowance(**{scope: TenantLimits(max_concurrent=2)})
    first = admit(admission, 1, allowed)
    admit(admission, 2, allowed)
    failure = refused(admission, 3, allowed)
    assert failure.kind is FailureKind.CONCURRENCY_EXCEEDED
    assert failure.detail["scope"] == scope
    assert failure.retry_after_ns == ROOMY.retry_floor_ns
    admission.settle(first, Usage(), NanoUsd(0), 0)
    admit(admission, 4, allowed)


def test_settling_twice_releases_once() -> None:
    admission, allowed = control(), allowance(TenantLimits(max_concurrent=1))
    first = admit(admission, 1, allowed)
    admission.settle(first, Usage(), NanoUsd(0), 0)
    admission.settle(first, Usage(), NanoUsd(0), 0)
    admit(admission, 2, allowed)
    assert refused(admission, 3, allowed).kind is FailureKind.CONCURRENCY_EXCEEDED


def test_a_full_profile_is_overloaded_and_leaves_the_others_alone() -> None:
    queues = dict.fromkeys(Profile, QueueLimit(max_inside=2))
    admission, allowed = control(AdmissionSettings(queues=queues)), allowance()
    admit(admission, 1, allowed)
    admit(admission, 2, allowed)
    failure = refused(admission, 3, allowed)
    assert failure.kind is FailureKind.OVERLOADED
    assert failure.detail == {"profile": "interactive", "room": 2}
    admit(admission, 4, allowed, profile=Profile.CRITICAL)


def test_an_overloaded_profile_says_when_the_next_request_should_end() -> None:
    queues = dict.fromkeys(Profile, QueueLimit(max_inside=2))
    admission = control(AdmissionSettings(queues=queues, min_observations=1))
    admission.observe(Observation(Profile.INTERACTIVE, 0, 10, NS_PER_S, 10, 7 * NS_PER_S))
    for number in range(2):
        admit(admission, number, allowance())
    assert refused(admission, 3, allowance()).retry_after_ns == 4 * NS_PER_S


def test_lowered_limits_hold_from_the_next_request_on() -> None:
    admission = control()
    admit(admission, 1, allowance(TenantLimits(tokens_per_minute=1_000)), tokens=10)
    lowered = allowance(TenantLimits(tokens_per_minute=60))
    admit(admission, 2, lowered, tokens=60)
    assert refused(admission, 3, lowered, tokens=1).retry_after_ns == NS_PER_S


def test_tokens_taken_under_lifted_limits_are_not_returned_to_new_ones() -> None:
    admission = control()
    unlimited = admit(admission, 1, allowance(), tokens=1_000)
    limited = allowance(TenantLimits(tokens_per_minute=60))
    admit(admission, 2, limited, tokens=60)
    admission.settle(unlimited, Usage(), NanoUsd(0), 0)
    assert refused(admission, 3, limited, tokens=1).kind is FailureKind.RATE_LIMIT_EXCEEDED


def test_headers_show_the_tightest_scope_and_the_time_until_it_is_full() -> None:
    admission = control()
    allowed = allowance(TenantLimits(requests_per_minute=60), TenantLimits(requests_per_minute=10))
    fresh = admission.rate_limits(envelope(allowance=allowed), 0)
    assert fresh.requests == (10, 10, 0)
    assert fresh.tokens is None
    admit(admission, 1, allowed)
    assert admission.rate_limits(envelope(allowance=allowed), 0).requests == (10, 9, 6 * NS_PER_S)


def test_memory_is_bounded_by_forgetting_idle_scopes() -> None:
    admission = control(AdmissionSettings(max_scopes=4))
    for number in range(50):
        principal = Principal(
            actor=PRINCIPAL.actor, tenant=PRINCIPAL.tenant, key_id=KeyId(f"key_{number}")
        )
        asked = envelope(
            number,
            principal=principal,
            allowance=allowance(TenantLimits(requests_per_minute=1)),
        )
        now_ns = number * MINUTE_NS
        held = admission.admit(asked, Estimate(1, 0, NanoUsd(0)), MONTH, now_ns)
        admission.settle(held, Usage(), NanoUsd(0), now_ns)
        admission.check_integrity()


def test_scopes_in_use_are_not_forgotten_for_newcomers() -> None:
    admission = control(AdmissionSettings(max_scopes=2))
    admit(admission, 1, allowance())
    stranger = Principal(actor=PRINCIPAL.actor, tenant=PRINCIPAL.tenant, key_id=KeyId("key_other"))
    with pytest.raises(Failed) as caught:
        admission.admit(envelope(2, principal=stranger), Estimate(1, 0, NanoUsd(0)), MONTH, 0)
    assert caught.value.failure.kind is FailureKind.OVERLOADED
    admission.check_integrity()


def test_the_same_request_is_not_admitted_twice() -> None:
    admission = control()
    admit(admission, 1, allowance())
    assert refused(admission, 1, allowance()).kind is FailureKind.INTERNAL_ERROR


def test_a_bucket_that_is_asked_often_gains_nothing() -> None:
    asked, quiet = RateBucket(7, 0), RateBucket(7, 0)
    for bucket in (asked, quiet):
        bucket.take(7, 0)
    for instant in range(0, NS_PER_S, NS_PER_S // 997):
        asked.give_back(0, instant)
    assert asked.wait_ns(7, NS_PER_S) == quiet.wait_ns(7, NS_PER_S) == 59 * NS_PER_S
