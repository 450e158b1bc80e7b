"""Fields: what becomes of every field of a request body, decided once, in a table.

Law: a field is taken, ignored or refused by name; one that stands in no table is answered as OpenAI
answers it, 400 "Unrecognized request argument", with the nearest name that there is. The dialects
own the tables, the documentation test reads them, nothing else decides about a field's presence.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from octant.core.failure import FailureKind
from octant.gateway.failures import refuse

_MAX_NAME = 100


class Treatment(StrEnum):
    """TAKEN has its effect, IGNORED is accepted without one, REFUSED is an error."""

    TAKEN = "taken"
    IGNORED = "ignored"
    REFUSED = "refused"


class Field(NamedTuple):
    """One field. `note` says its bounds, or why it is not taken; it ends every message about it.

    `harmless` are values of a refused field that ask for nothing and are therefore accepted; null
    always is. `inside` are the fields of an object, or of the objects in an array.
    """

    name: str
    treatment: Treatment
    note: str
    harmless: tuple[Any, ...] = ()
    inside: tuple["Field", ...] = ()


Table = Mapping[str, Field]


def table(*fields: Field) -> Table:
    """The fields by name."""
    return {field.name: field for field in fields}


def taken(name: str, note: str, *inside: Field) -> Field:
    """A field that has its effect."""
    return Field(name, Treatment.TAKEN, note, inside=inside)


def ignored(name: str, note: str) -> Field:
    """A field that is accepted and changes nothing."""
    return Field(name, Treatment.IGNORED, note)


def refused(name: str, note: str, *harmless: Any) -> Field:
    """A field that is an error unless its value is null or `harmless`."""
    return Field(name, Treatment.REFUSED, note, harmless)


def check_fields(body: Mapping[str, msgspec.Raw], fields: Table) -> None:
    """Raises Failed: UNKNOWN_PARAMETER or UNSUPPORTED_PARAMETER, for the first such field."""
    for name, raw in body.items():
        field = fields.get(name)
        if field is None:
            refuse(
                FailureKind.UNKNOWN_PARAMETER,
                f"Unrecognized request argument supplied: {name[:_MAX_NAME]}"
                f"{suggestion(name, fields)}",
                name[:_MAX_NAME],
            )
        if field.treatment is Treatment.REFUSED and not _is_harmless(raw, field):
            refuse(
                FailureKind.UNSUPPORTED_PARAMETER,
                f"Unsupported parameter: '{name}' is not supported here. {field.note}",
                name,
            )


def suggestion(name: str, known: Iterable[str]) -> str:
    """A sentence that names the field which `name` resembles; empty when it resembles none."""
    near = get_close_matches(name[:_MAX_NAME], known, n=1)
    return f". Did you mean '{near[0]}'?" if near else ""


def field_at(path: Iterable[str], fields: Table) -> Field | None:
    """The innermost field of the table on the way of names that `path` is."""
    found: Field | None = None
    inside: Table = fields
    for name in path:
        field = inside.get(name)
        if field is None:
            break
        found, inside = field, table(*field.inside)
    return found


def _is_harmless(raw: msgspec.Raw, field: Field) -> bool:
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    # Equal and of one type: 1 and true are different answers.
    return value is None or any(
        type(value) is type(harmless) and value == harmless for harmless in field.harmless
    )
