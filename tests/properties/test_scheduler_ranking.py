"""The promises of the ranking, for any two sequences that both live when the later one arrives."""

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from octant.compute.ranking import may_displace, rank_of
from octant.compute.token_scheduler import SequenceRequest
from octant.core.ids import RequestId, SequenceId, TenantId
from octant.core.limits import Profile

ORDER = (Profile.CRITICAL, Profile.INTERACTIVE, Profile.LONG_CONTEXT, Profile.BATCH)
NEVER_NS = 1 << 60
Pair = tuple[SequenceRequest, SequenceRequest]


def sequence(number: int, profile: Profile, arrived_ns: int, deadline_ns: int) -> SequenceRequest:
    return SequenceRequest(
        sequence=SequenceId(number),
        request_id=RequestId(f"req_{number}"),
        choice=0,
        tenant=TenantId("ann"),
        profile=profile,
        prompt=(1,),
        cache_salt="ann/",
        max_tokens=1,
        arrived_ns=arrived_ns,
        deadline_ns=deadline_ns,
        leader=None,
    )


@st.composite
def pairs(draw: st.DrawFn, profiles: st.SearchStrategy[list[Profile]]) -> Pair:
    arrivals = draw(st.lists(st.integers(0, 300), min_size=2, max_size=2))
    left = st.one_of(st.integers(1, 300), st.just(NEVER_NS))
    one, other = (
        sequence(number, profile, arrived_ns, max(arrivals) + draw(left))
        for number, (profile, arrived_ns) in enumerate(
            zip(draw(profiles), arrivals, strict=True), 1
        )
    )
    return one, other


AGEING = st.integers(1, 200)
ANY_TWO = pairs(st.lists(st.sampled_from(ORDER), min_size=2, max_size=2))
HIGHER_AND_LOWER = pairs(
    st.sets(st.integers(0, 3), min_size=2, max_size=2).map(lambda i: [ORDER[n] for n in sorted(i)])
)
ONE_PROFILE = pairs(st.sampled_from(ORDER).map(lambda profile: [profile, profile]))
THOROUGHLY = settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@THOROUGHLY
@given(HIGHER_AND_LOWER, AGEING)
def test_a_higher_profile_goes_first_until_the_lower_one_has_aged(
    pair: Pair, ageing_ns: int
) -> None:
    higher, lower = pair
    if higher.arrived_ns - lower.arrived_ns < ageing_ns:
        assert rank_of(higher, ageing_ns) < rank_of(lower, ageing_ns)


@THOROUGHLY
@given(ANY_TWO, AGEING)
def test_who_arrives_late_enough_never_goes_before(pair: Pair, ageing_ns: int) -> None:
    one, other = pair
    latest_ns = other.arrived_ns + (ORDER.index(other.profile) + 1) * ageing_ns
    if one.arrived_ns > latest_ns:
        assert rank_of(other, ageing_ns) < rank_of(one, ageing_ns)


@THOROUGHLY
@given(ONE_PROFILE, AGEING)
@example((sequence(1, ORDER[1], 10, 90), sequence(2, ORDER[1], 0, 95)), 100)
def test_within_a_profile_the_earlier_deadline_then_the_earlier_arrival_goes_first(
    pair: Pair, ageing_ns: int
) -> None:
    one, other = pair
    due, other_due = (min(r.deadline_ns, r.arrived_ns + ageing_ns) for r in pair)
    if (due, one.arrived_ns) < (other_due, other.arrived_ns):
        assert rank_of(one, ageing_ns) < rank_of(other, ageing_ns)


@THOROUGHLY
@given(ANY_TWO, AGEING)
def test_nobody_displaces_an_equal_or_one_ahead(pair: Pair, ageing_ns: int) -> None:
    one, other = (rank_of(request, ageing_ns) for request in pair)
    if may_displace(one, other):
        assert one < other
        assert ORDER.index(pair[0].profile) < ORDER.index(pair[1].profile)
        assert not may_displace(other, one)


def test_a_fresh_critical_sequence_displaces_batch_but_not_aged_batch() -> None:
    batch = rank_of(sequence(1, Profile.BATCH, 0, NEVER_NS), 100)
    assert may_displace(rank_of(sequence(2, Profile.CRITICAL, 299, NEVER_NS), 100), batch)
    assert not may_displace(rank_of(sequence(2, Profile.CRITICAL, 301, NEVER_NS), 100), batch)
