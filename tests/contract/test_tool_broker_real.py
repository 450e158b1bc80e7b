"""The broker over real tool processes: from a model's JSON to an answer it can read."""

from collections.abc import Sequence
from typing import Any

from octant.adapters.system.clock import SystemClock
from octant.core.audit import AuditRecord
from octant.core.content import ToolCall
from octant.core.envelope import ToolGrant
from octant.core.events import AnyEvent, ToolFinished
from octant.core.identity import Principal
from octant.core.limits import Deadline, DeadlineOrigin
from octant.core.tools import ToolSpec, ToolStatus
from octant.core.units import NS_PER_S
from octant.core.verdict import Decision, Verdict
from octant.orchestration.tool_broker import ToolBroker
from tests.support.envelopes import envelope
from tests.support.tools import tool_runner


class _Events(list[AnyEvent]):
    def emit(self, event: AnyEvent) -> None:
        self.append(event)


def _allow(_: Principal, spec: ToolSpec, arguments: dict[str, Any]) -> Verdict:
    return Verdict(decision=Decision.ALLOW, policy_version="1", rule="r", reason="test")


async def _no_audit(records: Sequence[AuditRecord]) -> None:
    raise AssertionError("a reading tool needs no intent")


async def test_a_round_trip_with_and_without_valid_arguments() -> None:
    events, clock = _Events(), SystemClock()
    deadline = Deadline(at_ns=clock.monotonic_ns() + 60 * NS_PER_S, origin=DeadlineOrigin.BODY)
    asked = envelope(tools=ToolGrant(allowed=("calculator", "clock")), deadline=deadline)
    async with tool_runner() as runner:
        broker = ToolBroker(runner, _allow, _no_audit, events, clock)
        assert [d.name for d in broker.definitions(["calculator"])] == ["calculator"]

        async def answer(name: str, arguments: str) -> tuple[ToolStatus, str]:
            call = ToolCall(id="c", name=name, arguments=arguments)
            found = await broker.call(asked, 1, call)
            return found.outcome.status, found.content

        assert await answer("calculator", '{"expression": "17 * 42"}') == (
            ToolStatus.SUCCEEDED,
            '{"result": 714}',
        )
        assert await answer("calculator", '{"expression": "17 *"}') == (
            ToolStatus.FAILED,
            '{"error": "the expression is not complete"}',
        )
        assert (await answer("calculator", '{"formula": "1"}'))[0] is ToolStatus.INVALID_ARGUMENTS
        assert (await answer("clock", '{"timezone": "../etc"}'))[0] is ToolStatus.INVALID_ARGUMENTS
        assert (await answer("clock", "{}"))[0] is ToolStatus.SUCCEEDED
    assert len([event for event in events if isinstance(event, ToolFinished)]) == 5
