"""What the scheduler promises, read off a simulation's log by someone who knows none of its code.

Each function raises AssertionError with the plan that breaks a promise.
"""

from octant.compute.token_scheduler import Expired, Preempted, Scheduled, SequenceRequest
from octant.core.ids import SequenceId
from octant.core.limits import Profile
from octant.simulation.run import Decision, Ending, Report
from octant.simulation.workload import NEVER_NS, Workload

ORDER = (Profile.CRITICAL, Profile.INTERACTIVE, Profile.LONG_CONTEXT, Profile.BATCH)


def check_promises(workload: Workload, report: Report) -> None:
    """All of them."""
    requests = {a.request.sequence: a.request for a in workload.arrivals}
    check_steps_stay_within_bounds(workload, report)
    check_deadlines_are_honoured(requests, report)
    check_nobody_is_passed_over(workload, requests, report)
    check_only_the_last_give_way(workload, requests, report)
    check_the_ended_stay_away(report)
    check_events(report)


def check_steps_stay_within_bounds(workload: Workload, report: Report) -> None:
    settings = workload.machine.settings
    for decision in report.decisions:
        if decision.step is None:
            continue
        sizes = [len(piece.tokens) for piece in decision.step.slices]
        assert sizes, f"an empty step: {decision}"
        assert sum(sizes) <= settings.max_batch_tokens, decision
        assert len(sizes) <= settings.max_sequences, decision
        names = [piece.sequence for piece in decision.step.slices]
        assert len(set(names)) == len(names), f"a sequence twice in one step: {decision}"
        decodes = any(s.samples and len(s.tokens) == 1 for s in decision.step.slices)
        if decodes:
            assert max(sizes) <= settings.max_prefill_chunk, f"decodes held up: {decision}"


def check_deadlines_are_honoured(
    requests: dict[SequenceId, SequenceRequest], report: Report
) -> None:
    for sequence, request in requests.items():
        if request.deadline_ns == NEVER_NS:
            assert report.endings[sequence] is not Ending.EXPIRED
    for decision in report.decisions:
        late = {
            s
            for s, r in requests.items()
            if r.deadline_ns <= decision.at_ns and r.arrived_ns <= decision.at_ns
        }
        kept = {s for s in late if report.ended_ns[s] > decision.at_ns}
        assert not kept, f"{kept} outlive their deadlines: {decision}"
        expired = {e.sequence for e in decision.events if isinstance(e, Expired)}
        assert expired <= late, f"{expired - late} expire too early: {decision}"
        computed = _computed(decision)
        assert not computed & late, f"{computed & late} are computed too late: {decision}"


def check_nobody_is_passed_over(
    workload: Workload, requests: dict[SequenceId, SequenceRequest], report: Report
) -> None:
    """Whoever starts, or comes back, was entitled to before everyone who waits and could have."""
    long_tokens = workload.machine.settings.long_prompt_tokens
    # Those may be passed: their turn depends on others' prefills.
    fresh = {s for s, r in requests.items() if not r.leader and len(r.prompt) <= long_tokens}
    thrown_out: set[SequenceId] = set()
    for decision in report.decisions:
        computed = _computed(decision)
        starting = {e.sequence for e in decision.events if isinstance(e, Scheduled)}
        fresh -= starting
        starting |= thrown_out & computed
        thrown_out |= {e.sequence for e in decision.events if isinstance(e, Preempted)}
        thrown_out -= computed
        short = {s for s in thrown_out if _longest(requests[s]) <= long_tokens}
        for name in fresh | short:
            if requests[name].arrived_ns <= decision.at_ns < report.ended_ns[name]:
                for other in starting:
                    _check_entitled(workload, requests[other], requests[name], decision)


def check_only_the_last_give_way(
    workload: Workload, requests: dict[SequenceId, SequenceRequest], report: Report
) -> None:
    """Whoever is preempted was behind everyone who is computed instead."""
    long_tokens = workload.machine.settings.long_prompt_tokens
    before: set[SequenceId] = set()
    for decision in report.decisions:
        computed = _computed(decision)
        preempted = {e.sequence for e in decision.events if isinstance(e, Preempted)}
        for name in preempted - computed:
            # Once a long one has lost its place, a newcomer may pass it like any long one.
            is_long = _longest(requests[name]) > long_tokens
            for other in computed & (before - preempted) if is_long else computed:
                _check_entitled(workload, requests[other], requests[name], decision)
        before = computed


def _check_entitled(
    workload: Workload, ahead: SequenceRequest, behind: SequenceRequest, decision: Decision
) -> None:
    """`ahead` may go before `behind`."""
    ageing_ns = workload.machine.settings.ageing_ns
    facts = f"{ahead.sequence} goes before {behind.sequence}: {decision}"
    ahead_at, behind_at = ORDER.index(ahead.profile), ORDER.index(behind.profile)
    came_later_ns = ahead.arrived_ns - behind.arrived_ns
    assert came_later_ns <= (behind_at + 1) * ageing_ns, f"starving: {facts}"
    if behind_at < ahead_at:
        assert -came_later_ns >= ageing_ns, f"wrong profile: {facts}"
    if behind_at == ahead_at and behind.deadline_ns <= ahead.deadline_ns:
        assert came_later_ns <= 0, f"wrong order in a profile: {facts}"


def check_the_ended_stay_away(report: Report) -> None:
    for decision in report.decisions:
        if decision.step is not None:
            for piece in decision.step.slices:
                assert report.ended_ns[piece.sequence] > decision.at_ns or (
                    # A cancellation at the very instant of the plan may fall after it.
                    report.endings[piece.sequence] is Ending.CANCELLED
                    and report.ended_ns[piece.sequence] == decision.at_ns
                ), f"{piece.sequence} is computed after its end: {decision}"


def check_events(report: Report) -> None:
    """Scheduled exactly once and with the first tokens; whoever is preempted had been running."""
    scheduled: set[SequenceId] = set()
    for decision in report.decisions:
        computed = _computed(decision)
        for event in decision.events:
            if isinstance(event, Scheduled):
                assert event.sequence not in scheduled, f"scheduled twice: {decision}"
                assert event.sequence in computed, f"scheduled without tokens: {decision}"
                scheduled.add(event.sequence)
            elif isinstance(event, Preempted):
                assert event.sequence in scheduled, f"preempted before it ran: {decision}"
        assert computed <= scheduled, f"computed without having been scheduled: {decision}"


def _computed(decision: Decision) -> set[SequenceId]:
    return {piece.sequence for piece in decision.step.slices} if decision.step else set()


def _longest(request: SequenceRequest) -> int:
    return len(request.prompt) + request.max_tokens
