"""From TOML to a PolicyDocument, or to everything that is wrong with it.

Law: nothing in the file is passed over. A name that is not known, a choice that does not exist and
a Cedar policy that does not fit the schema are each told with file, line and what to write, all of
them at once; a document that was returned can be enforced as it stands.
"""

import tomllib
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple, TypeVar, cast

from octant.core import versions
from octant.core.envelope import RiskClass
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.ids import TenantId
from octant.core.stage import Stage
from octant.core.toml_text import lines_of
from octant.governance.authorization import policy_problems
from octant.governance.document import PiiActions, PiiRules, PolicyDocument, TenantRules
from octant.governance.pii.kinds import PiiAction, PiiKind, Where
from octant.governance.pii.regions import REGIONS

MAX_POLICY_BYTES = 1_048_576
"""Of a policy file; it is parsed in one piece, and ten thousand tenants fit."""
_KINDS = tuple(kind.value for kind in PiiKind)
_ACTIONS: dict[Where, tuple[str, ...]] = {
    Where.INPUT: tuple(PiiAction),
    Where.CONTEXT: tuple(PiiAction),
    # Nobody who reads an answer or a log could turn a pseudonym back.
    Where.OUTPUT: (PiiAction.ALLOW, PiiAction.REDACT, PiiAction.BLOCK),
    Where.TELEMETRY: (PiiAction.ALLOW, PiiAction.REDACT),
}
_TOP = ("format", "authorization", "limits", "pii", "telemetry", "tenants")

T = TypeVar("T")


def parse_policy(text: str, name: str) -> PolicyDocument:
    """The document that the text of the file `name` says.

    Raises Failed(INVALID_VALUE or UNKNOWN_PARAMETER, stage GOVERNANCE) with every problem on a
    line of its own.
    """
    if len(text.encode()) > MAX_POLICY_BYTES:
        message = f"{name}: a policy file has at most {MAX_POLICY_BYTES} bytes."
        raise _failed([_Problem(FailureKind.INVALID_VALUE, "", message)])
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = f"{name}: is not valid TOML: {error}."
        raise _failed([_Problem(FailureKind.INVALID_VALUE, "", message)]) from error
    reader = _Reader(name, lines_of(text))
    document = reader.document(values)
    if reader.problems:
        raise _failed(reader.problems)
    return document


class _Problem(NamedTuple):
    kind: FailureKind
    field: str
    message: str


def _failed(problems: list[_Problem]) -> Failed:
    return Failed(
        Failure(
            kind=problems[0].kind,
            stage=Stage.GOVERNANCE,
            message="\n".join(problem.message for problem in problems),
            param=problems[0].field or None,
        )
    )


class _Reader:
    """Reads values of their types and collects what does not fit."""

    def __init__(self, name: str, lines: Mapping[str, int]) -> None:
        self._name = name
        self._lines = lines
        self.problems: list[_Problem] = []

    def document(self, values: dict[str, Any]) -> PolicyDocument:
        self._known("", values, _TOP)
        written = self._whole("format", values.get("format", versions.POLICY), 1)
        if written > versions.POLICY:
            self._wrong("format", written, f"{versions.POLICY}, the newest this release reads")
        authorization = self._table("authorization", values.get("authorization", {}), ("policies",))
        limits = self._table("limits", values.get("limits", {}), ("max_input_bytes",))
        bounds = self._table(
            "limits.max_input_bytes", limits.get("max_input_bytes", {}), tuple(RiskClass)
        )
        telemetry = self._table("telemetry", values.get("telemetry", {}), ("record",))
        pii = self._table("pii", values.get("pii", {}), ("phone_regions", *Where))
        return PolicyDocument(
            authorization=self._cedar(authorization),
            max_input_bytes={
                RiskClass(risk): self._whole(f"limits.max_input_bytes.{risk}", bound, 0)
                for risk, bound in sorted(bounds.items())
                if risk in tuple(RiskClass)
            },
            phone_regions=self._regions(pii),
            pii=self._pii("pii", pii),
            record=self._flag("telemetry.record", telemetry.get("record", True)),
            tenants=self._tenants(values),
        )

    def _tenants(self, values: dict[str, Any]) -> dict[TenantId, TenantRules]:
        tenants = self._table("tenants", values.get("tenants", {}), None)
        return {
            TenantId(name): self._tenant(f"tenants.{name}", rules)
            for name, rules in sorted(tenants.items())
        }

    def _tenant(self, place: str, value: Any) -> TenantRules:
        rules = self._table(place, value, ("denied_models", "pii", "record"))
        pii = self._table(f"{place}.pii", rules.get("pii", {}), tuple(Where))
        record = rules.get("record")
        models = self._names(f"{place}.denied_models", rules.get("denied_models", []))
        return TenantRules(
            denied_models=tuple(sorted(set(models))),
            pii=self._pii(f"{place}.pii", pii),
            record=None if record is None else self._flag(f"{place}.record", record),
        )

    def _pii(self, place: str, pii: dict[str, Any]) -> PiiRules:
        return PiiRules(
            input=self._actions(place, pii, Where.INPUT),
            context=self._actions(place, pii, Where.CONTEXT),
            output=self._actions(place, pii, Where.OUTPUT),
            telemetry=self._actions(place, pii, Where.TELEMETRY),
        )

    def _actions(self, place: str, pii: dict[str, Any], where: Where) -> PiiActions:
        field = f"{place}.{where.value}"
        actions: PiiActions = {}
        for kind, action in sorted(self._table(field, pii.get(where.value, {}), _KINDS).items()):
            if kind not in _KINDS:
                continue
            if action in _ACTIONS[where]:
                actions[PiiKind(kind)] = PiiAction(action)
            else:
                self._wrong(f"{field}.{kind}", action, f"one of {_listed(_ACTIONS[where])}")
        return actions

    def _regions(self, pii: dict[str, Any]) -> tuple[str, ...]:
        regions = self._names("pii.phone_regions", pii.get("phone_regions", []))
        for region in regions:
            if region not in REGIONS:
                self._wrong(
                    "pii.phone_regions", region, f"two capital letters of {_listed(REGIONS)}"
                )
        return tuple(sorted(set(regions)))

    def _cedar(self, authorization: dict[str, Any]) -> str:
        field = "authorization.policies"
        policies = authorization.get("policies")
        if not isinstance(policies, str):
            self._wrong(field, policies, "Cedar policies as text; without one nothing is permitted")
            return ""
        for problem in policy_problems(policies):
            self._problem(FailureKind.INVALID_VALUE, field, problem)
        return policies.strip()

    def _table(self, field: str, value: Any, known: Iterable[str] | None) -> dict[str, Any]:
        """A table of known keys; `known` None takes any key."""
        if not isinstance(value, dict):
            self._wrong(field, value, f"a table, [{field}]")
            return {}
        table = cast("dict[str, Any]", value)
        if known is not None:
            self._known(field, table, known)
        return table

    def _known(self, field: str, table: Mapping[str, Any], known: Iterable[str]) -> None:
        names = [str(name) for name in known]
        for key in table:
            if key not in names:
                near = get_close_matches(key, names, n=1, cutoff=0.6)
                hint = f"Did you mean {near[0]!r}?" if near else f"Known here: {_listed(names)}."
                dotted = f"{field}.{key}".lstrip(".")
                self._problem(
                    FailureKind.UNKNOWN_PARAMETER, dotted, f"there is no {dotted!r}. {hint}"
                )

    def _names(self, field: str, value: Any) -> list[str]:
        if isinstance(value, list):
            items = cast("list[Any]", value)
            if all(isinstance(item, str) and item for item in items):
                return items
        self._wrong(field, value, "a list of names")
        return []

    def _flag(self, field: str, value: Any) -> bool:
        return self._checked(field, value, True, lambda v: isinstance(v, bool), "true or false")

    def _whole(self, field: str, value: Any, least: int) -> int:
        def fits(given: Any) -> bool:
            return isinstance(given, int) and not isinstance(given, bool) and given >= least

        return self._checked(field, value, least, fits, f"a whole number of at least {least}")

    def _checked(
        self, field: str, value: Any, instead: T, fits: Callable[[Any], bool], expected: str
    ) -> T:
        if fits(value):
            return value
        self._wrong(field, value, expected)
        return instead

    def _wrong(self, field: str, value: Any, expected: str) -> None:
        said = f"{field} = {value!r}" if value is not None else field
        self._problem(FailureKind.INVALID_VALUE, field, f"{said}: expected {expected}.")

    def _problem(self, kind: FailureKind, field: str, message: str) -> None:
        self.problems.append(_Problem(kind, field, f"{self._place(field)}: {message}"))

    def _place(self, field: str) -> str:
        while field and field not in self._lines:
            field = field.rpartition(".")[0]
        return f"{self._name}:{self._lines[field]}" if field else self._name


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(str(name)) for name in names)
