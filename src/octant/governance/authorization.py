"""Authorization: who may do what, by a baseline in code and by the policy file's Cedar policies.

    Question (principal, action, resource, circumstances) -> Ruling

Law: the baseline comes first and no file can widen it: a key needs the scope of the action, may use
only the models it lists, and never touches another tenant's session. Then a policy has to permit
the action and none may forbid it. A policy that fails while it is asked refuses. Answers depend on
the question alone, so they are remembered.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple, cast

from cedarpy import Decision as CedarDecision
from cedarpy import (
    PolicySet,
    Schema,
    is_authorized,  # pyright: ignore[reportUnknownVariableType]  # bare dicts in its signature
    policies_to_json_str,
    validate_policies,  # pyright: ignore[reportUnknownVariableType]  # bare dicts in its signature
)

from octant.core.identity import Principal, Scope

SCHEMA = """\
entity Tenant;
entity Role;
entity Key in [Tenant, Role] { tenant: String, role: String, actor: String };
entity Model { name: String };
entity Tool { name: String, side_effect: String, version: String };
entity Document { classification: String, source: String };
entity Session { actor: String };
entity Deployment { model: String };
action UseModel appliesTo {
  principal: Key, resource: Model, context: { risk: String, profile: String, api: String }
};
action UseTool appliesTo { principal: Key, resource: Tool, context: { arguments?: String } };
action UseSource appliesTo { principal: Key, resource: Document, context: {} };
action UseSession appliesTo { principal: Key, resource: Session, context: {} };
action ManageDeployments appliesTo { principal: Key, resource: Deployment, context: {} };
"""
"""What policies can speak about. `side_effect` is read, reversible_write, irreversible_write or
privileged; `classification` is public, internal or confidential."""

MAX_REMEMBERED = 4_096
"""Rulings kept, about 1 KB each: one takes 90 us to find and 2 us to remember."""


class Action(StrEnum):
    """What can be asked for."""

    USE_MODEL = "UseModel"
    USE_TOOL = "UseTool"
    USE_SOURCE = "UseSource"
    USE_SESSION = "UseSession"
    MANAGE_DEPLOYMENTS = "ManageDeployments"


class Rule(StrEnum):
    """Rules of the baseline, and what is said where no policy permits."""

    SCOPE = "authorise.scope"
    KEY_MODELS = "authorise.key_models"
    TENANT_MODELS = "authorise.tenant_models"
    SESSION_TENANT = "authorise.session_tenant"
    NOT_PERMITTED = "authorise.not_permitted"
    POLICY_ERROR = "authorise.policy_error"


CEDAR_RULE = "authorise.cedar."
"""Before the `@id` of the policy that decided."""


class _Shape(NamedTuple):
    """What a question about an action consists of."""

    resource: str
    attributes: tuple[str, ...]
    circumstances: tuple[str, ...]
    scope: Scope


_SHAPES: dict[Action, _Shape] = {
    Action.USE_MODEL: _Shape("Model", ("name",), ("risk", "profile", "api"), Scope.INFERENCE),
    Action.USE_TOOL: _Shape(
        "Tool", ("name", "side_effect", "version"), ("arguments",), Scope.INFERENCE
    ),
    Action.USE_SOURCE: _Shape("Document", ("classification", "source"), (), Scope.INFERENCE),
    Action.USE_SESSION: _Shape("Session", ("actor",), (), Scope.INFERENCE),
    Action.MANAGE_DEPLOYMENTS: _Shape("Deployment", ("model",), (), Scope.DEPLOYMENTS),
}
_OPTIONAL = frozenset({"arguments"})


class Ruling(NamedTuple):
    """Whether it may be done, by which rule, and why."""

    allowed: bool
    rule: str
    reason: str


class _Question(NamedTuple):
    tenant: str
    role: str
    key: str
    actor: str
    action: Action
    resource: str
    attributes: tuple[str, ...]
    circumstances: tuple[str | None, ...]


class _Policy(NamedTuple):
    id: str
    reason: str


def policy_problems(policies: str) -> list[str]:
    """Why Cedar text cannot be enforced: syntax, schema, missing or repeated ids; empty if it can.

    A sentence each, with what to do.
    """
    try:
        PolicySet.from_str(policies)
        parsed = _parsed(policies)
    except ValueError as error:
        return [f"the Cedar policies cannot be read: {error}."]
    written = _annotations(parsed)
    ids = Counter(annotations.get("id", "") for annotations in written.values())
    problems: list[str] = []
    if ids[""]:
        problems.append(f'{ids[""]} Cedar policies have no name; write @id("...") before each.')
    problems += [
        f"{count} Cedar policies are named {name!r}; give each its own @id."
        for name, count in ids.items()
        if name and count > 1
    ]
    if parsed.get("templates"):
        problems.append(
            "Cedar templates (?principal, ?resource) are not filled in; write policies."
        )
    checked = validate_policies(policies, SCHEMA)
    for error in checked.errors:
        name = written.get(error.policy_id, {}).get("id", error.policy_id)
        told = error.error.replace(f"for policy `{error.policy_id}`, ", "")
        problems.append(f"the Cedar policy {name!r} does not fit: {told}.")
    return problems


def policy_names(policies: str) -> list[str]:
    """The `@id` of every policy, sorted."""
    return sorted(written["id"] for written in _annotations(_parsed(policies)).values())


def attribute_names(action: Action) -> tuple[str, ...]:
    """What a question about the action can tell of resource and circumstances."""
    shape = _SHAPES[action]
    return shape.attributes + shape.circumstances


def scope_of(action: Action) -> Scope:
    """The scope without which no policy is asked."""
    return _SHAPES[action].scope


class Authoriser:
    """Asks the baseline and the policies. The text has no `policy_problems`."""

    def __init__(self, policies: str) -> None:
        self._policies = PolicySet.from_str(policies)
        self._schema = Schema.from_str(SCHEMA)
        self._named = {
            name: _Policy(annotations["id"], annotations.get("reason", ""))
            for name, annotations in _annotations(_parsed(policies)).items()
        }
        # What no policy can tell apart is left out of the question, so that answers are reused.
        written = json.dumps(_parsed(policies))
        self._names = {kind for kind in _entity_types() if f'"type": "{kind}"' in written}
        self._words = frozenset(re.findall(r"\w+", written))
        self._remembered = lru_cache(MAX_REMEMBERED)(self._decide)

    def ask(
        self,
        principal: Principal,
        action: Action,
        resource: str,
        attributes: Mapping[str, str],
    ) -> Ruling:
        """The ruling. `attributes` describe resource and circumstances; what is not told is empty.

        Raises KeyError for an attribute that the schema does not have.
        """
        shape = _SHAPES[action]
        refused = _baseline(principal, action, resource, attributes)
        if refused is not None:
            return refused
        unknown = attributes.keys() - {*shape.attributes, *shape.circumstances, "tenant"}
        if unknown:
            raise KeyError(f"{action.value} knows no attribute {sorted(unknown)[0]!r}")
        named = shape.resource in self._names
        return self._remembered(
            _Question(
                tenant=principal.tenant,
                role=principal.role.value,
                key=principal.key_id if "Key" in self._names else "",
                actor=principal.actor if "actor" in self._words else "",
                action=action,
                resource=resource if named else "",
                attributes=tuple(self._told(attributes, name) or "" for name in shape.attributes),
                circumstances=tuple(self._told(attributes, name) for name in shape.circumstances),
            )
        )

    def _told(self, attributes: Mapping[str, str], name: str) -> str | None:
        told = attributes.get(name) if name in self._words else None
        return told if told is not None or name in _OPTIONAL else ""

    def _decide(self, question: _Question) -> Ruling:
        shape = _SHAPES[question.action]
        key = {"type": "Key", "id": question.key}
        resource = {"type": shape.resource, "id": question.resource}
        entities: list[dict[str, Any]] = [
            {
                "uid": key,
                "attrs": {
                    "tenant": question.tenant,
                    "role": question.role,
                    "actor": question.actor,
                },
                "parents": [
                    {"type": "Tenant", "id": question.tenant},
                    {"type": "Role", "id": question.role},
                ],
            },
            {
                "uid": resource,
                "attrs": dict(zip(shape.attributes, question.attributes, strict=True)),
                "parents": [],
            },
        ]
        circumstances = zip(shape.circumstances, question.circumstances, strict=True)
        answer = is_authorized(
            {
                "principal": key,
                "action": {"type": "Action", "id": question.action.value},
                "resource": resource,
                "context": {name: value for name, value in circumstances if value is not None},
            },
            self._policies,
            json.dumps(entities),
            self._schema,
        )
        decided = answer.diagnostics.reasons
        return self._ruling(answer.decision, decided, answer.diagnostics.errors, question)

    def _ruling(
        self, decision: CedarDecision, decided: list[str], errors: list[str], question: _Question
    ) -> Ruling:
        if errors or decision is CedarDecision.NoDecision:
            return Ruling(False, Rule.POLICY_ERROR, f"A policy failed while it was asked: {errors}")
        allowed = decision is CedarDecision.Allow
        if not decided:
            reason = f"No policy permits {question.action.value} here."
            return Ruling(False, Rule.NOT_PERMITTED, reason)
        policy = min((self._named[name] for name in decided), key=lambda policy: policy.id)
        said = policy.reason or (
            f"The policy {policy.id!r} {'permits' if allowed else 'forbids'} this."
        )
        return Ruling(allowed, CEDAR_RULE + policy.id, said)


def _baseline(
    principal: Principal, action: Action, resource: str, attributes: Mapping[str, str]
) -> Ruling | None:
    """What no policy file can widen; None where the baseline has nothing against it."""
    scope = _SHAPES[action].scope
    if scope not in principal.scopes:
        return Ruling(False, Rule.SCOPE, f"This key lacks the scope {scope.value!r}.")
    if action is Action.USE_MODEL and principal.models and resource not in principal.models:
        return Ruling(False, Rule.KEY_MODELS, f"This key may not use the model {resource!r}.")
    owner = attributes.get("tenant", principal.tenant)
    if action is Action.USE_SESSION and owner != principal.tenant:
        return Ruling(False, Rule.SESSION_TENANT, "There is no such session for this tenant.")
    return None


def _parsed(policies: str) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(policies_to_json_str(policies)))


def _annotations(parsed: dict[str, Any]) -> dict[str, dict[str, str]]:
    """`@id` and `@reason` by the name Cedar gives each policy."""
    static = cast("dict[str, dict[str, Any]]", parsed.get("staticPolicies", {}))
    written: dict[str, dict[str, str]] = {}
    for name, policy in static.items():
        annotations = cast("dict[str, str | None]", policy.get("annotations") or {})
        written[name] = {key: value or "" for key, value in annotations.items()}
    return written


def _entity_types() -> tuple[str, ...]:
    return tuple(re.findall(r"^entity (\w+)", SCHEMA, re.MULTILINE))
