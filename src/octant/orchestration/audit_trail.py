"""The audit trail of a request: who did what, under which rule, with what result. Pure (GV6).

Law: one record for the request itself, one for every verdict that changed or blocked something, and
one for every tool call, all committed with the settlement. They hold ids, digests and counts.
"""

from octant.core.audit import AuditRecord
from octant.core.envelope import RequestEnvelope
from octant.core.failure import Failure
from octant.core.outcome import Outcome
from octant.core.summary import PolicyDecision
from octant.core.tools import ToolOutcome
from octant.core.verdict import Decision
from octant.orchestration.account import RunAccount

Detail = dict[str, str | int]


def audit_of(account: RunAccount, outcome: Outcome, at_unix_ns: int) -> tuple[AuditRecord, ...]:
    """The records of a request that ended as `outcome` says."""
    envelope, policy = account.envelope, account.policy_version
    decided = [
        _record(envelope, at_unix_ns, *_of_decision(decision))
        for decision in account.decisions
        if decision.verdict.decision is not Decision.ALLOW
    ]
    used = [_record(envelope, at_unix_ns, *_of_tool(tool, policy)) for tool in account.tools]
    return (*decided, *used, _record(envelope, at_unix_ns, *_of_request(account, outcome)))


def store_recovered(envelope: RequestEnvelope, at_unix_ns: int) -> AuditRecord:
    """The first record after one could not be kept: from here on the log is whole again."""
    action = ("store.recovered", Decision.ALLOW.value, "", "audit.mandatory", Detail())
    return _record(envelope, at_unix_ns, *action)


def _record(
    envelope: RequestEnvelope,
    at_unix_ns: int,
    action: str,
    decision: str,
    policy_version: str,
    rule: str,
    detail: Detail,
) -> AuditRecord:
    return AuditRecord(
        request_id=envelope.request_id,
        tenant=envelope.principal.tenant,
        key_id=envelope.principal.key_id,
        action=action,
        decision=decision,
        policy_version=policy_version,
        rule=rule,
        at_unix_ns=at_unix_ns,
        detail=detail,
    )


def _of_request(account: RunAccount, outcome: Outcome) -> tuple[str, str, str, str, Detail]:
    detail: Detail = {
        "model": outcome.model,
        "route": outcome.route or "",
        "attempts": outcome.attempts,
        "total_tokens": outcome.usage.total_tokens,
        "cost_nano_usd": outcome.cost_nano_usd,
    }
    rule = account.decisions[0].verdict.rule if account.decisions else ""
    failed = _of_failure(outcome.failure)
    return "inference", outcome.status.value, account.policy_version, rule, detail | failed


def _of_failure(failure: Failure | None) -> Detail:
    """What the error body and the trace say too."""
    if failure is None:
        return {}
    return {
        "failure": failure.kind.value,
        "failure_class": failure.rule.failure_class.value,
        "stage": failure.stage.value,
        "retry": failure.rule.retry.value,
    }


def _of_decision(decision: PolicyDecision) -> tuple[str, str, str, str, Detail]:
    verdict = decision.verdict
    detail: Detail = {"stage": decision.stage, **verdict.findings}
    return "policy", verdict.decision.value, verdict.policy_version, verdict.rule, detail


def _of_tool(tool: ToolOutcome, policy_version: str) -> tuple[str, str, str, str, Detail]:
    detail: Detail = {
        "tool": tool.tool,
        "version": tool.version,
        "call_id": tool.call_id,
        "side_effect": tool.side_effect.value,
        "idempotency_key": tool.idempotency_key,
        "arguments": tool.arguments_digest,
        "result": tool.result_digest or "",
    }
    rule = str(tool.failure.detail.get("rule", "")) if tool.failure else ""
    return "tool", tool.status.value, policy_version, rule, detail | _of_failure(tool.failure)
