"""Admission: what the first cost model predicts, and the deadlines it finds out of reach."""

import pytest

from octant.admission.control import AdmissionControl, Estimate
from octant.admission.cost_model import CostModel, Observation, Prediction
from octant.admission.settings import AdmissionSettings
from octant.core.failure import Failed, FailureKind
from octant.core.limits import Deadline, DeadlineOrigin, Profile
from octant.core.route import DeploymentState, RouteLoad
from octant.core.units import NS_PER_MS, NS_PER_S, NanoUsd
from tests.support.envelopes import PRINCIPAL, READY, envelope

MONTH = "2026-11"
# 100 ms and as much again for each 64 tokens of prompt, 10 ms per output token, nothing waited for.
USUAL = Observation(
    profile=Profile.INTERACTIVE,
    queue_ns=0,
    prefill_tokens=64,
    prefill_ns=200 * NS_PER_MS,
    decode_tokens=20,
    decode_ns=200 * NS_PER_MS,
)


def busy(**waiting_tokens: int) -> RouteLoad:
    return RouteLoad(
        state=DeploymentState.READY,
        running=8,
        waiting=3,
        waiting_tokens_by_profile={Profile(name): n for name, n in waiting_tokens.items()},
    )


BUSY = busy(interactive=320)


def taught(observation: Observation = USUAL, times: int = 3) -> AdmissionControl:
    admission = AdmissionControl(AdmissionSettings())
    for _ in range(times):
        admission.observe(observation)
    return admission


def due(at_ms: int) -> Deadline:
    return Deadline(at_ns=at_ms * NS_PER_MS, origin=DeadlineOrigin.HEADER)


def test_nothing_is_predicted_before_enough_has_been_seen() -> None:
    admission = taught(times=2)
    assert admission.check_deadline(envelope(deadline=due(1)), BUSY, 10_000, 0) is None


def test_an_idle_route_costs_the_prefill_only() -> None:
    prediction = taught().check_deadline(envelope(), READY, 64, 0)
    assert prediction == Prediction(0, 200 * NS_PER_MS, 400 * NS_PER_MS)


def test_what_waits_ahead_is_counted_in() -> None:
    prediction = taught().check_deadline(envelope(), BUSY, 64, 0)
    assert prediction is not None
    assert prediction.queue_ns == 500 * NS_PER_MS
    assert prediction.ttft_ns == 700 * NS_PER_MS


def test_a_queue_costs_at_least_what_was_lately_waited() -> None:
    waited = USUAL._replace(queue_ns=5_000 * NS_PER_MS)
    prediction = taught(waited).check_deadline(envelope(), BUSY, 64, 0)
    assert prediction is not None
    assert prediction.queue_ns == 5_000 * NS_PER_MS


@pytest.mark.parametrize(
    ("profile", "queue_ms"),
    [
        (Profile.CRITICAL, 100),
        (Profile.INTERACTIVE, 200),
        (Profile.LONG_CONTEXT, 400),
        (Profile.BATCH, 800),
    ],
)
def test_only_what_ranks_ahead_is_waited_for(profile: Profile, queue_ms: int) -> None:
    load = busy(critical=64, interactive=64, long_context=128, batch=256)
    prediction = taught().check_deadline(envelope(profile=profile), load, 64, 0)
    assert prediction is not None
    assert prediction.queue_ns == queue_ms * NS_PER_MS


def test_a_queue_of_lower_profiles_is_no_queue() -> None:
    waited = USUAL._replace(queue_ns=5_000 * NS_PER_MS)
    prediction = taught(waited).check_deadline(envelope(), busy(batch=100_000), 64, 0)
    assert prediction == Prediction(0, 200 * NS_PER_MS, 400 * NS_PER_MS)


@pytest.mark.parametrize(("at_ms", "reachable"), [(700, True), (699, False)])
def test_a_deadline_before_the_first_token_is_refused(at_ms: int, reachable: bool) -> None:
    asked = envelope(deadline=due(at_ms))
    if reachable:
        assert taught().check_deadline(asked, BUSY, 64, 0) is not None
        return
    with pytest.raises(Failed) as caught:
        taught().check_deadline(asked, BUSY, 64, 0)
    failure = caught.value.failure
    assert failure.kind is FailureKind.DEADLINE_UNREACHABLE
    assert "700 ms" in failure.message
    assert failure.detail == {
        "predicted_queue_ns": 500 * NS_PER_MS,
        "predicted_ttft_ns": 700 * NS_PER_MS,
        "remaining_ns": at_ms * NS_PER_MS,
    }


def test_a_deadline_that_has_passed_is_said_to_have_passed() -> None:
    admission = AdmissionControl(AdmissionSettings())
    with pytest.raises(Failed) as caught:
        admission.check_deadline(envelope(deadline=due(1)), READY, 1, NS_PER_MS)
    assert caught.value.failure.kind is FailureKind.DEADLINE_EXCEEDED
    assert "x-octant-deadline-ms" in caught.value.failure.message


def test_admission_tells_what_is_usual() -> None:
    admission = taught()
    admission.open_account(PRINCIPAL.tenant, MONTH, NanoUsd(0))
    admitted = admission.admit(envelope(1), Estimate(64, 10, NanoUsd(0)), MONTH, 0)
    assert (admitted.predicted_queue_ns, admitted.predicted_ttft_ns) == (0, 200 * NS_PER_MS)


def test_the_model_follows_a_machine_that_became_slower() -> None:
    model = CostModel(smoothing=0.5, min_observations=1)
    model.observe(USUAL)
    for _ in range(20):
        model.observe(USUAL._replace(prefill_ns=2 * USUAL.prefill_ns))
    prediction = model.predict(Profile.INTERACTIVE, 64, READY)
    assert prediction is not None
    assert prediction.ttft_ns == pytest.approx(400 * NS_PER_MS, rel=0.01)


@pytest.mark.parametrize("turns", [40, 1_000])
def test_cached_turns_do_not_make_long_prompts_look_slow(turns: int) -> None:
    model = CostModel(smoothing=0.1, min_observations=3)
    for _ in range(10):
        model.observe(USUAL._replace(prefill_tokens=6_000, prefill_ns=12 * NS_PER_S))
    for _ in range(turns):
        model.observe(USUAL._replace(prefill_tokens=5, prefill_ns=120 * NS_PER_MS))
    long, short = (model.predict(Profile.INTERACTIVE, tokens, READY) for tokens in (6_000, 5))
    assert long is not None and short is not None
    assert long.ttft_ns == pytest.approx(12 * NS_PER_S, rel=0.1)
    assert short.ttft_ns == pytest.approx(120 * NS_PER_MS, rel=0.1)


def test_a_wrong_prediction_does_not_lock_itself_in() -> None:
    admission = taught(USUAL._replace(prefill_ns=60 * NS_PER_S))
    refused = admitted = 0
    for second in range(60):
        now_ns = second * NS_PER_S
        asked = envelope(deadline=Deadline(at_ns=now_ns + NS_PER_S, origin=DeadlineOrigin.HEADER))
        try:
            admission.check_deadline(asked, READY, 64, now_ns)
        except Failed as error:
            assert error.failure.kind is FailureKind.DEADLINE_UNREACHABLE
            refused += 1
        else:
            # What was let through took its usual time; every tenth of it counts.
            admission.observe(USUAL)
            admitted += 1
    assert (refused, admitted) == (55, 5)


def test_requests_that_did_no_work_teach_no_rates() -> None:
    model = CostModel(smoothing=0.5, min_observations=1)
    model.observe(USUAL._replace(prefill_tokens=0, decode_tokens=0))
    assert model.predict(Profile.INTERACTIVE, 64, READY) is None
