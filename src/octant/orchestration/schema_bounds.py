"""Bounds of a JSON Schema that a caller wrote: its size, its references, its cost. Pure.

Law: a schema is used only when the work it can cause is known beforehand. References stay inside
the schema, so nothing is fetched; and since a few references can double the work again and again
(20 of them cost seconds, 60 cost forever), evaluations are counted before the first value is seen.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, NoReturn, cast
from urllib.parse import unquote

MAX_CHARS = 65_536
MAX_DEPTH = 32
MAX_SUBSCHEMAS = 2_000
# How often one value of an answer may be looked at, summed along the way down to it. Schemas of
# applications stay below 100; each look takes about 50 ns.
MAX_EVALUATIONS = 500
# References that lead to references, without a step into the value.
_MAX_CHAIN = 64

_DRAFTS = frozenset(
    f"{scheme}://json-schema.org/{draft}"
    for scheme in ("http", "https")
    for draft in ("draft/2020-12/schema", "draft/2019-09/schema", "draft-07/schema")
)
# They move what a reference means, or make it depend on how it was reached.
_REFUSED = ("$id", "id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$vocabulary")

_SAME_VALUE_ONE = ("not", "if", "then", "else")
_SAME_VALUE_LIST = ("allOf", "anyOf", "oneOf")
_SAME_VALUE_MAP = ("dependentSchemas", "dependencies")
_DEEPER_ONE = (
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
    "items",
    "additionalItems",
    "unevaluatedItems",
    "contains",
    "contentSchema",
)
_DEEPER_LIST = ("prefixItems", "items")
_DEEPER_MAP = ("properties", "patternProperties")
_ELSEWHERE_MAP = ("$defs", "definitions")

Schema = dict[str, Any]


class BoundedSchema(NamedTuple):
    """What was found: evaluations for each value, and the names that the schema itself spells."""

    evaluations: int
    names: frozenset[str]


class _Node(NamedTuple):
    """One subschema by the pointers of its own: at the same value, and one level deeper.

    Of `alternatives` at most one applies to any one value (properties have different names);
    every one of `deeper` may.
    """

    same: tuple[str, ...]
    alternatives: tuple[str, ...]
    deeper: tuple[str, ...]


def bounded(schema: Any, levels: int) -> BoundedSchema:
    """Checks a schema for values of at most `levels` levels.

    Raises ValueError saying which bound it breaks, and where.
    """
    found = _subschemas(schema)
    nodes = {pointer: _node(pointer, node, found) for pointer, node in found.items()}
    names = frozenset(name for node in found.values() for name in _keys(node.get("properties")))
    return BoundedSchema(_evaluations(nodes, levels), names)


def _subschemas(schema: Any) -> dict[str, Schema]:
    """Every subschema that is an object, by its JSON pointer."""
    if isinstance(schema, bool):
        return {}
    if not isinstance(schema, dict):
        raise ValueError("it is not an object")
    found: dict[str, Schema] = {}
    waiting = [("#", cast("Schema", schema), 0)]
    while waiting:
        pointer, node, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise ValueError(f"{pointer} is nested deeper than {MAX_DEPTH} schemas")
        if len(found) == MAX_SUBSCHEMAS:
            raise ValueError(f"it has more than {MAX_SUBSCHEMAS} subschemas")
        found[pointer] = node
        waiting += [(below, inner, depth + 1) for below, inner in _below(pointer, node)]
    return found


def _below(pointer: str, node: Schema) -> Iterator[tuple[str, Schema]]:
    for keyword in (*_SAME_VALUE_ONE, *_DEEPER_ONE):
        yield from _objects({keyword: node.get(keyword)}, pointer)
    for keyword in (*_SAME_VALUE_LIST, *_DEEPER_LIST):
        items = node.get(keyword)
        if isinstance(items, list):
            listed = enumerate(cast("list[Any]", items))
            yield from _objects({str(i): item for i, item in listed}, f"{pointer}/{keyword}")
    for keyword in (*_SAME_VALUE_MAP, *_DEEPER_MAP, *_ELSEWHERE_MAP):
        entries = node.get(keyword)
        if isinstance(entries, dict):
            yield from _objects(cast("Schema", entries), f"{pointer}/{keyword}")


def _objects(entries: Mapping[str, Any], pointer: str) -> Iterator[tuple[str, Schema]]:
    for key, value in entries.items():
        if isinstance(value, dict):
            yield f"{pointer}/{_escaped(key)}", cast("Schema", value)


def _node(pointer: str, node: Schema, found: Mapping[str, Schema]) -> _Node:
    for keyword in _REFUSED:
        if keyword in node:
            _refuse(pointer, f"uses {keyword}, which is not taken")
    if node.get("$schema") is not None and str(node["$schema"]).rstrip("#") not in _DRAFTS:
        _refuse(pointer, "names a $schema other than draft 7, 2019-09 or 2020-12")

    def known(*parts: str) -> tuple[str, ...]:
        wanted = "/".join((pointer, *parts))
        return (wanted,) if wanted in found else ()

    def listed(keyword: str) -> tuple[str, ...]:
        items = node.get(keyword)
        count = len(cast("list[Any]", items)) if isinstance(items, list) else 0
        return tuple(p for index in range(count) for p in known(keyword, str(index)))

    def mapped(keyword: str) -> tuple[str, ...]:
        return tuple(p for key in _keys(node.get(keyword)) for p in known(keyword, _escaped(key)))

    same = [p for keyword in _SAME_VALUE_ONE for p in known(keyword)]
    same += [p for keyword in _SAME_VALUE_LIST for p in listed(keyword)]
    same += [p for keyword in _SAME_VALUE_MAP for p in mapped(keyword)]
    return _Node(
        same=(*same, *_target(pointer, node, found)),
        alternatives=(*mapped("properties"), *listed("prefixItems"), *listed("items")),
        deeper=(
            *(p for keyword in _DEEPER_ONE for p in known(keyword)),
            *mapped("patternProperties"),
        ),
    )


def _target(pointer: str, node: Schema, found: Mapping[str, Schema]) -> tuple[str, ...]:
    reference = node.get("$ref")
    if reference is None:
        return ()
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        _refuse(pointer, "has a $ref that leads out of the schema; only #/... is followed")
    target = "/".join(_escaped(_unescaped(part)) for part in unquote(reference).split("/"))
    if target not in found:
        _refuse(pointer, f"has a $ref to {reference[:100]!r}, where no schema stands")
    return (target,)


def _evaluations(nodes: Mapping[str, _Node], levels: int) -> int:
    """The most looks that one value and all values around it can cost, from the root down."""
    if not nodes:
        return 1
    below = dict.fromkeys(nodes, 0)
    for _ in range(levels):
        here: dict[str, int] = {}
        for pointer in nodes:
            _count(pointer, nodes, below, here, _MAX_CHAIN)
        if here == below:
            break
        below = here
    if below["#"] > MAX_EVALUATIONS:
        raise ValueError(
            f"a value could be checked more than {MAX_EVALUATIONS} times; use fewer references and "
            "alternatives"
        )
    return below["#"]


def _count(
    pointer: str,
    nodes: Mapping[str, _Node],
    below: Mapping[str, int],
    here: dict[str, int],
    chain: int,
) -> int:
    """Looks at one value through one subschema; `below` holds those of the level underneath."""
    if pointer in here:
        return here[pointer]
    if chain == 0:
        _refuse(pointer, "refers to itself, or through too many references, at the same value")
    node = nodes[pointer]
    total = 1 + sum(_count(p, nodes, below, here, chain - 1) for p in node.same)
    total += max((below[p] for p in node.alternatives), default=0)
    total += sum(below[p] for p in node.deeper)
    # The exact number does not matter any more, and it could grow without end.
    here[pointer] = min(total, MAX_EVALUATIONS + 1)
    return here[pointer]


def _keys(value: Any) -> tuple[str, ...]:
    return tuple(cast("Schema", value)) if isinstance(value, dict) else ()


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _unescaped(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")


def _refuse(pointer: str, problem: str) -> NoReturn:
    raise ValueError(f"{pointer[:200]} {problem}")
