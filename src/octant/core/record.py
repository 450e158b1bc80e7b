"""Record: the shape of every value that is stored or crosses a version boundary.

Law: what a newer writer added, an older reader keeps. Decoding puts fields it does not know into
`unknown`, encoding puts them back in place, at every depth.
"""

from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import msgspec

UNKNOWN = "unknown"


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of evolvable values. `unknown` holds fields of newer writers, by name, undecoded."""

    unknown: dict[str, Any] = {}


R = TypeVar("R", bound=Record)

# Most of what a record holds; taken first, because every request encodes some hundred of them.
_PLAIN = frozenset({str, int, float, bool, NoneType})


def encode(record: Record) -> bytes:
    """JSON with every field, unknown ones back in their places."""
    return msgspec.json.encode(to_builtins(record))


def to_builtins(value: Any) -> Any:
    """Plain JSON values of a record (or of anything made of records), every field written out."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Record):
        config = value.__struct_config__
        head = {config.tag_field: config.tag} if config.tag_field and config.tag else {}
        fields = {
            name: held if type(held := getattr(value, name)) in _PLAIN else to_builtins(held)
            for name in _hints(type(value))
        }
        return head | fields | value.unknown
    if isinstance(value, dict):
        return {key: to_builtins(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [to_builtins(item) for item in cast("tuple[Any, ...]", value)]
    return msgspec.to_builtins(value)


def decode(data: bytes | str, kind: type[R]) -> R:
    """The value of `encode`. Raises msgspec.ValidationError or msgspec.DecodeError on bad data."""
    return from_builtins(msgspec.json.decode(data), kind)


def from_builtins(value: Any, kind: type[R]) -> R:
    """A record from plain JSON values. Raises msgspec.ValidationError where they do not fit."""
    # JSON knows only text as a key; numbers that stood there come back as numbers.
    return msgspec.convert(_fold(value, kind), kind, str_keys=True)


def _fold(value: Any, hint: Any) -> Any:
    kind = _record_kind(hint, value)
    if kind is not None and isinstance(value, dict):
        return _fold_record(cast("dict[str, Any]", value), kind)
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return [_fold(item, _item_hint(hint)) for item in items]
    if isinstance(value, dict) and get_origin(hint) is dict:
        entries = cast("dict[str, Any]", value)
        return {k: _fold(v, get_args(hint)[1]) for k, v in entries.items()}
    return cast("Any", value)


def _fold_record(value: dict[str, Any], kind: type[Record]) -> dict[str, Any]:
    hints = _hints(kind)
    tag_field = kind.__struct_config__.tag_field
    known: dict[str, Any] = {}
    unknown: dict[str, Any] = {}
    for name, entry in value.items():
        if name in hints:
            known[name] = _fold(entry, hints[name])
        elif name == tag_field:
            known[name] = entry
        else:
            unknown[name] = entry
    return known | {UNKNOWN: unknown} if unknown else known


@cache
def _hints(kind: type[Record]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {name: hints[name] for name in kind.__struct_fields__ if name != UNKNOWN}


def _record_kind(hint: Any, value: Any) -> type[Record] | None:
    """The record class that `value` is to become, chosen by its tag where `hint` is a union."""
    candidates = [
        option
        for option in _options(hint)
        if isinstance(option, type) and issubclass(option, Record)
    ]
    if len(candidates) <= 1:
        return candidates[0] if candidates else None
    for option in candidates:
        config = option.__struct_config__
        if isinstance(value, dict) and value.get(config.tag_field) == config.tag:
            return option
    return None


def _options(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) in (Union, UnionType):
        return tuple(option for option in get_args(hint) if option is not NoneType)
    return (hint,)


def _item_hint(hint: Any) -> Any:
    for option in _options(hint):
        if get_origin(option) in (tuple, list, frozenset, set):
            return get_args(option)[0]
    return Any
