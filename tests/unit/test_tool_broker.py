"""Calls of Octant's tools: what runs, in which order, what is told to whom and never retried."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from octant.core.audit import AuditRecord
from octant.core.content import ToolCall, ToolDefinition
from octant.core.envelope import RequestEnvelope, ToolGrant
from octant.core.events import AnyEvent, PolicyDecided, ToolFinished, ToolStarted
from octant.core.failure import Failed, Failure, FailureClass, FailureKind
from octant.core.identity import Principal
from octant.core.stage import Stage
from octant.core.tools import SideEffect, ToolInvocation, ToolOutcome, ToolSpec, ToolStatus
from octant.core.units import NS_PER_S
from octant.core.verdict import Decision, Verdict
from octant.orchestration.tool_broker import MAX_ARGUMENTS_CHARS, ToolBroker
from octant.ports.tool_runner import ToolRun
from tests.support.envelopes import PRINCIPAL, envelope

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
}
READ, WRITE = "weather", "book"
ALLOWED = ToolGrant(allowed=(READ, WRITE))
FINE = ToolRun(ToolStatus.SUCCEEDED, '{"result": "sunny"}', 5)


class World:
    """Everything around a broker: instants, a scripted runner, and one log of what happened."""

    def __init__(self, run: ToolRun | BaseException = FINE) -> None:
        self.log: list[Any] = []
        self.now_ns = 1
        self.decision = Decision.ALLOW
        self.audit_fails = False
        self.leaves_before = False
        self._run = run
        self.broker = ToolBroker(self, self._authorise, self._audit, self, self)

    def specs(self) -> Sequence[ToolSpec]:
        definition = ToolDefinition(name=READ, parameters=CITY)
        return (
            ToolSpec(definition=definition, version="3"),
            ToolSpec(
                definition=ToolDefinition(name=WRITE, parameters=CITY),
                version="1",
                side_effect=SideEffect.IRREVERSIBLE_WRITE,
            ),
        )

    async def run(self, invocation: ToolInvocation) -> ToolRun:
        self.log.append(invocation)
        if isinstance(self._run, BaseException):
            raise self._run
        return self._run

    def emit(self, event: AnyEvent) -> None:
        self.log.append(event)

    def monotonic_ns(self) -> int:
        self.now_ns += 1
        return self.now_ns

    def unix_ns(self) -> int:
        return 1_790_000_000 * NS_PER_S

    async def sleep(self, duration_ns: int) -> None:
        raise AssertionError("a broker never waits")

    def _authorise(self, who: Principal, spec: ToolSpec, arguments: dict[str, Any]) -> Verdict:
        assert who == PRINCIPAL and isinstance(arguments, dict)
        self.log.append((spec.name, arguments))
        return Verdict(decision=self.decision, policy_version="p1", rule="r1", reason="because")

    async def _audit(self, records: Sequence[AuditRecord]) -> None:
        if self.audit_fails:
            raise Failed(
                Failure(
                    kind=FailureKind.RECORD_NOT_STORED, stage=Stage.TOOL, message="disk is full"
                )
            )
        self.log.extend(records)
        if self.leaves_before:
            raise asyncio.CancelledError

    def of(self, kind: type[Any]) -> list[Any]:
        return [entry for entry in self.log if isinstance(entry, kind)]


def asks(name: str = READ, arguments: str = '{"city": "Rome"}', id: str = "call_1") -> ToolCall:
    return ToolCall(id=id, name=name, arguments=arguments)


def granted(**changes: Any) -> RequestEnvelope:
    return envelope(tools=ALLOWED, **changes)


async def test_a_reading_tool_runs_and_is_told_of() -> None:
    world = World()
    answer = await world.broker.call(granted(), 2, asks(arguments='{ "days": 1, "city": "Rome" }'))
    outcome = answer.outcome
    assert answer.content == FINE.content
    assert (outcome.status, outcome.tool, outcome.version) == (ToolStatus.SUCCEEDED, READ, "3")
    assert (outcome.step, outcome.call_id, outcome.duration_ns) == (2, "call_1", 5)
    assert outcome.result_bytes == len(FINE.content) and outcome.failure is None
    [invocation] = world.of(ToolInvocation)
    assert invocation.arguments == '{"city":"Rome","days":1}'
    assert invocation.idempotency_key == outcome.idempotency_key
    kinds = [type(entry) for entry in world.log]
    assert kinds == [tuple, PolicyDecided, ToolStarted, ToolInvocation, ToolFinished]
    assert world.of(PolicyDecided)[0].stage == "tool_authorization"
    assert world.of(ToolFinished)[0].outcome == outcome


async def test_the_intent_of_a_write_is_durable_before_it_runs() -> None:
    world = World()
    answer = await world.broker.call(granted(), 1, asks(WRITE))
    kinds = [type(entry) for entry in world.log]
    assert kinds == [tuple, PolicyDecided, AuditRecord, ToolStarted, ToolInvocation, ToolFinished]
    [record] = world.of(AuditRecord)
    assert (record.action, record.decision, record.rule) == ("tool.intent", "allow", "r1")
    assert record.tenant == PRINCIPAL.tenant
    assert record.detail["idempotency_key"] == answer.outcome.idempotency_key
    assert record.detail["side_effect"] == "irreversible_write"
    assert "Rome" not in str(record)


async def test_a_write_that_is_cancelled_before_it_ran_is_not_left_in_doubt() -> None:
    world = World()
    world.leaves_before = True
    told: list[ToolOutcome] = []
    with pytest.raises(asyncio.CancelledError):
        await world.broker.call(granted(), 1, asks(WRITE), told.append)
    assert world.of(AuditRecord) and not world.of(ToolInvocation)
    assert [outcome.status for outcome in told] == [ToolStatus.FAILED]


async def test_a_write_whose_intent_is_not_stored_does_not_run() -> None:
    world = World()
    world.audit_fails = True
    with pytest.raises(Failed) as raised:
        await world.broker.call(granted(), 1, asks(WRITE))
    assert raised.value.failure.kind is FailureKind.RECORD_NOT_STORED
    assert not world.of(ToolInvocation) and not world.of(ToolStarted)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("", "not JSON"),
        ("Rome", "not JSON"),
        ("[]", 'not of type "object"'),
        ("{}", '"city" is a required property'),
        ('{"city": 5}', 'city: the value is not of type "string"'),
        ('{"city": "Rome", "zip": 1}', "does not allow"),
        ('{"city": "Rome", "city": "Oslo"}', "same key twice"),
        ('{"city": "' + "x" * MAX_ARGUMENTS_CHARS + '"}', "longer than"),
    ],
)
async def test_arguments_that_do_not_fit_go_back_to_the_model(arguments: str, problem: str) -> None:
    world = World()
    answer = await world.broker.call(granted(), 1, asks(arguments=arguments))
    assert answer.outcome.status is ToolStatus.INVALID_ARGUMENTS
    said = json.loads(answer.content)["error"]
    assert said.startswith("invalid arguments: ") and problem in said
    assert len(said) < 400
    assert [type(entry) for entry in world.log] == [ToolFinished]


@pytest.mark.parametrize("name", ["nobody", "x" * 5_000, WRITE])
async def test_what_was_not_granted_is_refused(name: str) -> None:
    world = World()
    asked = envelope(tools=ToolGrant(allowed=(READ,)))
    answer = await world.broker.call(asked, 1, asks(name))
    assert answer.outcome.status is ToolStatus.REFUSED
    assert "may not be used here" in answer.content
    assert len(answer.outcome.tool) <= 128 and not world.of(ToolInvocation)


async def test_policy_can_refuse_a_call() -> None:
    world = World()
    world.decision = Decision.BLOCK
    answer = await world.broker.call(granted(), 1, asks(WRITE))
    assert answer.outcome.status is ToolStatus.REFUSED
    assert json.loads(answer.content) == {"error": "policy does not allow this call: because"}
    failure = answer.outcome.failure
    assert failure is not None and failure.stage is Stage.TOOL_AUTHORIZATION
    assert failure.rule.failure_class is FailureClass.POLICY
    assert [type(entry) for entry in world.log] == [tuple, PolicyDecided, ToolFinished]


@pytest.mark.parametrize("decision", [Decision.WARN, Decision.CHANGE])
async def test_only_a_block_stops_a_call(decision: Decision) -> None:
    world = World()
    world.decision = decision
    answer = await world.broker.call(granted(), 1, asks())
    assert answer.outcome.status is ToolStatus.SUCCEEDED


async def test_after_the_deadline_nothing_runs() -> None:
    world = World()
    world.now_ns = 10 * NS_PER_S
    with pytest.raises(Failed) as raised:
        await world.broker.call(granted(), 1, asks(WRITE))
    assert raised.value.failure.kind is FailureKind.DEADLINE_EXCEEDED
    assert not world.of(ToolInvocation) and not world.of(AuditRecord)


async def test_a_tool_gets_what_is_left_of_the_deadline_at_most() -> None:
    world = World()
    await world.broker.call(granted(), 1, asks())
    world.now_ns = 9 * NS_PER_S
    await world.broker.call(granted(), 1, asks())
    ample, scarce = world.of(ToolInvocation)
    assert ample.timeout_ns == 5 * NS_PER_S
    assert 0 < scarce.timeout_ns < NS_PER_S


@pytest.mark.parametrize(
    ("ended", "meant"),
    [
        (ToolStatus.FAILED, ToolStatus.FAILED),
        (ToolStatus.TIMED_OUT, ToolStatus.TIMED_OUT),
        (ToolStatus.AMBIGUOUS, ToolStatus.FAILED),
    ],
)
async def test_a_reading_tool_that_fails_lets_the_model_go_on(
    ended: ToolStatus, meant: ToolStatus
) -> None:
    world = World(ToolRun(ended, '{"error": "gone"}', 7))
    answer = await world.broker.call(granted(), 1, asks())
    assert (answer.outcome.status, answer.content) == (meant, '{"error": "gone"}')
    failure = answer.outcome.failure
    assert failure is not None and failure.kind is FailureKind.TOOL_FAILURE
    assert failure.rule.failure_class is FailureClass.TOOL


async def test_a_write_that_says_it_failed_has_failed() -> None:
    world = World(ToolRun(ToolStatus.FAILED, '{"error": "full"}', 7))
    answer = await world.broker.call(granted(), 1, asks(WRITE))
    assert answer.outcome.status is ToolStatus.FAILED


@pytest.mark.parametrize("ended", [ToolStatus.TIMED_OUT, ToolStatus.AMBIGUOUS])
async def test_a_write_without_an_end_is_ambiguous_and_is_not_tried_again(
    ended: ToolStatus,
) -> None:
    world = World(ToolRun(ended, '{"error": "gone"}', 7))
    answer = await world.broker.call(granted(), 1, asks(WRITE))
    assert answer.outcome.status is ToolStatus.AMBIGUOUS
    failure = answer.outcome.failure
    assert failure is not None
    assert (failure.kind, failure.stage) == (FailureKind.TOOL_AMBIGUOUS, Stage.TOOL)
    assert failure.rule.retry.value == "on_decision"
    assert len(world.of(ToolInvocation)) == len(world.of(AuditRecord)) == 1
    [finished] = world.of(ToolFinished)
    assert finished.outcome.status is ToolStatus.AMBIGUOUS
    assert finished.outcome.failure == failure
    assert failure.detail["idempotency_key"] == finished.outcome.idempotency_key


@pytest.mark.parametrize(
    ("name", "status"), [(READ, ToolStatus.FAILED), (WRITE, ToolStatus.AMBIGUOUS)]
)
async def test_a_cancelled_call_still_tells_how_it_ended(name: str, status: ToolStatus) -> None:
    world = World(asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await world.broker.call(granted(), 1, asks(name))
    [finished] = world.of(ToolFinished)
    assert finished.outcome.status is status


async def test_the_idempotency_key_stays_the_same_for_the_same_call_only() -> None:
    async def key(number: int = 1, step: int = 1, **changes: Any) -> str:
        world = World()
        answer = await world.broker.call(
            envelope(number, tools=ALLOWED), step, asks(**({"name": READ} | changes))
        )
        return answer.outcome.idempotency_key

    first = await key(arguments='{"city": "Rome", "days": 1}')
    assert first == await key(arguments='{"days":1,\n"city":"Rome"}')
    others = [
        await key(2, arguments='{"city": "Rome", "days": 1}'),
        await key(1, 2, arguments='{"city": "Rome", "days": 1}'),
        await key(id="call_2", arguments='{"city": "Rome", "days": 1}'),
        await key(name=WRITE, arguments='{"city": "Rome", "days": 1}'),
        await key(arguments='{"city": "Rome", "days": 2}'),
    ]
    assert len({first, *others}) == 6
    assert len(first) == 64


def test_definitions_are_those_asked_for_in_order_and_once() -> None:
    broker = World().broker
    assert [d.name for d in broker.definitions([WRITE, READ, WRITE])] == [WRITE, READ]
    assert broker.definitions([]) == ()
    assert broker.owns(READ) and not broker.owns("nobody")


def test_a_tool_that_is_none_is_named_with_those_there_are() -> None:
    with pytest.raises(Failed) as raised:
        World().broker.definitions([READ, "nobody"])
    failure = raised.value.failure
    assert (failure.kind, failure.param) == (FailureKind.INVALID_VALUE, "octant.tools")
    assert "'nobody'" in failure.message and f"{READ}, {WRITE}" in failure.message
