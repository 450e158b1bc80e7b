"""Objectives: whether a settled request kept what its workload profile promises. Pure.

Law: a completed request is judged by its own times; one that failed through Octant or a provider
kept nothing; one that its caller, tenant or policy ended is not judged at all.
"""

from collections.abc import Mapping

from octant.core.failure import Blame
from octant.core.limits import Objective
from octant.core.outcome import Outcome
from octant.core.units import NS_PER_MS

TTFT, TPOT, TOTAL = "ttft", "tpot", "total"


def judge(outcome: Outcome, objective: Objective) -> Mapping[str, bool]:
    """Kept or not, by the name of the objective; without those that do not apply."""
    if outcome.failure is not None:
        ours = outcome.failure.rule.blame in (Blame.OCTANT, Blame.PROVIDER)
        return dict.fromkeys((TTFT, TPOT, TOTAL), False) if ours else {}
    kept = {TOTAL: outcome.duration_ns <= objective.total_ms * NS_PER_MS}
    first_ns = outcome.time_to_first_token_ns
    if first_ns is not None:
        kept[TTFT] = first_ns <= objective.ttft_ms * NS_PER_MS
        further = outcome.usage.completion_tokens - len(outcome.finish_reasons)
        if further > 0:
            per_token_ns = (outcome.duration_ns - first_ns) / further
            kept[TPOT] = per_token_ns <= objective.tpot_ms * NS_PER_MS
    return kept
