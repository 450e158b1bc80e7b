"""JSON that a model wrote: read strictly, then held against a schema. Pure.

Law: the whole text has to be one JSON value that every reader takes for the same: no fence, no
words around it, no repeated key, no NaN, bounded depth. Problems name places and rules and never
repeat what the model said, for they travel into logs and back into prompts.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NoReturn, cast

import jsonschema_rs

from octant.orchestration.schema_bounds import MAX_CHARS, bounded

MAX_LEVELS = 32
_MAX_PROBLEMS = 5
_MAX_PROBLEM_CHARS = 200
# Collecting every problem takes 12 microseconds for each; beyond this only the first is named.
_MAX_EVALUATIONS_LISTED = 20_000
_MAX_PATTERN_BYTES = 1 << 20
# Contracts in use at once; each holds a compiled schema.
_COMPILED = 128


class Contract:
    """A compiled schema, safe to use from several threads."""

    def __init__(self, schema: dict[str, Any]) -> None:
        """Raises ValueError, in words for whoever wrote it, when the schema cannot be used."""
        if len(json.dumps(schema)) > MAX_CHARS:
            raise ValueError(f"it is longer than {MAX_CHARS} characters")
        self._bounds = bounded(schema, MAX_LEVELS)
        try:
            # The linear engine: a hostile pattern cannot make it run away.
            patterns = jsonschema_rs.RegexOptions(size_limit=_MAX_PATTERN_BYTES)
            self._validator = jsonschema_rs.validator_for(
                schema,
                validate_formats=True,
                offline=True,
                mask="the value",
                pattern_options=patterns,
            )
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
            raise ValueError(str(error).split("\n", 1)[0][:_MAX_PROBLEM_CHARS]) from error

    def problems(self, value: Any) -> tuple[str, ...]:
        """What of the value does not fit, a few of all problems; empty when it fits."""
        if self._validator.is_valid(value):
            return ()
        if _size(value) * self._bounds.evaluations > _MAX_EVALUATIONS_LISTED:
            return (self._first(value),)
        errors = self._validator.iter_errors(value)
        said = dict.fromkeys(self._said(error) for error in errors)
        return tuple(said)[:_MAX_PROBLEMS]

    def _first(self, value: Any) -> str:
        try:
            self._validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            return self._said(error)
        raise AssertionError("a value is valid and is not")

    def _said(self, error: jsonschema_rs.ValidationError) -> str:
        where = "".join(map(self._step, error.instance_path))
        return f"{where.lstrip('.') or 'the whole'}: {_rule(error)}"[:_MAX_PROBLEM_CHARS]

    def _step(self, part: str | int) -> str:
        if isinstance(part, int):
            return f"[{part}]"
        # A name that the schema does not spell is the model's own word.
        return f".{part}" if part in self._bounds.names else ".*"


def contract_of(schema: dict[str, Any]) -> Contract:
    """The compiled schema, from a bounded cache. Raises ValueError as `Contract` does."""
    try:
        written = json.dumps(schema, sort_keys=True)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return _compiled(written)


def read_json(text: str) -> Any:
    """The value that the text is. Raises ValueError, in words for the model."""
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_no_number, parse_float=_finite
        )
    except json.JSONDecodeError as error:
        raise ValueError(
            f"it is not JSON: {error.msg} at line {error.lineno} column {error.colno}"
        ) from None
    except RecursionError:
        _too_deep()
    if _deeper_than(value, MAX_LEVELS):
        _too_deep()
    return value


def canonical(value: Any) -> str:
    """JSON with sorted keys and no white space: the same text for the same value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@lru_cache(maxsize=_COMPILED)
def _compiled(schema: str) -> Contract:
    return Contract(json.loads(schema))


def _rule(error: jsonschema_rs.ValidationError) -> str:
    match error.kind.name:
        case "additionalProperties" | "unevaluatedProperties":
            return "it has a property that the schema does not allow"
        case "propertyNames":
            return "the name of a property does not fit the schema"
        case _:
            return error.message


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("it is not unambiguous: an object has the same key twice")
    return value


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("a number is too large")
    return number


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"it is not JSON: {text} is no number")


def _too_deep() -> NoReturn:
    raise ValueError(f"it is nested deeper than {MAX_LEVELS} levels")


def _deeper_than(value: Any, levels: int) -> bool:
    level = [value]
    for _ in range(levels + 1):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return False
    return True


def _size(value: Any) -> int:
    """How many values there are, itself included."""
    count, level = 0, [value]
    while level:
        count += len(level)
        level = [inner for outer in level for inner in _inside(outer)]
    return count


def _inside(value: Any) -> Sequence[Any]:
    if isinstance(value, dict):
        return tuple(cast("Mapping[str, Any]", value).values())
    return cast("list[Any]", value) if isinstance(value, list) else ()
