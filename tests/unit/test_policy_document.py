"""The policy file: what it may say, how mistakes are told, and what its version stands for."""

import pytest

from octant.core.envelope import RiskClass
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.ids import TenantId
from octant.core.stage import Stage
from octant.governance.document_reader import MAX_POLICY_BYTES, parse_policy
from octant.governance.pii.kinds import PiiAction, PiiKind, Where
from tests.support.policies import PERMIT_ALL, built_in, document

ACME = TenantId("acme")


def refused(text: str) -> Failure:
    with pytest.raises(Failed) as caught:
        parse_policy(text, "p.toml")
    assert caught.value.failure.stage is Stage.GOVERNANCE
    return caught.value.failure


def with_cedar(rules: str) -> str:
    return f"{rules}\n[authorization]\npolicies = '''{PERMIT_ALL}'''\n"


def test_the_built_in_policy_says_what_it_promises() -> None:
    policy = built_in()
    numbers = (PiiKind.CARD, PiiKind.IBAN, PiiKind.NATIONAL_ID)
    for where in (Where.INPUT, Where.CONTEXT):
        actions = policy.actions(ACME, where)
        assert {actions[kind] for kind in numbers} == {PiiAction.PSEUDONYMISE}
        assert actions[PiiKind.SECRET] is PiiAction.REDACT
        assert actions[PiiKind.EMAIL] is PiiAction.ALLOW
    output = policy.actions(ACME, Where.OUTPUT)
    assert {output[kind] for kind in (*numbers, PiiKind.SECRET)} == {PiiAction.REDACT}
    assert set(policy.actions(ACME, Where.TELEMETRY).values()) == {PiiAction.REDACT}
    assert policy.records(ACME)


def test_what_is_not_named_is_allowed_but_in_telemetry() -> None:
    policy = document()
    assert set(policy.actions(ACME, Where.INPUT).values()) == {PiiAction.ALLOW}
    assert set(policy.actions(ACME, Where.TELEMETRY).values()) == {PiiAction.REDACT}


def test_a_tenant_overrides_single_choices() -> None:
    policy = document(
        "[pii.input]\ncard = 'redact'\nemail = 'redact'\n"
        "[tenants.acme]\ndenied_models = ['b', 'a', 'a']\nrecord = false\n"
        "[tenants.acme.pii.input]\nemail = 'block'"
    )
    actions = policy.actions(ACME, Where.INPUT)
    assert (actions[PiiKind.CARD], actions[PiiKind.EMAIL]) == (PiiAction.REDACT, PiiAction.BLOCK)
    assert policy.denied_models(ACME) == ("a", "b")
    assert (policy.records(ACME), policy.records(TenantId("other"))) == (False, True)


def test_bounds_are_by_risk_class() -> None:
    policy = document("[limits.max_input_bytes]\nhigh = 10\nlow = 0")
    assert policy.max_input_bytes == {RiskClass.HIGH: 10, RiskClass.LOW: 0}


def test_the_version_is_that_of_the_rules_and_not_of_their_spelling() -> None:
    first = document("[pii.input]\ncard = 'redact'\nemail = 'block'\n[tenants.a]\n[tenants.b]")
    second = document(
        "# a remark\n[tenants.b]\n[tenants.a]\n[pii]\ninput = {email = 'block', card = 'redact'}"
    )
    assert first.version == second.version
    assert first.version.startswith("sha256:")
    assert len(first.version) == len("sha256:") + 64


@pytest.mark.parametrize(
    "rules",
    [
        "[pii.input]\ncard = 'block'",
        "[pii.output]\ncard = 'redact'",
        "[pii]\nphone_regions = ['DE']",
        "[telemetry]\nrecord = false",
        "[limits.max_input_bytes]\nlow = 1",
        "[tenants.a]\ndenied_models = ['m']",
        "[tenants.a]\nrecord = true",
    ],
)
def test_every_rule_is_in_the_version(rules: str) -> None:
    assert document(rules).version != document().version


def test_other_authorization_is_another_version() -> None:
    forbidding = PERMIT_ALL + '@id("no") forbid (principal, action, resource);'
    assert document(cedar=forbidding).version != document().version


@pytest.mark.parametrize(
    ("rules", "kind", "message"),
    [
        (
            "[pii.input]\ncart = 'redact'",
            FailureKind.UNKNOWN_PARAMETER,
            "p.toml:2: there is no 'pii.input.cart'. Did you mean 'card'?",
        ),
        (
            "[pii.input]\n\ncard = 'hide'",
            FailureKind.INVALID_VALUE,
            "p.toml:3: pii.input.card = 'hide': expected one of 'allow', 'redact', "
            "'pseudonymise', 'block'.",
        ),
        (
            "[pii.output]\ncard = 'pseudonymise'",
            FailureKind.INVALID_VALUE,
            "p.toml:2: pii.output.card = 'pseudonymise': expected one of 'allow', 'redact', "
            "'block'.",
        ),
        (
            "[pii.telemetry]\ncard = 'block'",
            FailureKind.INVALID_VALUE,
            "p.toml:2: pii.telemetry.card = 'block': expected one of 'allow', 'redact'.",
        ),
        (
            "[limits.max_input_bytes]\nlow = '1'",
            FailureKind.INVALID_VALUE,
            "p.toml:2: limits.max_input_bytes.low = '1': expected a whole number of at least 0.",
        ),
        (
            "[tenants.acme]\ndenied_models = 'm'",
            FailureKind.INVALID_VALUE,
            "p.toml:2: tenants.acme.denied_models = 'm': expected a list of names.",
        ),
        (
            "[telemetry]\nrecord = 1",
            FailureKind.INVALID_VALUE,
            "p.toml:2: telemetry.record = 1: expected true or false.",
        ),
        (
            "tenants = 3",
            FailureKind.INVALID_VALUE,
            "p.toml:1: tenants = 3: expected a table, [tenants].",
        ),
        (
            "format = 2",
            FailureKind.INVALID_VALUE,
            "p.toml:1: format = 2: expected 1, the newest this release reads.",
        ),
        (
            "[tenants.acme.pii.inputs]",
            FailureKind.UNKNOWN_PARAMETER,
            "p.toml:1: there is no 'tenants.acme.pii.inputs'. Did you mean 'input'?",
        ),
    ],
)
def test_a_mistake_is_told_with_its_line_and_remedy(
    rules: str, kind: FailureKind, message: str
) -> None:
    failure = refused(with_cedar(rules))
    assert (failure.kind, failure.message) == (kind, message)


def test_regions_are_checked() -> None:
    assert "'XX'" in refused(with_cedar("[pii]\nphone_regions = ['XX']")).message


def test_all_mistakes_are_told_at_once() -> None:
    failure = refused("polices = 1\n[pii.input]\ncard = 1\n[telemetry]\nrecords = true")
    assert len(failure.message.splitlines()) == 4
    assert "authorization.policies" in failure.message


@pytest.mark.parametrize(
    ("cedar", "told"),
    [
        ("permit (principal, action, resource);", "have no name"),
        ('@id("a") permit (principal, action, resource)', "cannot be read"),
        (PERMIT_ALL * 2, "'all'; give each its own @id"),
        ('@id("a") permit (principal, action == Action::"UseModl", resource);', "UseModl"),
        (
            '@id("a") permit (principal, action, resource) when { resource.colour == "red" };',
            "'a' does not fit",
        ),
        ('@id("a") permit (principal == ?principal, action, resource);', "templates"),
    ],
)
def test_cedar_that_cannot_be_enforced_is_refused(cedar: str, told: str) -> None:
    failure = refused(f"[authorization]\npolicies = '''{cedar}'''")
    assert told in failure.message
    assert failure.message.startswith("p.toml:2: ")


def test_what_is_no_toml_says_where() -> None:
    assert "line 1" in refused("a = = 1").message


def test_a_file_has_a_bound() -> None:
    assert str(MAX_POLICY_BYTES) in refused("#" * (MAX_POLICY_BYTES + 1)).message
