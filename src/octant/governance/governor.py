"""Governor: the only door to governance; every question of the request path is asked here.

    admit(envelope)            who may ask this at all, before any work
    screen(envelope, ...)      what of it a model may see
    authorise...               each action, when it is about to happen
    screen_text(...)           what a tool said
    guard(...)                 what of the answer a caller may see
    screen_said, recordable    what of it is kept

Law: every answer is a Verdict with the version of the policy, the rule and the reason; it follows
from the document and the question alone. Authority is the principal's, and nothing in a text can
widen it (GV1, GV2).
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from octant.core.content import ChatInput, Input, Message, TokenPrompt
from octant.core.envelope import RequestEnvelope
from octant.core.evidence import Document
from octant.core.failure import Failure, FailureKind
from octant.core.identity import Principal
from octant.core.ids import TenantId
from octant.core.session import Session
from octant.core.stage import Stage
from octant.core.tools import SideEffect, ToolSpec
from octant.core.verdict import Decision, Verdict
from octant.governance.authorization import Action, Authoriser, Rule, Ruling
from octant.governance.document import PolicyDocument
from octant.governance.pii.kinds import PiiAction, PiiKind, Where
from octant.governance.pii.plain import plain
from octant.governance.pii.recognise import Recogniser
from octant.governance.screening import (
    Choices,
    Directions,
    Screen,
    redacted,
    screen_documents,
    screen_input,
    screen_said,
    texts_of,
)
from octant.governance.stream_guard import GuardSettings, StreamGuard
from octant.governance.stream_lane import OutputRules
from octant.governance.vault import Vault

INPUT_BYTES = "input.max_bytes"
UNSCREENED = "pii.input.unscreened_tokens"
MAX_TENANTS = 1_024
"""Tenants whose choices are kept ready; to make them again takes 100 us."""


class Screened(NamedTuple):
    """The envelope as it goes on, what was taken out of it, and what was decided.

    `recordable` is False where what stayed in it must not be kept with telemetry.
    """

    envelope: RequestEnvelope
    vault: Vault
    verdict: Verdict
    recordable: bool


class ScreenedText(NamedTuple):
    """A text as it goes on. On a BLOCK it is empty."""

    text: str
    verdict: Verdict


class _Tenant(NamedTuple):
    choices: dict[Where, Choices]
    guard: GuardSettings
    telemetry: Recogniser
    records: bool
    denied_models: frozenset[str]


class Governor:
    """One policy document, ready to be asked. Stateless but for what it remembers of answers."""

    def __init__(self, document: PolicyDocument) -> None:
        self.document = document
        self.version = document.version
        self._authoriser = Authoriser(document.authorization)
        self._tenant = lru_cache(MAX_TENANTS)(self._make_tenant)
        self._recogniser = lru_cache(2 ** len(PiiKind))(self._make_recogniser)

    def admit(self, envelope: RequestEnvelope) -> Verdict:
        """Whether the request may be worked on; the first rule against it is told."""
        principal, model = envelope.principal, envelope.model.name
        used = self.authorise(
            principal,
            Action.USE_MODEL,
            model,
            {
                "name": model,
                "risk": envelope.risk.value,
                "profile": envelope.profile.value,
                "api": envelope.api.value,
            },
        )
        if used.decision is Decision.BLOCK:
            return used
        if model in self._tenant(principal.tenant).denied_models:
            reason = f"This tenant may not use the model {model!r}."
            return self._verdict(Decision.BLOCK, Rule.TENANT_MODELS, reason)
        refused = self._refused_use(envelope) or self._oversize(envelope)
        return refused or used

    def screen(self, envelope: RequestEnvelope, placeholders: dict[str, str]) -> Screened:
        """The envelope as a model may see it; `placeholders` are those of its session.

        On a BLOCK the envelope is the one that was given.
        """
        tenant = self._tenant(envelope.principal.tenant)
        screen = Screen(vault := Vault(placeholders))
        directions = Directions(tenant.choices[Where.INPUT], tenant.choices[Where.CONTEXT])
        treated = screen_input(envelope.input, screen, directions)
        documents = screen_documents(envelope.context.documents, screen, directions.context)
        if screen.blocked:
            return Screened(envelope, vault, self._screened(screen), False)
        changed = msgspec.structs.replace(
            envelope,
            input=treated,
            context=msgspec.structs.replace(envelope.context, documents=documents),
        )
        if isinstance(envelope.input, TokenPrompt):
            verdict = self._unscreened(tenant)
        else:
            verdict = self._screened(screen)
        clean = _is_clean(changed.input, changed.context.documents, tenant)
        return Screened(changed, vault, verdict, tenant.records and clean)

    def screen_text(self, tenant: TenantId, where: Where, text: str, vault: Vault) -> ScreenedText:
        """One text as it may go on, placeholders in place.

        CONTEXT is what a tool said, INPUT what a caller says later; OUTPUT is what a model said,
        where it is kept: without the values that no caller was sent.
        """
        screen = Screen(vault)
        treated = screen.text(text, where, self._tenant(tenant).choices[where])
        return ScreenedText("" if screen.blocked else treated, self._screened(screen, where))

    def authorise_tool(
        self, principal: Principal, spec: ToolSpec, arguments: dict[str, Any]
    ) -> Verdict:
        """Whether this call of a tool may be made."""
        told = {
            "name": spec.name,
            "side_effect": spec.side_effect.value,
            "version": spec.version,
            "arguments": json.dumps(arguments, sort_keys=True, ensure_ascii=False),
        }
        return self.authorise(principal, Action.USE_TOOL, spec.name, told)

    def authorise_session(self, principal: Principal, session: Session) -> Verdict:
        """Whether the session may be read, gone on with, branched or deleted."""
        told: dict[str, str] = {"actor": session.actor, "tenant": session.tenant}
        return self.authorise(principal, Action.USE_SESSION, session.id, told)

    def authorise_change(self, principal: Principal, resource_id: str, model: str) -> Verdict:
        """Whether recipes, deployments and traffic of the model may be changed there."""
        return self.authorise(principal, Action.MANAGE_DEPLOYMENTS, resource_id, {"model": model})

    def authorise(
        self, principal: Principal, action: Action, resource_id: str, attributes: dict[str, str]
    ) -> Verdict:
        """Whether the principal may do this. Raises KeyError for an attribute that is not known."""
        return self._ruled(self._authoriser.ask(principal, action, resource_id, attributes))

    def screen_said(
        self, tenant: TenantId, messages: Sequence[Message], vault: Vault
    ) -> tuple[Message, ...]:
        """What a model and its tools said, as it may be kept: without what no caller was sent.

        Nothing at all where one of the messages holds a value that is blocked.
        """
        choices = self._tenant(tenant).choices[Where.OUTPUT]
        if not choices.actions:
            return tuple(messages)
        screen = Screen(vault)
        said = tuple(screen_said(message, screen, choices) for message in messages)
        return () if screen.blocked else said

    def guard(
        self, tenant: TenantId, vault: Vault, choices: int, *, as_json: bool = False
    ) -> StreamGuard:
        """A guard for one answer of `choices` choices, each a JSON text with `as_json`."""
        return StreamGuard(self._tenant(tenant).guard, vault, choices, as_json=as_json)

    def recordable(self, tenant: TenantId, messages: Sequence[Message]) -> bool:
        """Whether all of this may be kept with telemetry."""
        by = self._tenant(tenant)
        return by.records and _is_clean(ChatInput(messages=tuple(messages)), (), by)

    def records_content(self, tenant: TenantId) -> bool:
        """Whether tokens of the tenant's runs may be kept at all; a run can still hold a value."""
        return self._tenant(tenant).records

    def telemetry_text(self, tenant: TenantId, text: str) -> str:
        """The text as it may stand in logs, spans and records."""
        recogniser = self._tenant(tenant).telemetry
        read = plain(text)
        parts: list[str] = []
        place = 0
        for found in recogniser.scan(read.text):
            parts += (text[place : read.original(found.start, len(text))], redacted(found.kind))
            place = read.original(found.end, len(text))
        return "".join((*parts, text[place:]))

    def refusal(self, verdict: Verdict, stage: Stage) -> Failure:
        """What a caller is told of a BLOCK: missing authority, size, or another rule."""
        if verdict.rule == INPUT_BYTES:
            kind = FailureKind.REQUEST_TOO_LARGE
        elif verdict.rule.startswith("authorise."):
            kind = FailureKind.PERMISSION_DENIED
        else:
            kind = FailureKind.POLICY_BLOCKED
        return Failure(
            kind=kind,
            stage=stage,
            message=verdict.reason,
            detail={"rule": verdict.rule, "policy_version": verdict.policy_version},
        )

    def _refused_use(self, envelope: RequestEnvelope) -> Verdict | None:
        for name in envelope.tools.allowed:
            ruling = self._could_use(envelope.principal, name)
            if not ruling.allowed:
                reason = f"The tool {name!r} may not be used: {ruling.reason}"
                return self._ruled(ruling._replace(reason=reason))
        for document in envelope.context.documents:
            ruling = self._may_read(envelope.principal, document)
            if not ruling.allowed:
                reason = f"The document {document.id!r} may not be used: {ruling.reason}"
                return self._ruled(ruling._replace(reason=reason))
        return None

    def _could_use(self, principal: Principal, name: str) -> Ruling:
        """What a tool does is known when it is called: here it passes if it may do anything."""
        rulings = [
            self._authoriser.ask(
                principal,
                Action.USE_TOOL,
                name,
                {"name": name, "side_effect": side_effect.value},
            )
            for side_effect in SideEffect
        ]
        return next((ruling for ruling in rulings if ruling.allowed), rulings[0])

    def _may_read(self, principal: Principal, document: Document) -> Ruling:
        told = {"classification": document.classification.value, "source": document.source}
        return self._authoriser.ask(principal, Action.USE_SOURCE, document.id, told)

    def _oversize(self, envelope: RequestEnvelope) -> Verdict | None:
        limit = self.document.max_input_bytes.get(envelope.risk)
        if limit is None or envelope.input_bytes <= limit:
            return None
        return self._verdict(
            Decision.BLOCK,
            INPUT_BYTES,
            f"The input has {envelope.input_bytes} bytes; requests of risk class "
            f"{envelope.risk.value!r} may have {limit}.",
        )

    def _screened(self, screen: Screen, where: Where = Where.INPUT) -> Verdict:
        found = {kind.value: count for kind, count in sorted(screen.findings.items())}
        if screen.literals:
            found["placeholder"] = screen.literals
        if screen.blocked:
            kind, where = next(iter(screen.blocked.items()))
            reason = f"The {where.value} holds a value of kind {kind.value!r}, which is blocked."
            rule, decision = f"pii.{where.value}.{kind.value}", Decision.BLOCK
        elif found:
            count = sum(found.values())
            reason = "1 value was replaced." if count == 1 else f"{count} values were replaced."
            rule, decision = f"pii.{where.value}", Decision.CHANGE
        else:
            reason = "Nothing had to be replaced."
            rule, decision = f"pii.{where.value}", Decision.ALLOW
        return self._verdict(decision, rule, reason, found)

    def _unscreened(self, tenant: _Tenant) -> Verdict:
        if tenant.choices[Where.INPUT].blocks():
            reason = "Prompts of token ids cannot be screened; send text."
            return self._verdict(Decision.BLOCK, UNSCREENED, reason)
        if not tenant.choices[Where.INPUT].actions:
            return self._verdict(Decision.ALLOW, "pii.input", "Nothing had to be replaced.")
        return self._verdict(Decision.WARN, UNSCREENED, "A prompt of token ids was not screened.")

    def _ruled(self, ruling: Ruling) -> Verdict:
        decision = Decision.ALLOW if ruling.allowed else Decision.BLOCK
        return self._verdict(decision, ruling.rule, ruling.reason)

    def _verdict(
        self, decision: Decision, rule: str, reason: str, findings: dict[str, int] | None = None
    ) -> Verdict:
        return Verdict(
            decision=decision,
            policy_version=self.version,
            rule=str(rule),
            reason=reason,
            findings=findings or {},
        )

    def _make_tenant(self, tenant: TenantId) -> _Tenant:
        actions = {where: self._acted(tenant, where) for where in Where}
        pseudonyms = any(
            PiiAction.PSEUDONYMISE in actions[where].values()
            for where in (Where.INPUT, Where.CONTEXT)
        )
        kinds = {where: self._recogniser(frozenset(actions[where])) for where in Where}
        records = self.document.records(tenant)
        watched = records and actions[Where.TELEMETRY]
        return _Tenant(
            choices={
                where: Choices(
                    actions[where],
                    kinds[where],
                    # Placeholders in what a model said are the vault's own.
                    escapes=where in (Where.INPUT, Where.CONTEXT) and pseudonyms,
                )
                for where in Where
            },
            guard=GuardSettings(
                self.version,
                OutputRules(kinds[Where.OUTPUT], actions[Where.OUTPUT]),
                kinds[Where.TELEMETRY] if watched else None,
            ),
            telemetry=kinds[Where.TELEMETRY],
            records=records,
            denied_models=frozenset(self.document.denied_models(tenant)),
        )

    def _acted(self, tenant: TenantId, where: Where) -> dict[PiiKind, PiiAction]:
        """The kinds to which something happens."""
        chosen = self.document.actions(tenant, where)
        return {kind: action for kind, action in chosen.items() if action is not PiiAction.ALLOW}

    def _make_recogniser(self, kinds: frozenset[PiiKind]) -> Recogniser:
        return Recogniser(kinds, self.document.phone_regions)


def _is_clean(given: Input, documents: tuple[Document, ...], tenant: _Tenant) -> bool:
    """Whether nothing in it is of a kind that telemetry must not hold; of ids nobody can tell."""
    if not tenant.telemetry.kinds:
        return True
    if isinstance(given, TokenPrompt):
        return False
    texts = texts_of(given, documents)
    return not any(tenant.telemetry.scan(plain(text).text) for text in texts)
