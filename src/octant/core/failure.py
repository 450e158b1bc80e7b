"""Failure: the one taxonomy, one table from kind to class, blame, retry, billing and status.

Law: every error a caller, operator or record can see is one `Failure` of one `FailureKind`, and
all that follows from a kind stands in its row of `RULES`; no other code decides a status, a retry
or a bill. After the first byte of a stream the status no longer matters, the row still does.

    Failed (exception, carries a Failure)
"""

from enum import StrEnum
from typing import Any, NamedTuple

from octant.core.record import Record
from octant.core.stage import Stage


class FailureClass(StrEnum):
    """The eight classes of the failure table (FL)."""

    ARTIFACT = "artifact"
    SHAPE = "shape"
    CAPACITY = "capacity"
    INTERRUPTED = "interrupted"
    EXECUTION = "execution"
    TOOL = "tool"
    POLICY = "policy"
    PERSISTENCE = "persistence"


class Blame(StrEnum):
    """Who has to change something before the same request can succeed."""

    CALLER = "caller"
    TENANT = "tenant"
    POLICY = "policy"
    OCTANT = "octant"
    PROVIDER = "provider"


class Retry(StrEnum):
    """When the same request may be tried again."""

    NEVER = "never"
    AFTER_DELAY = "after_delay"
    OTHER_ROUTE = "other_route"
    ON_DECISION = "on_decision"


class Billed(StrEnum):
    """Which part of the work is charged."""

    NOTHING = "nothing"
    INPUT = "input"
    USED = "used"


class FailureKind(StrEnum):
    """Every way in which a request or a preparation can fail; the value is the public code."""

    INVALID_JSON = "invalid_json"
    INVALID_TYPE = "invalid_type"
    INVALID_VALUE = "invalid_value"
    MISSING_PARAMETER = "missing_required_parameter"
    UNKNOWN_PARAMETER = "unknown_parameter"
    UNSUPPORTED_PARAMETER = "unsupported_parameter"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    MODEL_NOT_FOUND = "model_not_found"
    REQUEST_TOO_LARGE = "request_too_large"
    REQUEST_TIMEOUT = "request_timeout"
    CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"
    INVALID_API_KEY = "invalid_api_key"
    EXPIRED_API_KEY = "expired_api_key"
    PERMISSION_DENIED = "permission_denied"
    CONFLICT = "conflict"
    POLICY_BLOCKED = "policy_blocked"
    RATE_LIMIT_EXCEEDED = "rate_limit_exceeded"
    CONCURRENCY_EXCEEDED = "concurrency_limit_exceeded"
    INSUFFICIENT_QUOTA = "insufficient_quota"
    OVERLOADED = "overloaded"
    CAPACITY_EXHAUSTED = "capacity_exhausted"
    DRAINING = "draining"
    DEADLINE_UNREACHABLE = "deadline_unreachable"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    CANCELLED = "cancelled"
    ENGINE_UNAVAILABLE = "engine_unavailable"
    ENGINE_LOST = "engine_lost"
    ENGINE_STALLED = "engine_stalled"
    MODEL_FAILURE = "model_failure"
    UPSTREAM_FAILURE = "upstream_failure"
    UPSTREAM_BUSY = "upstream_busy"
    UPSTREAM_REFUSED = "upstream_refused"
    STREAM_TRUNCATED = "stream_truncated"
    TOOL_FAILURE = "tool_failure"
    TOOL_AMBIGUOUS = "tool_outcome_unknown"
    OUTPUT_INVALID = "output_invalid"
    RECORD_NOT_STORED = "record_not_stored"
    UNSUPPORTED_MODEL = "unsupported_model"
    CORRUPT_ARTIFACT = "corrupt_artifact"
    PREPARATION_FAILED = "preparation_failed"
    INSUFFICIENT_MEMORY = "insufficient_memory"
    INTERNAL_ERROR = "internal_error"


class FailureRule(NamedTuple):
    """One row of the table. `status` is HTTP; `error_type` is the `type` of OpenAI's error body."""

    failure_class: FailureClass
    blame: Blame
    retry: Retry
    breaker: bool
    billed: Billed
    status: int
    error_type: str


_C, _B, _R, _P, K = FailureClass, Blame, Retry, Billed, FailureKind


def _caller(status: int, failure_class: FailureClass = _C.POLICY) -> FailureRule:
    error_type = {401: "authentication_error", 403: "permission_error"}.get(
        status, "invalid_request_error"
    )
    return FailureRule(failure_class, _B.CALLER, _R.NEVER, False, _P.NOTHING, status, error_type)


def _capacity(blame: Blame, retry: Retry, status: int, error_type: str) -> FailureRule:
    return FailureRule(_C.CAPACITY, blame, retry, False, _P.NOTHING, status, error_type)


def _execution(blame: Blame, retry: Retry, status: int) -> FailureRule:
    return FailureRule(_C.EXECUTION, blame, retry, True, _P.NOTHING, status, "server_error")


def _artifact(failure_class: FailureClass = _C.ARTIFACT) -> FailureRule:
    return FailureRule(failure_class, _B.OCTANT, _R.NEVER, True, _P.NOTHING, 503, "server_error")


RULES: dict[FailureKind, FailureRule] = {
    K.INVALID_JSON: _caller(400),
    K.INVALID_TYPE: _caller(400),
    K.INVALID_VALUE: _caller(400),
    K.MISSING_PARAMETER: _caller(400),
    K.UNKNOWN_PARAMETER: _caller(400),
    K.UNSUPPORTED_PARAMETER: _caller(400),
    K.UNSUPPORTED_MEDIA_TYPE: _caller(415),
    K.NOT_FOUND: _caller(404),
    K.METHOD_NOT_ALLOWED: _caller(405),
    K.MODEL_NOT_FOUND: _caller(404),
    K.REQUEST_TOO_LARGE: _caller(413),
    K.REQUEST_TIMEOUT: _caller(408, _C.INTERRUPTED),
    K.CONTEXT_LENGTH_EXCEEDED: _caller(400, _C.SHAPE),
    K.INVALID_API_KEY: _caller(401),
    K.EXPIRED_API_KEY: _caller(401),
    K.PERMISSION_DENIED: _caller(403),
    K.CONFLICT: _caller(409),
    K.POLICY_BLOCKED: FailureRule(
        _C.POLICY, _B.POLICY, _R.NEVER, False, _P.INPUT, 400, "invalid_request_error"
    ),
    K.RATE_LIMIT_EXCEEDED: _capacity(_B.TENANT, _R.AFTER_DELAY, 429, "rate_limit_error"),
    K.CONCURRENCY_EXCEEDED: _capacity(_B.TENANT, _R.AFTER_DELAY, 429, "rate_limit_error"),
    K.INSUFFICIENT_QUOTA: _capacity(_B.TENANT, _R.NEVER, 429, "insufficient_quota"),
    K.OVERLOADED: _capacity(_B.OCTANT, _R.AFTER_DELAY, 503, "server_error"),
    K.CAPACITY_EXHAUSTED: _capacity(_B.OCTANT, _R.AFTER_DELAY, 503, "server_error"),
    K.DRAINING: _capacity(_B.OCTANT, _R.AFTER_DELAY, 503, "server_error"),
    K.DEADLINE_UNREACHABLE: _capacity(_B.OCTANT, _R.NEVER, 504, "server_error"),
    K.DEADLINE_EXCEEDED: FailureRule(
        _C.INTERRUPTED, _B.OCTANT, _R.NEVER, False, _P.USED, 504, "server_error"
    ),
    # 499 is only ever logged: a caller who went away reads no status.
    K.CANCELLED: FailureRule(
        _C.INTERRUPTED, _B.CALLER, _R.NEVER, False, _P.USED, 499, "invalid_request_error"
    ),
    K.STREAM_TRUNCATED: FailureRule(
        _C.INTERRUPTED, _B.PROVIDER, _R.OTHER_ROUTE, True, _P.USED, 502, "server_error"
    ),
    K.ENGINE_UNAVAILABLE: _execution(_B.OCTANT, _R.OTHER_ROUTE, 503),
    K.ENGINE_LOST: _execution(_B.OCTANT, _R.OTHER_ROUTE, 503),
    K.ENGINE_STALLED: _execution(_B.OCTANT, _R.OTHER_ROUTE, 503),
    K.MODEL_FAILURE: _execution(_B.PROVIDER, _R.OTHER_ROUTE, 502),
    K.UPSTREAM_FAILURE: _execution(_B.PROVIDER, _R.OTHER_ROUTE, 502),
    K.UPSTREAM_BUSY: FailureRule(
        _C.CAPACITY, _B.PROVIDER, _R.OTHER_ROUTE, True, _P.NOTHING, 503, "server_error"
    ),
    # No breaker: what one caller asks for must not take a route from all others.
    K.UPSTREAM_REFUSED: FailureRule(
        _C.EXECUTION, _B.PROVIDER, _R.OTHER_ROUTE, False, _P.NOTHING, 502, "server_error"
    ),
    K.TOOL_FAILURE: FailureRule(
        _C.TOOL, _B.PROVIDER, _R.ON_DECISION, False, _P.USED, 502, "server_error"
    ),
    K.TOOL_AMBIGUOUS: FailureRule(
        _C.TOOL, _B.PROVIDER, _R.ON_DECISION, False, _P.USED, 502, "server_error"
    ),
    K.OUTPUT_INVALID: FailureRule(
        _C.POLICY, _B.PROVIDER, _R.NEVER, False, _P.USED, 422, "invalid_request_error"
    ),
    K.RECORD_NOT_STORED: FailureRule(
        _C.PERSISTENCE, _B.OCTANT, _R.AFTER_DELAY, False, _P.NOTHING, 503, "server_error"
    ),
    K.UNSUPPORTED_MODEL: _artifact(),
    K.CORRUPT_ARTIFACT: _artifact(),
    K.PREPARATION_FAILED: _artifact(),
    K.INSUFFICIENT_MEMORY: _artifact(_C.CAPACITY),
    K.INTERNAL_ERROR: FailureRule(
        _C.EXECUTION, _B.OCTANT, _R.NEVER, True, _P.NOTHING, 500, "server_error"
    ),
}


class Failure(Record, frozen=True, kw_only=True):
    """One classified failure: what happened, where, and what to do about it.

    `message` is safe to show to the caller. `param` names the offending field in the dialect's own
    spelling. `retry_after_ns` is set where the rule says AFTER_DELAY. `detail` is evidence for
    operators: numbers and ids, never prompt text or secrets.
    """

    kind: FailureKind
    stage: Stage
    message: str
    param: str | None = None
    retry_after_ns: int | None = None
    detail: dict[str, Any] = {}

    @property
    def rule(self) -> FailureRule:
        """The row of `RULES` that decides status, retry, breaker and bill."""
        return RULES[self.kind]


class Failed(Exception):
    """Carries a `Failure` to the one place that ends the request or the preparation."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.kind.value} at {failure.stage.value}: {failure.message}")
        self.failure = failure


DEFECT = Failure(
    kind=FailureKind.INTERNAL_ERROR,
    stage=Stage.RESPONSE,
    message="Octant met an internal error; the server's log names it under this request id.",
)
"""What a caller is told of a defect of ours, at whichever border it was met."""
