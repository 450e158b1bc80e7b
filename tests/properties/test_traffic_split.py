"""The traffic split: shares as weighted, sessions that stay, and no more moves than asked for."""

from hypothesis import given
from hypothesis import strategies as st

from octant.core.envelope import SessionUse
from octant.core.ids import ReleaseId, SessionId
from octant.orchestration.traffic_split import draw, sticky_key
from tests.support.envelopes import envelope

RELEASES = st.sampled_from([ReleaseId(name) for name in "abcd"])
WEIGHTS = st.dictionaries(RELEASES, st.integers(-1, 1_000), max_size=4)
KEYS = [f"key {number}" for number in range(4_000)]


@given(WEIGHTS, st.text())
def test_only_releases_with_weight_are_drawn(weights: dict[ReleaseId, int], key: str) -> None:
    drawn = draw(weights, key)
    if drawn is None:
        assert all(weight <= 0 for weight in weights.values())
    else:
        assert weights[drawn] > 0


@given(WEIGHTS, st.text())
def test_the_order_and_the_scale_of_weights_mean_nothing(
    weights: dict[ReleaseId, int], key: str
) -> None:
    turned = dict(reversed(list(weights.items())))
    scaled = {release: weight * 7 for release, weight in weights.items()}
    assert draw(turned, key) == draw(scaled, key) == draw(weights, key)


def test_shares_are_as_weighted() -> None:
    weights = {ReleaseId("stable"): 9, ReleaseId("canary"): 1}
    canary = sum(draw(weights, key) == "canary" for key in KEYS)
    # Five standard deviations of a fair draw; the keys are fixed, so this holds or it does not.
    assert abs(canary - 400) < 5 * (4_000 * 0.1 * 0.9) ** 0.5


def test_a_growing_share_moves_only_what_it_grows_by() -> None:
    before = {ReleaseId("a"): 90, ReleaseId("b"): 10}
    after = {ReleaseId("a"): 80, ReleaseId("b"): 20}
    moved = [key for key in KEYS if draw(before, key) != draw(after, key)]
    assert {draw(before, key) for key in moved} == {"a"}
    assert len(moved) < 0.12 * len(KEYS)


def test_a_session_keeps_its_release_whatever_its_requests_are() -> None:
    session = SessionUse(id=SessionId("ses_1"))
    first, second = (sticky_key(envelope(number, session=session)) for number in (1, 2))
    assert first == second
    assert sticky_key(envelope(1)) != sticky_key(envelope(2))
