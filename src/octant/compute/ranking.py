"""Ranking: who goes first. The only place that weighs sequences against each other.

Law: a rank is fixed when a sequence arrives, so two sequences never change places. Each profile
has a head start over the next one, and within a profile the earliest deadline goes first:

    turn = (steps below critical) * ageing + min(deadline, arrival + ageing)

The smallest turn goes first. From this follow the two promises that tests hold it to:
1. while both live, a sequence goes before every one of a lower profile that arrived less than
   `ageing` before it;
2. only sequences that arrive within (steps below critical + 1) * `ageing` after it can ever go
   before a sequence: finitely many, so nothing starves. That is why no deadline counts as later
   than `arrival + ageing`.
"""

from typing import NamedTuple, assert_never

from octant.compute.schedule import SequenceRequest
from octant.core.ids import SequenceId
from octant.core.limits import Profile


class Rank(NamedTuple):
    """Sorts by who goes first; no two sequences are equal."""

    turn_ns: int
    arrived_ns: int
    sequence: SequenceId
    steps_below_critical: int


def rank_of(request: SequenceRequest, ageing_ns: int) -> Rank:
    """The place of a sequence among all others, for as long as it lives."""
    steps = steps_below_critical(request.profile)
    due_ns = min(request.deadline_ns, request.arrived_ns + ageing_ns)
    return Rank(steps * ageing_ns + due_ns, request.arrived_ns, request.sequence, steps)


def may_displace(newcomer: Rank, running: Rank) -> bool:
    """Whether a waiting sequence may take the place of a running one.

    Only of one that is behind it and of a lower profile: among equals, a place is kept until it is
    given up, and a sequence that outwaited a higher profile keeps its place too.
    """
    return newcomer < running and newcomer.steps_below_critical < running.steps_below_critical


def steps_below_critical(profile: Profile) -> int:
    """0 for the profile that goes first."""
    match profile:
        case Profile.CRITICAL:
            return 0
        case Profile.INTERACTIVE:
            return 1
        case Profile.LONG_CONTEXT:
            return 2
        case Profile.BATCH:
            return 3
        case _:
            assert_never(profile)
