"""Hypothesis strategies for any value of the vocabulary, built from its type hints."""

from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, NewType, Union, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import strategies as st

from octant.core.record import UNKNOWN, Record

INT64 = st.integers(min_value=-(2**63), max_value=2**63 - 1)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(max_size=6)
_SCALARS = st.one_of(st.none(), st.booleans(), INT64, NUMBERS, TEXT)
JSON_VALUES = st.one_of(
    _SCALARS, st.lists(_SCALARS, max_size=2), st.dictionaries(TEXT, _SCALARS, max_size=2)
)
# A prefix that no field of today has, as a field of tomorrow's writer would not.
NEWER_FIELDS = st.dictionaries(TEXT.map("newer_{}".format), JSON_VALUES, max_size=1)

_PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    int: INT64,
    float: NUMBERS,
    str: TEXT,
    bool: st.booleans(),
    bytes: st.binary(max_size=8),
    NoneType: st.none(),
    Any: JSON_VALUES,
}


def values_of(hint: Any, *, newer_fields: bool = False) -> st.SearchStrategy[Any]:
    """Any value of a type; with `newer_fields`, records at every depth carry unknown ones."""
    if hint in _PLAIN:
        return _PLAIN[hint]
    if isinstance(hint, NewType):
        return values_of(hint.__supertype__, newer_fields=newer_fields)
    if isinstance(hint, type) and not get_args(hint):
        return _of_class(hint, newer_fields)
    return _of_generic(hint, newer_fields)


def _of_class(kind: type[Any], newer_fields: bool) -> st.SearchStrategy[Any]:
    if issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    hints = get_type_hints(kind)
    if issubclass(kind, msgspec.Struct):
        names = [name for name in kind.__struct_fields__ if name != UNKNOWN]
    elif issubclass(kind, tuple):
        names = list(kind._fields)
    else:
        raise TypeError(f"no strategy for {kind}")
    fields = {name: values_of(hints[name], newer_fields=newer_fields) for name in names}
    if newer_fields and issubclass(kind, Record):
        fields[UNKNOWN] = NEWER_FIELDS
    return st.builds(kind, **fields)


def _of_generic(hint: Any, newer_fields: bool) -> st.SearchStrategy[Any]:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return st.sampled_from(args)
    inner = [values_of(arg, newer_fields=newer_fields) for arg in args if arg is not ...]
    if origin in (Union, UnionType):
        return st.one_of(inner)
    if origin is dict:
        return st.dictionaries(*inner, max_size=2)
    if origin is tuple and args[-1] is ...:
        return st.lists(inner[0], max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*inner)
    raise TypeError(f"no strategy for {hint}")
