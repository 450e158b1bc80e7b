"""Hypothesis strategies for bodies as callers send them, made from the types that decode them."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from msgspec import inspect

# Enough to meet every bound without making bodies that take long to read.
_MOST_ITEMS = 3
_MOST_CHARACTERS = 12
_CHARACTERS = st.characters(exclude_categories=["Cs"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


def sent(shape: Any) -> st.SearchStrategy[Any]:
    """Plain JSON values that `shape` takes."""
    return _of(inspect.type_info(shape))


def _of(found: Any) -> st.SearchStrategy[Any]:
    return _STRATEGIES[type(found)](found)


def _of_text(found: inspect.StrType) -> st.SearchStrategy[str]:
    if found.pattern is not None:
        return st.from_regex(found.pattern, fullmatch=True)
    most = min(found.max_length or _MOST_CHARACTERS, _MOST_CHARACTERS)
    return st.text(_CHARACTERS, min_size=found.min_length or 0, max_size=most)


def _of_float(found: inspect.FloatType) -> st.SearchStrategy[float]:
    low = found.ge if found.gt is None else found.gt
    return st.floats(low, found.le, exclude_min=found.gt is not None)


def _of_list(found: inspect.ListType) -> st.SearchStrategy[list[Any]]:
    return st.lists(_of(found.item_type), min_size=found.min_length or 0, max_size=_MOST_ITEMS)


def _of_dict(found: inspect.DictType) -> st.SearchStrategy[dict[Any, Any]]:
    return st.dictionaries(_of(found.key_type), _of(found.value_type), max_size=_MOST_ITEMS)


def _of_struct(found: inspect.StructType) -> st.SearchStrategy[dict[str, Any]]:
    fields = {field.encode_name: _of(field.type) for field in found.fields}
    needed = {field.encode_name for field in found.fields if field.required}
    if found.tag_field is not None:
        fields[found.tag_field] = st.just(found.tag)
        needed.add(found.tag_field)
    return st.fixed_dictionaries(
        {name: fields[name] for name in sorted(needed)},
        optional={name: value for name, value in fields.items() if name not in needed},
    )


_STRATEGIES: dict[type, Callable[[Any], st.SearchStrategy[Any]]] = {
    inspect.Metadata: lambda found: _of(found.type),
    inspect.NoneType: lambda _: st.none(),
    inspect.BoolType: lambda _: st.booleans(),
    inspect.IntType: lambda found: st.integers(found.ge, found.le),
    inspect.FloatType: _of_float,
    inspect.StrType: _of_text,
    inspect.LiteralType: lambda found: st.sampled_from(found.values),
    inspect.EnumType: lambda found: st.sampled_from([member.value for member in found.cls]),
    inspect.UnionType: lambda found: st.one_of([_of(option) for option in found.types]),
    inspect.ListType: _of_list,
    inspect.DictType: _of_dict,
    inspect.StructType: _of_struct,
    inspect.AnyType: lambda _: _JSON,
}
