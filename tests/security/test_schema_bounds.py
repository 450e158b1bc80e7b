"""A caller's schema can fetch nothing, and cannot make a small answer cost much."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octant.orchestration.json_contract import MAX_LEVELS, Contract
from octant.orchestration.schema_bounds import (
    MAX_DEPTH,
    MAX_EVALUATIONS,
    MAX_SUBSCHEMAS,
    bounded,
)


def doubling(levels: int) -> dict[str, Any]:
    """Every level refers twice to the next: work doubles with each of them."""
    definitions: dict[str, Any] = {
        f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i + 1}"}, {"$ref": f"#/$defs/a{i + 1}"}]}
        for i in range(levels)
    }
    definitions[f"a{levels}"] = {"type": "integer"}
    return {"$ref": "#/$defs/a0", "$defs": definitions}


def recursive_twice() -> dict[str, Any]:
    """Two references to the whole: work doubles with each level of the answer."""
    step = {"properties": {"x": {"$ref": "#"}}}
    return {"allOf": [step, step]}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        (doubling(20), "more than"),
        (doubling(60), "too many references"),
        (recursive_twice(), "more than"),
        ({"anyOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}]}, "more than"),
        ({"patternProperties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}}, "more than"),
        ({"if": {"items": {"$ref": "#"}}, "then": {"items": {"$ref": "#"}}}, "more than"),
        ({"$ref": "#"}, "refers to itself"),
        ({"allOf": [{"$ref": "#/allOf/0"}]}, "refers to itself"),
        ({"not": {"anyOf": [{"$ref": "#"}]}}, "refers to itself"),
        (
            {
                "$ref": "#/$defs/a",
                "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
            },
            "refers to itself",
        ),
        ({"$ref": "http://127.0.0.1/x"}, "leads out"),
        ({"$ref": "file:///etc/passwd"}, "leads out"),
        ({"$ref": "other.json#/x"}, "leads out"),
        ({"$ref": "#name"}, "leads out"),
        ({"$ref": 5}, "leads out"),
        ({"$ref": "#/nowhere"}, "no schema stands"),
        ({"$ref": "#/properties", "properties": {"a": {}}}, "no schema stands"),
        ({"$id": "https://example.com/x"}, "not taken"),
        ({"properties": {"a": {"$id": "x"}}}, "not taken"),
        ({"$dynamicRef": "#x"}, "not taken"),
        ({"$schema": "http://json-schema.org/draft-04/schema#"}, "$schema"),
        ({"items": {"$schema": "x"}}, "$schema"),
        (nested(MAX_DEPTH + 1), "deeper"),
        ({"properties": {f"p{i}": {} for i in range(MAX_SUBSCHEMAS)}}, "subschemas"),
        ([], "not an object"),
    ],
)
def test_dangerous_schemas_are_refused(schema: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem.replace("$", r"\$")):
        bounded(schema, MAX_LEVELS)


_TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["name"],
        }
    },
    "$ref": "#/$defs/node",
}
_SUM = {
    "anyOf": [
        {"type": "number"},
        {
            "type": "object",
            "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}, "op": {"enum": ["+"]}},
            "required": ["left", "right", "op"],
        },
    ]
}
_EVENTS = {
    "oneOf": [
        {"type": "object", "properties": {"kind": {"const": f"k{i}"}, "id": {"type": "integer"}}}
        for i in range(60)
    ]
}


@pytest.mark.parametrize("schema", [_TREE, _SUM, _EVENTS, nested(MAX_DEPTH), doubling(6), True])
def test_schemas_of_applications_are_taken(schema: Any) -> None:
    assert 1 <= bounded(schema, MAX_LEVELS).evaluations <= MAX_EVALUATIONS


def test_recursive_schemas_work() -> None:
    leaf: Any = 1
    for _ in range(12):
        leaf = {"op": "+", "left": leaf, "right": 1}
    assert Contract(_SUM).problems(leaf) == ()
    tree = Contract(_TREE)
    assert tree.problems({"name": "a", "children": [{"name": "b", "children": []}]}) == ()
    assert tree.problems({"name": "a", "children": [{}]}) == (
        'children[0]: "name" is a required property',
    )


def test_pointers_are_read_as_json_pointer_says() -> None:
    schema = {"$ref": "#/$defs/a~1b%20~0c", "$defs": {"a/b ~c": {"type": "string"}}}
    assert Contract(schema).problems(5) == ('the whole: the value is not of type "string"',)


def test_properties_may_have_the_names_of_keywords() -> None:
    names = ("$ref", "$id", "properties", "items", "allOf", "type")
    contract = Contract({"properties": {name: {"type": "string"} for name in names}})
    assert contract.problems(dict.fromkeys(names, "x")) == ()


def test_a_pattern_cannot_run_away() -> None:
    assert Contract({"pattern": "^(a+)+$"}).problems("a" * 20_000 + "!") != ()
    with pytest.raises(ValueError, match="regex"):
        Contract({"pattern": "(a{1000}){1000}"})


def test_an_answer_full_of_mistakes_is_told_of_the_first() -> None:
    contract = Contract({"type": "array", "items": {"type": "integer"}})
    assert len(contract.problems(["x"] * 50)) == 5
    assert contract.problems(["x"] * 100_000) == ('[0]: the value is not of type "integer"',)


_KEYWORDS = st.sampled_from(["allOf", "anyOf", "oneOf"])
_NAMES = st.sampled_from(["a", "b", "c"])


@st.composite
def _schemas(draw: st.DrawFn) -> dict[str, Any]:
    """Definitions that combine and refer to each other at will."""
    reference = _NAMES.map(lambda name: {"$ref": f"#/$defs/{name}"})
    leaf = st.one_of(reference, st.just({"type": "integer"}), st.just({}))
    inner = st.recursive(
        leaf,
        lambda below: st.one_of(
            st.builds(lambda k, items: {k: items}, _KEYWORDS, st.lists(below, min_size=1)),
            st.builds(lambda item: {"items": item}, below),
            st.builds(lambda item: {"not": item}, below),
            st.dictionaries(_NAMES, below, max_size=2).map(lambda p: {"properties": p}),
        ),
        max_leaves=6,
    )
    return {"$defs": {name: draw(inner) for name in "abc"}, **draw(inner)}


@given(_schemas(), st.recursive(st.integers() | st.text(max_size=2), st.lists, max_leaves=5))
def test_what_is_taken_can_be_used(schema: dict[str, Any], value: Any) -> None:
    try:
        contract = Contract(schema)
    except ValueError as error:
        assert "times" in str(error) or "refers to itself" in str(error)
        return
    assert isinstance(contract.problems(value), tuple)
