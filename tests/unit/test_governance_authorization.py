"""Who may do what: the baseline, the Cedar policies, and the verdicts that name them."""

from typing import Any

import msgspec
import pytest

from octant.core.content import ToolDefinition
from octant.core.envelope import (
    ContextPolicy,
    ModelConstraints,
    RequestEnvelope,
    RiskClass,
    ToolGrant,
)
from octant.core.evidence import Classification, Document
from octant.core.failure import FailureKind
from octant.core.identity import PrincipalRole, Scope
from octant.core.ids import ActorId, KeyId, TenantId
from octant.core.stage import Stage
from octant.core.tools import SideEffect, ToolSpec
from octant.core.verdict import Decision
from octant.governance.authorization import MAX_REMEMBERED, Action, Rule
from octant.governance.governor import INPUT_BYTES, Governor
from tests.support.envelopes import PRINCIPAL, envelope
from tests.support.policies import PERMIT_ALL, built_in, governor

BUILT_IN = Governor(built_in())


def as_principal(**changes: Any) -> RequestEnvelope:
    return envelope(principal=msgspec.structs.replace(PRINCIPAL, **changes))


def tool(side_effect: SideEffect) -> ToolSpec:
    return ToolSpec(definition=ToolDefinition(name="send"), version="1", side_effect=side_effect)


def test_an_ordinary_request_is_permitted_by_a_named_policy() -> None:
    verdict = BUILT_IN.admit(envelope())
    assert verdict.decision is Decision.ALLOW
    assert verdict.rule == "authorise.cedar.default.models"
    assert verdict.policy_version == built_in().version


@pytest.mark.parametrize(
    ("asked", "rule", "kind"),
    [
        (as_principal(scopes=(Scope.METRICS_READ,)), Rule.SCOPE, FailureKind.PERMISSION_DENIED),
        (as_principal(models=("x",)), Rule.KEY_MODELS, FailureKind.PERMISSION_DENIED),
        (
            envelope(model=ModelConstraints(name="secret")),
            Rule.TENANT_MODELS,
            FailureKind.PERMISSION_DENIED,
        ),
        (
            envelope(input_bytes=11, risk=RiskClass.HIGH),
            INPUT_BYTES,
            FailureKind.REQUEST_TOO_LARGE,
        ),
    ],
)
def test_each_rule_refuses_with_its_kind(
    asked: RequestEnvelope, rule: str, kind: FailureKind
) -> None:
    strict = governor(
        "[limits.max_input_bytes]\nhigh = 10\n[tenants.acme]\ndenied_models = ['secret']"
    )
    verdict = strict.admit(asked)
    failure = strict.refusal(verdict, Stage.GOVERNANCE)
    assert (verdict.decision, verdict.rule) == (Decision.BLOCK, rule)
    assert (failure.kind, failure.stage) == (kind, Stage.GOVERNANCE)
    assert failure.detail == {"rule": rule, "policy_version": strict.version}
    assert failure.message == verdict.reason


def test_bounds_and_denials_are_for_those_they_name() -> None:
    strict = governor(
        "[limits.max_input_bytes]\nhigh = 10\n[tenants.umbrella]\ndenied_models = ['m']"
    )
    assert strict.admit(envelope(input_bytes=11)).decision is Decision.ALLOW
    assert strict.admit(envelope(input_bytes=10, risk=RiskClass.HIGH)).decision is Decision.ALLOW
    denied = strict.admit(as_principal(tenant=TenantId("umbrella")))
    assert denied.rule == Rule.TENANT_MODELS


def test_a_key_may_use_the_models_it_lists() -> None:
    assert BUILT_IN.admit(as_principal(models=("m", "x"))).decision is Decision.ALLOW


def test_any_other_block_is_a_block_of_policy() -> None:
    by = governor("[pii.input]\ncard = 'block'")
    asked = envelope()
    verdict = by.screen(asked, {}).verdict
    blocked = msgspec.structs.replace(verdict, decision=Decision.BLOCK, rule="pii.input.card")
    assert by.refusal(blocked, Stage.GOVERNANCE).kind is FailureKind.POLICY_BLOCKED


def test_what_no_policy_permits_is_refused() -> None:
    by = governor(cedar='@id("s") permit (principal, action == Action::"UseSession", resource);')
    verdict = by.admit(envelope())
    assert verdict.rule == Rule.NOT_PERMITTED
    assert by.refusal(verdict, Stage.GOVERNANCE).kind is FailureKind.PERMISSION_DENIED


def test_one_forbid_outweighs_every_permit_and_says_why() -> None:
    by = governor(
        cedar=PERMIT_ALL
        + """
@id("no-large-at-risk")
@reason("High risk goes to the small model.")
forbid (principal in Tenant::"acme", action == Action::"UseModel", resource == Model::"large")
when { context.risk == "high" };"""
    )
    large = ModelConstraints(name="large")
    verdict = by.admit(envelope(model=large, risk=RiskClass.HIGH))
    assert verdict.rule == "authorise.cedar.no-large-at-risk"
    assert verdict.reason == "High risk goes to the small model."
    assert by.admit(envelope(model=large)).decision is Decision.ALLOW
    assert by.admit(envelope(risk=RiskClass.HIGH)).decision is Decision.ALLOW
    other = msgspec.structs.replace(PRINCIPAL, tenant=TenantId("umbrella"))
    asked = envelope(model=large, risk=RiskClass.HIGH, principal=other)
    assert by.admit(asked).decision is Decision.ALLOW


@pytest.mark.parametrize(
    ("side_effect", "decision"),
    [
        (SideEffect.READ, Decision.ALLOW),
        (SideEffect.REVERSIBLE_WRITE, Decision.ALLOW),
        (SideEffect.IRREVERSIBLE_WRITE, Decision.BLOCK),
        (SideEffect.PRIVILEGED, Decision.BLOCK),
    ],
)
def test_tools_are_judged_by_what_they_can_do(side_effect: SideEffect, decision: Decision) -> None:
    verdict = BUILT_IN.authorise_tool(PRINCIPAL, tool(side_effect), {"to": "jane"})
    assert verdict.decision is decision


def test_a_grant_is_refused_only_where_no_call_could_be_made() -> None:
    granted = envelope(tools=ToolGrant(allowed=("send",)))
    assert BUILT_IN.admit(granted).decision is Decision.ALLOW
    by = governor(
        cedar='@id("m") permit (principal, action == Action::"UseModel", resource);'
        '@id("t") permit (principal, action == Action::"UseTool", resource == Tool::"clock");'
    )
    assert by.admit(envelope(tools=ToolGrant(allowed=("clock",)))).decision is Decision.ALLOW
    verdict = by.admit(envelope(tools=ToolGrant(allowed=("clock", "send"))))
    assert verdict.rule == Rule.NOT_PERMITTED
    assert verdict.reason.startswith("The tool 'send' may not be used: ")


def test_policies_can_look_at_arguments_once_there_are_some() -> None:
    by = governor(
        cedar=PERMIT_ALL
        + """
@id("only-inside") forbid (principal, action == Action::"UseTool", resource)
when { context has arguments && !(context.arguments like "*@example.com*") };"""
    )
    spec = tool(SideEffect.READ)
    assert by.admit(envelope(tools=ToolGrant(allowed=("send",)))).decision is Decision.ALLOW
    inside = by.authorise_tool(PRINCIPAL, spec, {"to": "jane@example.com"})
    outside = by.authorise_tool(PRINCIPAL, spec, {"to": "jane@elsewhere.org"})
    assert (inside.decision, outside.decision) == (Decision.ALLOW, Decision.BLOCK)


def test_documents_are_judged_by_class_and_source() -> None:
    by = governor(
        cedar=PERMIT_ALL
        + """
@id("secret-papers") forbid (principal, action == Action::"UseSource", resource)
when { resource.classification == "confidential" || resource.source like "http:*" };"""
    )

    def with_document(**changes: Any) -> RequestEnvelope:
        document = Document(id="paper", text="", **changes)
        return envelope(context=ContextPolicy(documents=(document,)))

    assert by.admit(with_document()).decision is Decision.ALLOW
    for changes in (
        {"classification": Classification.CONFIDENTIAL},
        {"source": "http://example.com"},
    ):
        verdict = by.admit(with_document(**changes))
        assert verdict.rule == "authorise.cedar.secret-papers"
        assert "'paper'" in verdict.reason


def test_keys_actors_and_roles_can_be_told_apart() -> None:
    by = governor(
        cedar="""
@id("key") permit (principal == Key::"key_9", action, resource);
@id("own") permit (principal, action == Action::"UseSession", resource)
when { resource.actor == principal.actor };
@id("role")
permit (principal in Role::"operator", action == Action::"ManageDeployments", resource);"""
    )

    def asked(action: Action, attributes: dict[str, str], **changes: Any) -> bool:
        principal = msgspec.structs.replace(PRINCIPAL, scopes=tuple(Scope), **changes)
        return by.authorise(principal, action, "x", attributes).decision is Decision.ALLOW

    assert asked(Action.USE_MODEL, {}, key_id=KeyId("key_9"))
    assert not asked(Action.USE_MODEL, {})
    assert asked(Action.USE_SESSION, {"actor": "alice"})
    assert not asked(Action.USE_SESSION, {"actor": "alice"}, actor=ActorId("bob"))
    assert asked(Action.MANAGE_DEPLOYMENTS, {}, role=PrincipalRole.OPERATOR)
    assert not asked(Action.MANAGE_DEPLOYMENTS, {})


def test_each_action_needs_its_scope() -> None:
    operator = msgspec.structs.replace(PRINCIPAL, scopes=(Scope.DEPLOYMENTS,))
    assert BUILT_IN.authorise(operator, Action.MANAGE_DEPLOYMENTS, "d", {}).decision is (
        Decision.ALLOW
    )
    for action in (Action.USE_MODEL, Action.USE_TOOL, Action.USE_SESSION):
        assert BUILT_IN.authorise(operator, action, "x", {}).rule == Rule.SCOPE


def test_an_unknown_attribute_is_a_defect_and_not_a_permission() -> None:
    with pytest.raises(KeyError, match="colour"):
        BUILT_IN.authorise(PRINCIPAL, Action.USE_MODEL, "m", {"colour": "red"})


def test_a_policy_that_fails_while_it_is_asked_refuses() -> None:
    largest = 2**63 - 1
    by = governor(
        cedar=PERMIT_ALL
        + f"""
@id("overflow") forbid (principal, action == Action::"UseModel", resource)
when {{ {largest} + 1 > 0 }};"""
    )
    verdict = by.admit(envelope())
    assert (verdict.decision, verdict.rule) == (Decision.BLOCK, Rule.POLICY_ERROR)


def test_answers_do_not_change_with_what_was_asked_before() -> None:
    by = governor(
        cedar='@id("m") permit (principal in Tenant::"t7", action == Action::"UseModel", resource);'
    )
    for number in (*range(MAX_REMEMBERED + 10), 7, 6):
        principal = msgspec.structs.replace(PRINCIPAL, tenant=TenantId(f"t{number}"))
        allowed = by.authorise(principal, Action.USE_MODEL, "m", {}).decision
        assert (allowed is Decision.ALLOW) is (number == 7)
