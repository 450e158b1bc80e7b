"""Recipe files: how a person writes down how one model is served (LC2).

    TOML text or JSON object -> RecipeFile, every value checked -> lifecycle.recipes.complete

Law: a file says what was chosen, never what was measured or computed: digests come from the
artifact, figures and the probe's answer from `octant recipes measure`. What a file leaves out is
taken from the settings at the moment of registration. A field that nobody knows is an error.
"""

import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal, NoReturn, cast

import msgspec

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.limits import Profile
from octant.core.stage import Stage

RECIPE_SUFFIX = ".toml"
BUNDLED_SCHEME = "bundled:"

_Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
_Words = Annotated[str, msgspec.Meta(max_length=2_000)]
_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Count = Annotated[int, msgspec.Meta(ge=0)]
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]

_UNKNOWN = re.compile(r"unknown field `(?P<field>[^`]+)`(?: - at `\$\.?(?P<table>[^`]*)`)?")
_PLACE = re.compile(r" - at `\$\.?(?P<place>[^`]*)`$")
_MISSING = re.compile(r"missing required field `(?P<field>[^`]+)`")


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


class EngineTable(_Table, frozen=True, kw_only=True):
    """What computes it, and how; a value left out is the settings'."""

    name: Literal["openvino"] = "openvino"
    kv_precision: Literal["auto", "u8", "f16", "bf16", "f32"] | None = None
    inference_precision: Literal["auto", "bf16", "f32"] | None = None
    dynamic_quantization_group_size: _Count | None = None
    threads: _Count | None = None
    max_sequences: _Positive | None = None


class ContextTable(_Table, frozen=True, kw_only=True):
    """Tokens of prompt and answer together: what is accepted, and what the model is good at."""

    max: _Positive | None = None
    working: _Positive | None = None


class ObjectiveTable(_Table, frozen=True, kw_only=True):
    """What the route promises, in milliseconds."""

    ttft_ms: _Positive
    tpot_ms: _Positive
    total_ms: _Positive


class PriceTable(_Table, frozen=True, kw_only=True):
    """Nano-USD per token."""

    input_nano_usd: _Count = 0
    output_nano_usd: _Count = 0


class ProbeTable(_Table, frozen=True, kw_only=True):
    """The request that the route answers before it is ready; `expect` is measured when left out."""

    user: _Words
    system: _Words = ""
    expect: _Words | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=256)] = 48


class RecipeFile(_Table, frozen=True, kw_only=True):
    """A recipe as written. `artifact` is a directory, or `bundled:NAME` for one of the package."""

    name: _Name
    model: _Name
    label: _Name
    description: _Words
    artifact: str
    profile: Profile = Profile.INTERACTIVE
    capabilities: tuple[_Name, ...] = ()
    rollback: _Words = ""
    engine: EngineTable = EngineTable()
    context: ContextTable = ContextTable()
    objective: ObjectiveTable | None = None
    quality_gate: dict[str, _Share] = {}
    price: PriceTable | None = None
    probe: ProbeTable | None = None


def parse_toml(text: str, origin: str) -> RecipeFile:
    """Raises Failed naming `origin`, the field, and how to mend it."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        _fail(FailureKind.INVALID_VALUE, f"{origin} is not TOML: {error}. Correct it there.", None)
    return parse_values(values, origin)


def parse_values(values: Mapping[str, Any], origin: str) -> RecipeFile:
    """As `parse_toml`, of values that were read already."""
    try:
        recipe = msgspec.convert(values, RecipeFile)
    except msgspec.ValidationError as error:
        _explain(str(error), values, origin)
    working, longest = recipe.context.working, recipe.context.max
    if working is not None and longest is not None and working > longest:
        _fail(
            FailureKind.INVALID_VALUE,
            f"{origin}: context.working is {working}, more than context.max ({longest}). "
            "Lower it or raise the other.",
            "context.working",
        )
    return recipe


def to_values(recipe: RecipeFile) -> dict[str, Any]:
    """What `parse_values` reads."""
    return msgspec.to_builtins(recipe)


def _explain(message: str, values: Mapping[str, Any], origin: str) -> NoReturn:
    unknown = _UNKNOWN.search(message)
    if unknown is not None:
        _explain_unknown(unknown["field"], unknown["table"] or "", origin)
    place = _PLACE.search(message)
    where = place["place"] if place else ""
    missing = _MISSING.search(message)
    if missing is not None:
        field = _joined(where, missing["field"])
        _fail(FailureKind.MISSING_PARAMETER, f"{origin}: {field} is missing. Add it.", field)
    value: Any = values
    for part in filter(None, where.split(".")):
        value = cast("dict[str, Any]", value).get(part) if isinstance(value, dict) else None
    expected = _PLACE.sub("", message)
    _fail(
        FailureKind.INVALID_VALUE,
        f"{origin}: {where or 'the recipe'} is {value!r}: {expected}. Correct it.",
        where or None,
    )


def _explain_unknown(field: str, table: str, origin: str) -> NoReturn:
    known = _fields_of(table)
    near = get_close_matches(field, known, 1)
    instead = f"Did you mean `{near[0]}`?" if near else f"Known are: {', '.join(known)}."
    name = _joined(table, field)
    _fail(FailureKind.UNKNOWN_PARAMETER, f"{origin}: nobody knows `{name}`. {instead}", name)


def _fields_of(table: str) -> tuple[str, ...]:
    tables: dict[str, type[msgspec.Struct]] = {
        "": RecipeFile,
        "engine": EngineTable,
        "context": ContextTable,
        "objective": ObjectiveTable,
        "price": PriceTable,
        "probe": ProbeTable,
    }
    return tables[table].__struct_fields__ if table in tables else ()


def _joined(table: str, field: str) -> str:
    return f"{table}.{field}" if table else field


def _fail(kind: FailureKind, message: str, param: str | None) -> NoReturn:
    raise Failed(Failure(kind=kind, stage=Stage.PACKAGE, message=message, param=param))
