"""PolicyDocument: the rules an operator wrote, as one value with a version.

Law: the version is the digest of what the rules are, not of how they were written down, so the
same version always decides alike. A tenant's own choices stand before the document's; a kind that
neither names is allowed, except in telemetry, where it is redacted.
"""

import hashlib
from functools import cached_property

import msgspec

from octant.core import versions
from octant.core.envelope import RiskClass
from octant.core.ids import TenantId
from octant.core.record import Record, to_builtins
from octant.governance.pii.kinds import PiiAction, PiiKind, Where

PiiActions = dict[PiiKind, PiiAction]


class PiiRules(Record, frozen=True, kw_only=True):
    """What happens to each kind of value, by the way it goes."""

    input: PiiActions = {}
    context: PiiActions = {}
    output: PiiActions = {}
    telemetry: PiiActions = {}

    def of(self, where: Where) -> PiiActions:
        """The choices for one way, as far as they were made."""
        return {
            Where.INPUT: self.input,
            Where.CONTEXT: self.context,
            Where.OUTPUT: self.output,
            Where.TELEMETRY: self.telemetry,
        }[where]


class TenantRules(Record, frozen=True, kw_only=True):
    """What is different for one tenant. `record` None: as for everybody."""

    denied_models: tuple[str, ...] = ()
    pii: PiiRules = PiiRules()
    record: bool | None = None


class PolicyDocument(Record, frozen=True, kw_only=True, dict=True):
    """The rules in force.

    `authorization` is Cedar text. `max_input_bytes` bounds the text of a request by risk class;
    what is not named is not bounded here. `phone_regions` are the regions whose national telephone
    numbers are recognised. `record` lets the tokens of a run be kept for a replay.
    """

    authorization: str
    max_input_bytes: dict[RiskClass, int] = {}
    phone_regions: tuple[str, ...] = ()
    pii: PiiRules = PiiRules()
    record: bool = True
    tenants: dict[TenantId, TenantRules] = {}
    format: int = versions.POLICY

    @cached_property
    def version(self) -> str:
        """`sha256:` and 64 hex digits over the rules, whatever order they were written in."""
        canonical = msgspec.json.encode(to_builtins(self), order="sorted")
        return "sha256:" + hashlib.sha256(canonical).hexdigest()

    def actions(self, tenant: TenantId, where: Where) -> PiiActions:
        """What happens to each kind, every kind named."""
        unnamed = PiiAction.REDACT if where is Where.TELEMETRY else PiiAction.ALLOW
        own = self.tenants.get(tenant, _AS_EVERYBODY).pii.of(where)
        return {kind: own.get(kind) or self.pii.of(where).get(kind) or unnamed for kind in PiiKind}

    def records(self, tenant: TenantId) -> bool:
        """Whether tokens of the tenant's runs may be kept."""
        own = self.tenants.get(tenant, _AS_EVERYBODY).record
        return self.record if own is None else own

    def denied_models(self, tenant: TenantId) -> tuple[str, ...]:
        """Models that the tenant may not use, sorted."""
        return self.tenants.get(tenant, _AS_EVERYBODY).denied_models


_AS_EVERYBODY = TenantRules()
