"""Policy: a versioned document, and the pure question asked of it.

    evaluate(policy, envelope) -> Verdict     before any work, on the input
    refusal(verdict) -> Failure     what a caller who is blocked is told

Law: a verdict follows from the document and the envelope alone, is deterministic, and names the
version and the rule that made it. The version is the digest of the document, so the same version
always means the same rules. Authority is the principal's; nothing in the input can widen it (GV1).
"""

import hashlib
from collections.abc import Callable
from enum import StrEnum
from functools import cached_property

from octant.core import versions
from octant.core.envelope import RequestEnvelope, RiskClass
from octant.core.failure import Failure, FailureKind
from octant.core.identity import Scope
from octant.core.record import Record, encode
from octant.core.stage import Stage
from octant.core.verdict import Decision, Verdict


class Rule(StrEnum):
    """Every rule that a verdict can name."""

    SCOPE = "authorise.scope"
    KEY_MODELS = "authorise.key_models"
    TENANT_MODELS = "authorise.tenant_models"
    INPUT_BYTES = "input.max_bytes"
    INPUT_ALLOWED = "input.allowed"


class Policy(Record, frozen=True, kw_only=True, dict=True):
    """The rules in force.

    `denied_models` names models by tenant id, `max_input_bytes` bounds the text of a request by
    risk class; what is not named is not restricted.
    """

    denied_models: dict[str, tuple[str, ...]] = {}
    max_input_bytes: dict[RiskClass, int] = {}
    format: int = versions.POLICY

    @cached_property
    def version(self) -> str:
        """`sha256:` and 64 hex digits over the document, independent of the order of its keys."""
        canonical = Policy(
            denied_models={
                tenant: tuple(sorted(models))
                for tenant, models in sorted(self.denied_models.items())
            },
            max_input_bytes=dict(sorted(self.max_input_bytes.items())),
            format=self.format,
            unknown=dict(sorted(self.unknown.items())),
        )
        return "sha256:" + hashlib.sha256(encode(canonical)).hexdigest()


Check = Callable[[Policy, RequestEnvelope], str | None]
"""Why a request is blocked, or None."""


def evaluate(policy: Policy, envelope: RequestEnvelope) -> Verdict:
    """The verdict on an input: the first rule that blocks it, or ALLOW."""
    for rule, check in _INPUT_CHECKS.items():
        reason = check(policy, envelope)
        if reason is not None:
            return _verdict(policy, Decision.BLOCK, rule, reason)
    return _verdict(policy, Decision.ALLOW, Rule.INPUT_ALLOWED, "No rule blocks this request.")


def refusal(verdict: Verdict) -> Failure:
    """The failure that a BLOCK on an input ends in: missing authority, size, or another rule."""
    return Failure(
        kind=_KINDS.get(verdict.rule, FailureKind.POLICY_BLOCKED),
        stage=Stage.BOUNDARY,
        message=verdict.reason,
        detail={"rule": verdict.rule, "policy_version": verdict.policy_version},
    )


def _verdict(policy: Policy, decision: Decision, rule: Rule, reason: str) -> Verdict:
    return Verdict(decision=decision, policy_version=policy.version, rule=rule.value, reason=reason)


def _check_scope(_: Policy, envelope: RequestEnvelope) -> str | None:
    if Scope.INFERENCE in envelope.principal.scopes:
        return None
    return f"This key lacks the scope {Scope.INFERENCE.value!r}."


def _check_key_models(_: Policy, envelope: RequestEnvelope) -> str | None:
    allowed, name = envelope.principal.models, envelope.model.name
    if not allowed or name in allowed:
        return None
    return f"This key may not use the model {name!r}."


def _check_tenant_models(policy: Policy, envelope: RequestEnvelope) -> str | None:
    name = envelope.model.name
    if name not in policy.denied_models.get(envelope.principal.tenant, ()):
        return None
    return f"This tenant may not use the model {name!r}."


def _check_input_bytes(policy: Policy, envelope: RequestEnvelope) -> str | None:
    limit = policy.max_input_bytes.get(envelope.risk)
    if limit is None or envelope.input_bytes <= limit:
        return None
    return (
        f"The input has {envelope.input_bytes} bytes; requests of risk class "
        f"{envelope.risk.value!r} may have {limit}."
    )


_INPUT_CHECKS: dict[Rule, Check] = {
    Rule.SCOPE: _check_scope,
    Rule.KEY_MODELS: _check_key_models,
    Rule.TENANT_MODELS: _check_tenant_models,
    Rule.INPUT_BYTES: _check_input_bytes,
}

_KINDS: dict[str, FailureKind] = {
    Rule.SCOPE: FailureKind.PERMISSION_DENIED,
    Rule.KEY_MODELS: FailureKind.PERMISSION_DENIED,
    Rule.TENANT_MODELS: FailureKind.PERMISSION_DENIED,
    Rule.INPUT_BYTES: FailureKind.REQUEST_TOO_LARGE,
}
