"""JSON input: from hostile bytes to a typed body, or a failure that names field, bound and fix.

    bytes -> depth scan -> UTF-8 -> fields against their table -> typed body

Law: depth is bounded before anything recursive sees the bytes. This is the one place that
translates msgspec's errors; `tests/contract/test_gateway_json.py` pins their wording.
"""

import re
from itertools import accumulate
from typing import NoReturn, TypeVar

import msgspec

from octant.core.failure import FailureKind
from octant.gateway.failures import refuse
from octant.gateway.fields import Table, check_fields, field_at, suggestion

T = TypeVar("T")

_MAX_QUOTED = 200
_BLOCK_BYTES = 64 * 1024
# Signed bytes: 1 for an opening bracket, -1 for a closing one.
_TO_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_AT = re.compile(r" - at `(?:key in )?\$?\.?([^`]*)`$")
_FIELD = re.compile(r"(missing required|contains unknown) field `([^`]*)")
_WRONG_TYPE = re.compile(r"Expected `([^`]*)`(?:, got `([^`]*)`)?$")
_OUT_OF_BOUNDS = re.compile(r"Expected `(int|float|str|array|object)` (.+)$")
_PLACE = re.compile(r"\[\d+\]")
_KINDS = {
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "bool": "a boolean",
    "array": "an array",
    "object": "an object",
    "null": "null",
}


def decode_body(body: bytes, shape: type[T], fields: Table, max_nesting: int) -> T:
    """The typed body.

    Raises Failed: INVALID_JSON, INVALID_TYPE, INVALID_VALUE, MISSING_PARAMETER, UNKNOWN_PARAMETER
    or UNSUPPORTED_PARAMETER. Of duplicate keys the last one counts.
    """
    check_nesting(body, max_nesting)
    try:
        body.decode()
        check_fields(msgspec.json.decode(body, type=dict[str, msgspec.Raw]), fields)
        return msgspec.json.decode(body, type=shape)
    except UnicodeDecodeError as error:
        refuse(
            FailureKind.INVALID_JSON,
            f"The body is not valid UTF-8 at byte {error.start}. Send JSON encoded as UTF-8.",
        )
    except msgspec.ValidationError as error:
        _refuse_invalid(str(error), fields)
    except (msgspec.DecodeError, RecursionError) as error:
        refuse(
            FailureKind.INVALID_JSON,
            f"We could not parse the JSON body of your request: {error}. "
            "Send one JSON object encoded as UTF-8.",
        )


def check_nesting(body: bytes, limit: int) -> None:
    """Raises Failed(INVALID_VALUE) when brackets outside strings nest deeper than `limit`.

    Linear and mostly in C: escapes and strings are cut out, each bracket left becomes a step up or
    down, and the highest point of their running sum is the depth. Block by block, because a call
    into C keeps every other thread waiting until it returns.
    """
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    depth = in_string = 0
    for start in range(0, len(unescaped), _BLOCK_BYTES):
        pieces = unescaped[start : start + _BLOCK_BYTES].split(b'"')
        steps = b"".join(pieces[in_string::2]).translate(_TO_STEPS, _NOT_BRACKETS)
        depths = list(accumulate(memoryview(steps).cast("b"), initial=depth))
        if max(depths) > limit:
            refuse(
                FailureKind.INVALID_VALUE,
                f"The body nests arrays and objects deeper than {limit} levels. Flatten it.",
            )
        depth = depths[-1]
        in_string = (in_string + len(pieces) - 1) % 2


def _refuse_invalid(message: str, fields: Table) -> NoReturn:
    at = _AT.search(message)
    path = at.group(1).replace("[...]", "") if at else ""
    # It quotes names and values of the caller, which may be as long as the body.
    problem = (message[: at.start()] if at else message)[:_MAX_QUOTED]
    field = _FIELD.search(problem)
    if field is not None:
        _refuse_presence(field.group(1), f"{path}.{field.group(2)}".lstrip("."), fields)
    if not path:
        refuse(FailureKind.INVALID_TYPE, f"The body must be a JSON object. {problem}.")
    wrong = _WRONG_TYPE.fullmatch(problem)
    kind = FailureKind.INVALID_TYPE if wrong else FailureKind.INVALID_VALUE
    explained = _explain_type(wrong) if wrong else _explain_value(problem)
    refuse(
        kind,
        f"Invalid {'type' if wrong else 'value'} for '{path}': {explained}{_note(path, fields)}",
        path,
    )


def _refuse_presence(problem: str, path: str, fields: Table) -> NoReturn:
    if problem == "missing required":
        refuse(
            FailureKind.MISSING_PARAMETER,
            f"Missing required parameter: '{path}'.{_note(path, fields)}",
            path,
        )
    *around, name = _names(path)
    field = field_at(around, fields)
    known = [inside.name for inside in field.inside] if field else []
    meant = suggestion(name, known) or ". Leave it out."
    refuse(FailureKind.UNKNOWN_PARAMETER, f"Unknown parameter: '{path}'{meant}", path)


def _explain_type(wrong: re.Match[str]) -> str:
    expected, got = wrong.groups()
    wanted = " or ".join(_KINDS.get(kind, kind) for kind in expected.split(" | "))
    found = f", but got {_KINDS.get(got, got)} instead" if got else ""
    return f"expected {wanted}{found}."


def _explain_value(problem: str) -> str:
    bounds = _OUT_OF_BOUNDS.fullmatch(problem)
    if bounds is None:
        return f"{problem[:1].lower()}{problem[1:]}."
    kind, bound = bounds.groups()
    return f"expected {_KINDS[kind]} {bound}."


def _note(path: str, fields: Table) -> str:
    field = field_at(_names(path), fields)
    return f" {field.note}" if field else ""


def _names(path: str) -> list[str]:
    """The names on a path, without the places in arrays."""
    return _PLACE.sub("", path).split(".")
