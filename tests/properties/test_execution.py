"""Model calls over routes that fail in every way: one end, one beginning, every try counted."""

import asyncio
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from octant.adapters.system.entropy import SystemEntropy
from octant.core.events import AnyEvent, AttemptFailed, AttemptStarted
from octant.core.failure import Failed, Failure, FailureKind, Retry
from octant.core.stage import Stage
from octant.core.stream import (
    Broken,
    ChoiceFinished,
    Completed,
    Started,
    StreamItem,
    TextDelta,
)
from octant.core.usage import FinishReason, Usage
from octant.orchestration.account import RunAccount
from octant.orchestration.breakers import Breakers
from octant.orchestration.execution import Execution, ExecutionSettings
from octant.orchestration.routes import DeployedRoute, ServedModel
from octant.simulation.virtual_clock import VirtualClock
from tests.support.envelopes import envelope, route
from tests.support.scripted_provider import ScriptedProvider

STEPS = 3
KINDS = st.sampled_from(
    [
        FailureKind.ENGINE_LOST,
        FailureKind.UPSTREAM_FAILURE,
        FailureKind.UPSTREAM_BUSY,
        FailureKind.UPSTREAM_REFUSED,
        FailureKind.CONTEXT_LENGTH_EXCEEDED,
        FailureKind.DEADLINE_EXCEEDED,
    ]
)


class Script(NamedTuple):
    """How one attempt goes: whether it starts, how often it speaks, and how it ends."""

    starts: bool
    speaks: int
    ends: FailureKind | None

    def items(self, name: str) -> list[StreamItem]:
        said: list[StreamItem] = [Started(route(name).id, 1, 3)] if self.starts else []
        said += [TextDelta(0, name, ())] * self.speaks
        if self.ends is None:
            return [*said, ChoiceFinished(0, FinishReason.STOP), Completed(Usage())]
        failure = Failure(kind=self.ends, stage=Stage.DECODE, message="m")
        return [*said, Broken(failure, Usage())]


SCRIPTS = st.builds(Script, st.booleans(), st.integers(0, 2), st.none() | KINDS)


class Kept(list[AnyEvent]):
    def emit(self, event: AnyEvent) -> None:
        self.append(event)


@settings(deadline=None)
@given(
    st.lists(st.lists(SCRIPTS, min_size=STEPS, max_size=STEPS), min_size=1, max_size=4),
    st.integers(1, 4),
)
def test_every_call_ends_once_and_every_attempt_is_numbered(
    routes: list[list[Script]], max_attempts: int
) -> None:
    names = "abcd"[: len(routes)]
    providers = {
        name: ScriptedProvider(*(script.items(name) for script in scripts))
        for name, scripts in zip(names, routes, strict=True)
    }
    model = ServedModel(
        "m",
        0,
        tuple(DeployedRoute(route(name), provider, None) for name, provider in providers.items()),
    )
    events = Kept()
    breakers = Breakers(events)
    execution = Execution(
        events,
        VirtualClock(),
        SystemEntropy(),
        breakers,
        ExecutionSettings(max_attempts=max_attempts),
    )
    account = RunAccount(envelope(), "1")

    async def call(step: int) -> list[StreamItem]:
        return [item async for item in execution.run(account.envelope, model, account, step)]

    for step in range(1, STEPS + 1):
        before = account.attempts
        try:
            items = asyncio.run(call(step))
        except Failed as refused:
            assert refused.failure.kind is FailureKind.ENGINE_UNAVAILABLE
            assert account.attempts == before
            continue
        terminals = [item for item in items if isinstance(item, Completed | Broken)]
        assert terminals == items[-1:]
        tried = account.tried[before:]
        assert 1 <= len(tried) <= max_attempts
        assert len({attempt.route for attempt in tried}) == len(tried)
        assert {attempt.step for attempt in tried} == {step}
        texts = {item.text for item in items if isinstance(item, TextDelta)}
        assert texts <= {tried[-1].route}, "only the last attempt was heard"
        for lost in tried[:-1]:
            assert lost.failure is not None
            assert lost.failure.rule.retry is Retry.OTHER_ROUTE
        failure = items[-1].failure if isinstance(items[-1], Broken) else None
        assert tried[-1].failure == failure
    assert [attempt.attempt for attempt in account.tried] == [*range(1, account.attempts + 1)]
    begun = [event.attempt for event in events if isinstance(event, AttemptStarted)]
    assert begun == [*range(1, account.attempts + 1)]
    lost_ones = [attempt.attempt for attempt in account.tried if attempt.failure is not None]
    assert [event.attempt for event in events if isinstance(event, AttemptFailed)] == lost_ones
    assert [provider.open for provider in providers.values()] == [0] * len(routes)
    breakers.check_integrity()
