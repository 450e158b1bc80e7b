"""The gateway over real HTTP: routes, errors, headers, deadlines, health, draining."""

import threading
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from octant.admission.control import RateLimitStatus, RateStatus
from octant.core.content import ChatInput
from octant.core.envelope import Api
from octant.core.failure import RULES, FailureKind, Retry
from octant.core.identity import Scope
from octant.core.ids import ReleaseId, RouteId
from octant.core.limits import DeadlineOrigin, Profile
from octant.core.route import BreakerState, DeploymentState
from octant.core.units import NS_PER_MS
from octant.gateway.settings import GatewaySettings
from octant.orchestration.routes import RouteListing
from tests.support.gateway import HELLO, STARTED, Gateway, Listing, broken, running_gateway, says

SETTINGS = GatewaySettings(max_body_bytes=100_000, long_context_bytes=10_000)
STREAM = {"stream": True}


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with running_gateway(SETTINGS) as running:
        yield running


def error_of(response: Any, status: int, code: str) -> dict[str, Any]:
    """The error object, after checking that it is one."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert list(body) == ["error"]
    assert list(body["error"]) == ["message", "type", "param", "code", "octant"]
    assert body["error"]["code"] == code
    rule = RULES[FailureKind(code)]
    own = body["error"]["octant"]
    assert list(own) == ["class", "stage", "retry", "request_id"]
    assert (own["class"], own["retry"]) == (rule.failure_class.value, rule.retry.value)
    assert own["request_id"] == response.headers["x-request-id"]
    assert own["request_id"].startswith("req_")
    assert response.headers["x-should-retry"] in ("true", "false")
    return body["error"]


async def test_an_answer_and_its_headers(gateway: Gateway) -> None:
    gateway.path.limits = RateLimitStatus(
        RateStatus(60, 59, 1_250_000_000), RateStatus(1000, 900, 0)
    )
    response = await gateway.chat()
    assert response.status_code == 200
    assert response.json()["choices"][0]["message"]["content"] == "Hello"
    headers = response.headers
    (envelope,) = gateway.path.envelopes
    assert headers["x-request-id"] == envelope.request_id
    assert headers["x-octant-trace-id"] == envelope.trace_id
    assert int(headers["openai-processing-ms"]) >= 0
    assert headers["x-ratelimit-limit-requests"] == "60"
    assert headers["x-ratelimit-remaining-requests"] == "59"
    assert headers["x-ratelimit-reset-requests"] == "1.25s"
    assert headers["x-ratelimit-reset-tokens"] == "0s"


async def test_the_envelope_is_complete(gateway: Gateway) -> None:
    await gateway.post(
        "/v1/chat/completions",
        {
            "model": "tiny",
            "messages": [{"role": "user", "content": "Hi"}],
            "octant": {"cache_salt": "s", "budget": {"tokens": 50, "cost_nano_usd": 9}},
        },
        **{
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "x-client-request-id": "mine",
            "idempotency-key": "once",
        },
    )
    (envelope,) = gateway.path.envelopes
    assert envelope.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert envelope.parent_span_id == "b7ad6b7169203331"
    assert (envelope.client_request_id, envelope.idempotency_key) == ("mine", "once")
    assert (envelope.cache_salt, envelope.budget.tokens) == ("s", 50)
    assert envelope.budget.cost_nano_usd == 9
    assert envelope.principal.tenant == "acme"
    assert envelope.api is Api.CHAT_COMPLETIONS
    assert isinstance(envelope.input, ChatInput)
    assert envelope.stream is False


@pytest.mark.parametrize(
    ("body", "headers", "milliseconds", "origin"),
    [
        ({}, {}, 120_000, DeadlineOrigin.PROFILE),
        ({}, {"x-octant-deadline-ms": "5000"}, 5_000, DeadlineOrigin.HEADER),
        ({"octant": {"deadline_ms": 4000}}, {}, 4_000, DeadlineOrigin.BODY),
        ({}, {"x-stainless-read-timeout": "2.5"}, 2_500, DeadlineOrigin.CLIENT_TIMEOUT),
        (STREAM, {"x-stainless-read-timeout": "2.5"}, 120_000, DeadlineOrigin.PROFILE),
        ({}, {"x-stainless-read-timeout": "soon"}, 120_000, DeadlineOrigin.PROFILE),
        ({}, {"x-octant-deadline-ms": "999999"}, 120_000, DeadlineOrigin.PROFILE),
        ({}, {"x-octant-profile": "critical"}, 60_000, DeadlineOrigin.PROFILE),
        (
            {"octant": {"deadline_ms": 3000}},
            {"x-octant-deadline-ms": "2000", "x-stainless-read-timeout": "9"},
            2_000,
            DeadlineOrigin.HEADER,
        ),
    ],
)
async def test_the_smallest_deadline_wins(
    gateway: Gateway,
    body: dict[str, Any],
    headers: dict[str, str],
    milliseconds: int,
    origin: DeadlineOrigin,
) -> None:
    sent = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]} | body
    assert (await gateway.post("/v1/chat/completions", sent, **headers)).status_code == 200
    (envelope,) = gateway.path.envelopes
    assert envelope.deadline.origin is origin
    assert envelope.deadline.at_ns - envelope.received_ns == milliseconds * NS_PER_MS


async def test_the_profile_is_named_or_follows_from_the_size(gateway: Gateway) -> None:
    await gateway.chat()
    await gateway.chat(messages=[{"role": "user", "content": "x" * 10_000}])
    await gateway.chat(octant={"profile": "batch"})
    profiles = [envelope.profile for envelope in gateway.path.envelopes]
    assert profiles == [Profile.INTERACTIVE, Profile.LONG_CONTEXT, Profile.BATCH]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-octant-deadline-ms", "0"),
        ("x-octant-deadline-ms", "-5"),
        ("x-octant-deadline-ms", "1e3"),
        ("x-octant-deadline-ms", "9" * 30),
        ("x-octant-profile", "fastest"),
        ("x-client-request-id", "x" * 513),
        ("idempotency-key", "x" * 256),
    ],
)
async def test_bad_headers_are_named(gateway: Gateway, name: str, value: str) -> None:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
    response = await gateway.post("/v1/chat/completions", body, **{name: value})
    assert error_of(response, 400, "invalid_value")["param"] == name
    assert gateway.path.envelopes == []


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", [kind for kind in FailureKind if RULES[kind].status < 499])
async def test_a_failure_before_the_first_byte_is_an_ordinary_error(
    gateway: Gateway, kind: FailureKind, stream: bool
) -> None:
    gateway.path.script = says(
        broken(kind, "Because.", param="model", retry_after_ns=1_500_000_000)
    )
    response = await gateway.chat(stream=stream)
    error = error_of(response, RULES[kind].status, kind.value)
    assert error | {"octant": None} == {
        "message": "Because.",
        "type": RULES[kind].error_type,
        "param": "model",
        "code": kind.value,
        "octant": None,
    }
    assert error["octant"]["stage"] == "decode"
    retried = RULES[kind].retry in (Retry.AFTER_DELAY, Retry.OTHER_ROUTE)
    assert response.headers["x-should-retry"] == ("true" if retried else "false")
    assert response.headers.get("retry-after") == ("2" if retried else None)
    assert response.headers.get("retry-after-ms") == ("1500" if retried else None)


async def test_a_failure_after_output_is_still_an_error_when_not_streaming(
    gateway: Gateway,
) -> None:
    gateway.path.script = says(*HELLO[:4], broken(FailureKind.ENGINE_LOST))
    error_of(await gateway.chat(), 503, "engine_lost")


async def test_a_path_that_never_ends_properly_is_a_truncated_stream(gateway: Gateway) -> None:
    gateway.path.script = says(STARTED)
    error_of(await gateway.chat(), 502, "stream_truncated")


async def test_only_refusals_are_counted_here_the_path_counts_its_own_failures(
    gateway: Gateway,
) -> None:
    gateway.path.script = says(broken(FailureKind.ENGINE_LOST))
    for stream in (False, True):
        error_of(await gateway.chat(stream=stream), 503, "engine_lost")
    assert gateway.failures == 0
    error_of(await gateway.chat(temperature=9), 400, "invalid_value")
    error_of(await gateway.get("/v1/nothing"), 404, "not_found")
    assert gateway.failures == 2


async def test_long_bodies_are_read_beside_the_event_loop(gateway: Gateway) -> None:
    await gateway.chat()
    assert gateway.models.asked_on is threading.main_thread()
    await gateway.chat(messages=[{"role": "user", "content": "x" * 10_000}])
    assert gateway.models.asked_on is not threading.main_thread()


async def test_a_defect_is_answered_and_nothing_of_it_is_shown(gateway: Gateway) -> None:
    async def defect(_: object) -> AsyncIterator[Any]:
        raise ValueError("secret detail")
        yield

    gateway.path.script = defect
    error = error_of(await gateway.chat(), 500, "internal_error")
    assert "secret" not in error["message"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/v2/models", 404, "not_found"),
        ("POST", "/v1/chat/completions/", 404, "not_found"),
        ("POST", "//v1/chat/completions", 404, "not_found"),
        ("POST", "/V1/chat/completions", 404, "not_found"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("POST", "/metrics", 405, "method_not_allowed"),
    ],
)
async def test_unknown_paths_and_methods(
    gateway: Gateway, method: str, path: str, status: int, code: str
) -> None:
    response = await gateway.http.request(method, gateway.url + path)
    error = error_of(response, status, code)
    if status == 404:
        assert "/v1/chat/completions" in error["message"]
    else:
        assert response.headers["allow"] in error["message"]


async def test_models(gateway: Gateway) -> None:
    listed = (await gateway.get("/v1/models")).json()
    assert [model["id"] for model in listed["data"]] == ["tiny", "org/other"]
    for path in ("/v1/models/org/other", "/v1/models/org%2Fother"):
        model = (await gateway.get(path)).json()
        assert model == {
            "id": "org/other",
            "object": "model",
            "created": 1_700_000_000,
            "owned_by": "octant",
            "max_model_len": 2_048,
            "octant": {"state": "ready"},
        }
    error_of(await gateway.get("/v1/models/none"), 404, "model_not_found")
    error_of(await gateway.get("/v1/models/"), 404, "model_not_found")


async def test_a_key_sees_only_its_models(gateway: Gateway) -> None:
    key = gateway.keys.mint(models=("org/other",)).plaintext
    header = {"authorization": f"Bearer {key}"}
    listed = (await gateway.get("/v1/models", **header)).json()
    assert [model["id"] for model in listed["data"]] == ["org/other"]
    error_of(await gateway.get("/v1/models/tiny", **header), 404, "model_not_found")


async def test_liveness_asks_nothing(gateway: Gateway) -> None:
    gateway.models.listings = []
    gateway.health.store_healthy = False
    gateway.drain.begin()
    response = await gateway.http.get("/health/live")
    assert (response.status_code, response.json()) == (200, {"status": "live"})


async def test_readiness_says_what_is_missing(gateway: Gateway) -> None:
    response = await gateway.http.get("/health/ready")
    assert response.status_code == 200
    assert set(response.json()["checks"]) == {"accepting", "models", "store"}

    gateway.models.listings = [Listing("tiny", state=DeploymentState.WARMING)]
    gateway.health.store_healthy = False
    response = await gateway.http.get("/health/ready")
    assert response.status_code == 503
    checks = response.json()["checks"]
    assert checks["models"] == {"healthy": False, "reason": "tiny is warming"}
    assert checks["store"] == {"healthy": False, "reason": "disk full"}


async def test_one_ready_model_is_enough_for_readiness(gateway: Gateway) -> None:
    down = RouteListing(
        id=RouteId("r"),
        release=ReleaseId("1"),
        label="fast",
        state=DeploymentState.FAILED,
        reason="gone",
        breaker=BreakerState.OPEN,
    )
    gateway.models.listings.append(
        Listing("broken", state=DeploymentState.FAILED, reason="gone", routes=(down,))
    )
    assert (await gateway.http.get("/health/ready")).status_code == 200
    response = await gateway.http.get("/health/models")
    assert response.status_code == 503
    assert response.json()["models"]["broken"] == {
        "state": "failed",
        "reason": "gone",
        "routes": {
            "r": {
                "release": "1",
                "label": "fast",
                "state": "failed",
                "reason": "gone",
                "breaker": "open",
            }
        },
    }
    assert response.json()["models"]["tiny"] == {"state": "ready", "reason": "", "routes": {}}


async def test_metrics_need_no_key_unless_set(gateway: Gateway) -> None:
    response = await gateway.http.get("/metrics")
    assert response.text == "octant_up 1\n"
    assert response.headers["content-type"] == "text/plain; version=0.0.4"
    guarded = msgspec.structs.replace(SETTINGS, metrics_need_key=True)
    async with running_gateway(guarded) as closed:
        error_of(await closed.http.get("/metrics"), 401, "invalid_api_key")
        error_of(await closed.get("/metrics"), 403, "permission_denied")
        key = closed.keys.mint(scopes=(Scope.METRICS_READ,)).plaintext
        assert (await closed.get("/metrics", authorization=f"Bearer {key}")).status_code == 200


async def test_draining_refuses_new_work_and_lets_the_rest_be_seen(gateway: Gateway) -> None:
    gateway.drain.begin()
    response = await gateway.chat()
    error_of(response, 503, "draining")
    assert response.headers["retry-after"] == "2"
    assert response.headers["connection"] == "close"
    assert (await gateway.http.get("/health/ready")).status_code == 503
    assert (await gateway.get("/v1/models")).status_code == 200
    await gateway.drain.wait_empty()
    assert gateway.path.envelopes == []


async def test_completions_run_through_the_same_path(gateway: Gateway) -> None:
    response = await gateway.post("/v1/completions", {"model": "tiny", "prompt": "Once"})
    assert response.json()["choices"][0]["text"] == "Hello"
    assert gateway.path.envelopes[0].api is Api.COMPLETIONS
