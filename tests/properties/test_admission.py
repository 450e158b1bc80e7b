"""Admission against a plain model of itself, under any interleaving of requests and time.

The model keeps levels as fractions and looks at one limit after the other; it shares no arithmetic
with the code. After every step: conservation, nothing above a limit, nothing leaked.
"""

import copy
from fractions import Fraction
from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)

from octant.admission.control import AdmissionControl, Admitted, Estimate
from octant.admission.settings import AdmissionSettings
from octant.core.failure import Failed, FailureKind
from octant.core.identity import Principal
from octant.core.ids import ActorId, KeyId, TenantId
from octant.core.limits import Allowance, Profile, QueueLimit, TenantLimits
from octant.core.units import NS_PER_S, NanoUsd
from octant.core.usage import Usage
from tests.support.envelopes import envelope

MINUTE_NS = 60 * NS_PER_S
MONTH = "2026-11"
BUDGET = 1_000
ROOM = {profile: room for profile, room in zip(Profile, (3, 2, 5, 1), strict=True)}
KEY_LIMITS = {
    "k1": TenantLimits(requests_per_minute=5, tokens_per_minute=100, max_concurrent=3),
    "k2": TenantLimits(tokens_per_minute=37),
    "k3": TenantLimits(requests_per_minute=2),
}
TENANT_LIMITS = {
    "acme": TenantLimits(requests_per_minute=7, tokens_per_minute=120, max_concurrent=4),
    "umbrella": TenantLimits(max_concurrent=2),
}
TENANT_OF = {"k1": "acme", "k2": "acme", "k3": "umbrella"}


class Level:
    """What is left of a rate, by the textbook."""

    def __init__(self, limit: int) -> None:
        self.limit, self.left, self.at_ns = limit, Fraction(limit), 0

    def at(self, now_ns: int) -> Fraction:
        refill = Fraction(self.limit * (now_ns - self.at_ns), MINUTE_NS)
        return min(Fraction(self.limit), self.left + refill)

    def change(self, amount: int, now_ns: int) -> None:
        self.left, self.at_ns = min(Fraction(self.limit), self.at(now_ns) + amount), now_ns


class Running(NamedTuple):
    admitted: Admitted
    key: str
    tokens: int
    cost: int


def levels(kind: str) -> dict[str, Level]:
    named = KEY_LIMITS | TENANT_LIMITS
    found = {name: getattr(limits, kind) for name, limits in named.items()}
    return {name: Level(limit) for name, limit in found.items() if limit is not None}


class AdmissionMachine(RuleBasedStateMachine):
    running = Bundle("running")

    def __init__(self) -> None:
        super().__init__()
        queues = {profile: QueueLimit(max_inside=room) for profile, room in ROOM.items()}
        self.control = AdmissionControl(AdmissionSettings(queues=queues))
        self.now_ns = 0
        self.number = 0
        self.live: dict[str, Running] = {}
        self.spent = dict.fromkeys(TENANT_LIMITS, 0)
        self.requests = levels("requests_per_minute")
        self.tokens = levels("tokens_per_minute")
        for tenant in TENANT_LIMITS:
            self.control.open_account(TenantId(tenant), MONTH, NanoUsd(0))

    @rule(elapsed_ns=st.integers(0, MINUTE_NS) | st.sampled_from([1, 12 * NS_PER_S]))
    def time_passes(self, elapsed_ns: int) -> None:
        self.now_ns += elapsed_ns

    @rule(
        target=running,
        key=st.sampled_from(sorted(KEY_LIMITS)),
        profile=st.sampled_from(list(Profile)),
        prompt=st.integers(0, 60),
        output=st.integers(0, 70),
        cost=st.integers(0, 500),
    )
    def ask(self, key: str, profile: Profile, prompt: int, output: int, cost: int):
        self.number += 1
        asked = envelope(
            self.number,
            principal=Principal(
                actor=ActorId("a"), tenant=TenantId(TENANT_OF[key]), key_id=KeyId(key)
            ),
            profile=profile,
            allowance=Allowance(
                key=KEY_LIMITS[key],
                tenant=TENANT_LIMITS[TENANT_OF[key]],
                budget_nano_usd=NanoUsd(BUDGET),
            ),
        )
        estimate = Estimate(prompt, output, NanoUsd(cost))
        expected = self.expected(key, profile, prompt + output, cost)
        before = self.control.rate_limits(asked, self.now_ns)
        try:
            admitted = self.control.admit(asked, estimate, MONTH, self.now_ns)
        except Failed as error:
            assert error.failure.kind is expected
            assert self.control.rate_limits(asked, self.now_ns) == before
            if expected is FailureKind.RATE_LIMIT_EXCEEDED:
                self.check_retry(asked, estimate, error.failure.retry_after_ns)
            return multiple()
        assert expected is None
        request = Running(admitted, key, prompt + output, cost)
        self.live[admitted.request_id] = request
        for name in (key, TENANT_OF[key]):
            self.change(self.requests, name, -1)
            self.change(self.tokens, name, -(prompt + output))
        return request

    @rule(request=consumes(running), used=st.integers(0, 150), share=st.fractions(0, 1))
    def end(self, request: Running, used: int, share: Fraction) -> None:
        cost = int(request.cost * share)
        usage = Usage(prompt_tokens=used // 2, completion_tokens=used - used // 2)
        self.control.settle(request.admitted, usage, NanoUsd(cost), self.now_ns)
        self.control.settle(request.admitted, usage, NanoUsd(cost), self.now_ns)
        del self.live[request.admitted.request_id]
        self.spent[TENANT_OF[request.key]] += cost
        for name in (request.key, TENANT_OF[request.key]):
            self.change(self.tokens, name, request.tokens - used)

    @invariant()
    def reserved_spent_and_free_are_the_limit(self) -> None:
        self.control.check_integrity()
        for tenant in TENANT_LIMITS:
            assert self.free(tenant) >= 0

    @invariant()
    def nothing_is_above_its_limit(self) -> None:
        for name, limits in (KEY_LIMITS | TENANT_LIMITS).items():
            if limits.max_concurrent is not None:
                assert len(self.inside(name)) <= limits.max_concurrent
        for profile, room in ROOM.items():
            inside = [r for r in self.live.values() if r.admitted.profile is profile]
            assert len(inside) <= room

    def teardown(self) -> None:
        for request in list(self.live.values()):
            self.control.settle(request.admitted, Usage(), NanoUsd(0), self.now_ns)
        self.live.clear()
        self.control.check_integrity()

    def expected(self, key: str, profile: Profile, tokens: int, cost: int) -> FailureKind | None:
        """The refusal that the model would give, by the order of the checks."""
        tenant = TENANT_OF[key]
        if cost > self.free(tenant):
            return FailureKind.INSUFFICIENT_QUOTA
        for name, limits in ((key, KEY_LIMITS[key]), (tenant, TENANT_LIMITS[tenant])):
            cap = limits.max_concurrent
            if cap is not None and len(self.inside(name)) >= cap:
                return FailureKind.CONCURRENCY_EXCEEDED
        if any(tokens > self.tokens[name].limit for name in (key, tenant) if name in self.tokens):
            return FailureKind.REQUEST_TOO_LARGE
        if any(self.short(name, tokens) for name in (key, tenant)):
            return FailureKind.RATE_LIMIT_EXCEEDED
        if sum(r.admitted.profile is profile for r in self.live.values()) >= ROOM[profile]:
            return FailureKind.OVERLOADED
        return None

    def check_retry(self, asked, estimate: Estimate, retry_ns: int | None) -> None:
        """Exactly then, and not a nanosecond earlier, the rates let the request in."""
        assert retry_ns is not None
        assert retry_ns > 0
        early, due = copy.deepcopy(self.control), copy.deepcopy(self.control)
        try:
            early.admit(asked, estimate, MONTH, self.now_ns + retry_ns - 1)
        except Failed as error:
            assert error.failure.kind is FailureKind.RATE_LIMIT_EXCEEDED
            assert error.failure.retry_after_ns == 1
        else:
            raise AssertionError("the wait was longer than needed")
        try:
            due.admit(asked, estimate, MONTH, self.now_ns + retry_ns)
        except Failed as error:
            assert error.failure.kind is FailureKind.OVERLOADED

    def inside(self, name: str) -> list[Running]:
        return [r for r in self.live.values() if name in (r.key, TENANT_OF[r.key])]

    def free(self, tenant: str) -> int:
        reserved = sum(request.cost for request in self.inside(tenant))
        return BUDGET - self.spent[tenant] - reserved

    def short(self, name: str, tokens: int) -> bool:
        wanted = ((self.requests, 1), (self.tokens, tokens))
        return any(name in kind and kind[name].at(self.now_ns) < most for kind, most in wanted)

    def change(self, kind: dict[str, Level], name: str, amount: int) -> None:
        if name in kind:
            kind[name].change(amount, self.now_ns)


AdmissionMachine.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None
)
TestAdmission = AdmissionMachine.TestCase
