"""Declared tools: the call with its arguments, then a sentence made of the result."""

import json
import random
from dataclasses import dataclass, field, replace
from typing import Any

from .core import Dialog, Section, Split, Tool, fill, load_sections, sentence_case
from .noise import disturb
from .values import ANIMALS, FOODS, TABLES, THINGS, VERBS, WEEKDAYS, coined, draw

TOOLS = load_sections("tools")
NUMERIC = {"count", "number", "minutes", "big", "degrees", "percent", "year", "decimal"}
ERRORS = (
    "not found",
    "no permission",
    "timed out",
    "invalid request",
    "service is down",
    "no such entry",
    "try again later",
    "limit reached",
    "unknown id",
    "division by zero",
    "there is no table {}",
    "more than one row has this key",
    "the time zone is not known",
)
SYNONYMS = {
    "city": ("location", "place", "town"),
    "date": ("day", "when"),
    "time": ("at", "when"),
    "order_id": ("order", "order_number", "id"),
    "minutes": ("duration", "mins"),
    "to": ("recipient", "address"),
    "text": ("message", "content", "body"),
    "name": ("person", "who", "full_name"),
    "product": ("item", "article"),
    "origin": ("start", "from_city"),
    "destination": ("end", "to_city"),
    "title": ("subject",),
    "people": ("guests", "persons"),
    "query": ("q", "term"),
    "path": ("file", "filename"),
    "email": ("mail", "address"),
    "amount": ("value", "sum"),
    "room": ("room_id",),
}


CLOCK = ("clock", "clock_zone")
BUILT_IN = (*CLOCK, "lookup")
TRAINED = [tool for tool in TOOLS if tool.attributes[0] == "train"]


def _of(split: Split, *, new: bool) -> list[Section]:
    """Tools of training, or those that the split holds out whole."""
    return [tool for tool in TOOLS if tool.attributes[0] == split] if new else TRAINED


def _pairs(section: Section, kind: str) -> list[tuple[str, str]]:
    """`key:kind` items of a parameter or result line."""
    body = "".join(section.of(kind, "train")).split()
    return [(item.split(":")[0], item.split(":")[1]) for item in body]


def _typed(kind: str, value: str) -> Any:
    """The JSON value of a drawn value."""
    if kind == "bool":
        return value == "true"
    if kind == "decimal":
        return float(value)
    return int(value) if kind in NUMERIC else value


OPTIONAL: dict[str, Any] = {
    "limit": {"type": "integer"},
    "verbose": {"type": "boolean"},
    "comment": {"type": "string"},
    "format": {"type": "string", "enum": ["short", "long"]},
    "mode": {"type": "string", "enum": ["fast", "safe", "full"]},
    "tags": {"type": "array"},
}


def declare(name: str, description: str, properties: dict[str, Any]) -> Tool:
    """An OpenAI-shaped declaration in which every parameter is required."""
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": parameters},
    }


def _declared(rng: random.Random, section: Section, renamed: dict[str, str]) -> Tool:
    name = rng.choice(section.of("n", "train"))
    if rng.random() < 0.08 and section.attributes[0] == "train":
        name = rng.choice((f"{coined(rng)}_{coined(rng)}", coined(rng), f"do_{coined(rng)}"))
    properties = {}
    for key, kind in _pairs(section, "p"):
        type_name = rng.choice(("integer", "integer", "number")) if kind in NUMERIC else "string"
        properties[renamed.get(key, key)] = {"type": type_name}
    tool = declare(name, rng.choice(section.of("d", "train")), properties)
    if section.name in CLOCK:
        properties.setdefault("timezone", {"type": "string"})
        tool["function"]["parameters"]["required"] = []
    elif rng.random() < 0.08:
        extra = rng.choice(list(OPTIONAL))
        properties.setdefault(extra, OPTIONAL[extra])
    if rng.random() < 0.04:
        del tool["function"]["description"]
    return tool


def _renaming(rng: random.Random, section: Section) -> dict[str, str]:
    """Other names for some parameters of a training tool."""
    keys = [key for key, _ in _pairs(section, "p")]
    if section.attributes[0] != "train" or section.name in BUILT_IN or rng.random() < 0.8:
        return {}
    renamed = {key: rng.choice(SYNONYMS[key]) for key in keys if key in SYNONYMS}
    return renamed if len({renamed.get(k, k) for k in keys}) == len(keys) else {}


def coined_tool(rng: random.Random, split: Split) -> tuple[Tool, str, dict[str, Any]]:
    """A tool of made-up words, the request that names what it does, and the arguments."""
    verb, thing = coined(rng), coined(rng)
    kinds = rng.sample(
        (
            "city",
            "count",
            "name",
            "id",
            "date",
            "phrase",
            "colour",
            "word",
            "number",
            "time",
            "email",
            "animal",
        ),
        rng.choice((1, 1, 2, 2, 3)),
    )
    keys = [rng.choice((kind, coined(rng))) for kind in kinds]
    values = [draw(rng, kind, split) for kind in kinds]
    properties = {
        key: {"type": "integer" if kind in NUMERIC else "string"}
        for key, kind in zip(keys, kinds, strict=True)
    }
    arguments = {k: _typed(kind, v) for k, kind, v in zip(keys, kinds, values, strict=True)}
    given = " and ".join(f"{k} {v}" for k, v in zip(keys, values, strict=True))
    tool = declare(f"{verb}_{thing}", f"{verb.capitalize()} a {thing}", properties)
    asked = rng.choice(
        (
            f"{verb.capitalize()} a {thing} with {given}.",
            f"{verb} the {thing}: {given}",
            f"Use {verb}_{thing} with {given}.",
            f"Please {verb} a {thing}, {given}.",
            f"Call {verb}_{thing}, {given}.",
        )
    )
    return tool, asked, arguments


PHRASES = {
    "city": ("in {v}", "to {v}", "from {v}", "near {v}", "at {v}"),
    "date": ("on {v}", "for {v}", "by {v}", "from {v}", "until {v}"),
    "time": ("at {v}", "for {v}", "before {v}", "from {v}", "around {v}"),
    "name": ("for {v}", "with {v}", "of {v}", "to {v}"),
    "full_name": ("for {v}", "with {v}", "of {v}", "by {v}"),
    "count": ("{v} times", "for {v} days", "with {v} pieces", "for {v} people"),
    "minutes": ("for {v} minutes", "in {v} minutes", "within {v} minutes"),
    "number": ("for {v} euros", "with the amount {v}", "worth {v}", "up to {v} euros"),
    "id": ("with the number {v}", "number {v}", "for order {v}", "{v}"),
    "email": ("for {v}", "and tell {v}", "to {v}"),
    "street": ("at {v}", "to {v}", "from {v}"),
    "colour": ("in {v}", "with the colour {v}"),
    "shelf": ("in room {v}", "on shelf {v}"),
    "phrase": ("called {v}", "titled {v}", "named {v}", "with the text {v}"),
    "word": ("on {v}", "called {v}", "named {v}", "for {v}"),
}
KEYS = {
    "city": ("city", "place", "town", "destination", "origin"),
    "date": ("date", "day", "when"),
    "time": ("time", "at", "hour"),
    "name": ("name", "person", "customer", "owner", "user"),
    "full_name": ("name", "customer", "employee", "person", "client", "reader", "student"),
    "count": ("count", "days", "people", "copies", "pieces", "amount"),
    "minutes": ("minutes", "duration"),
    "number": ("amount", "price", "sum", "budget"),
    "id": ("id", "number", "order_id", "code", "reference"),
    "email": ("email", "mail", "contact"),
    "street": ("address", "street"),
    "colour": ("colour", "color"),
    "shelf": ("room", "shelf"),
    "phrase": ("title", "text", "subject", "label"),
    "word": ("name", "target", "server", "host"),
}
OPENINGS = (
    "",
    "",
    "",
    "Please ",
    "Can you ",
    "I want to ",
    "We need to ",
    "Could you ",
    "I have to ",
    "I would like to ",
    "Let us ",
    "You must ",
    "It is time to ",
    "Go and ",
)


def made_tool(rng: random.Random, split: Split) -> tuple[Tool, str, dict[str, Any]]:
    """A tool of known words that exists nowhere: a verb, a thing and parameters."""
    verb, thing = rng.choice(VERBS), rng.choice((*THINGS, *ANIMALS, *FOODS))
    kinds = rng.sample(list(PHRASES), rng.choice((1, 1, 2, 2, 3)))
    keys = [rng.choice(KEYS[kind]) for kind in kinds]
    if len(set(keys)) < len(keys):
        return made_tool(rng, split)
    values = [draw(rng, kind, split) for kind in kinds]
    properties = {
        key: {"type": "integer" if kind in NUMERIC else "string"}
        for key, kind in zip(keys, kinds, strict=True)
    }
    arguments = {k: _typed(kind, v) for k, kind, v in zip(keys, kinds, values, strict=True)}
    said = [fill(rng.choice(PHRASES[kind]), v=v) for kind, v in zip(kinds, values, strict=True)]
    rng.shuffle(said)
    core = f"{verb} {rng.choice(('a', 'the', 'my'))} {thing}"
    opening = rng.choice(OPENINGS)
    request = sentence_case(f"{opening}{core} {' '.join(said)}{rng.choice(('.', '.', '?', ''))}")
    if rng.random() < 0.2:
        request = sentence_case(f"{said[0]} {opening.lower()}{' '.join([core, *said[1:]])}.")
    name = rng.choice((f"{verb}_{thing}", f"{thing}_{verb}", f"{verb}_{thing}s", f"do_{verb}"))
    description = rng.choice(
        (
            f"{verb.capitalize()} a {thing}",
            f"{verb.capitalize()} some {thing}",
            f"{verb.capitalize()} {thing}s",
            f"Lets you {verb} a {thing}",
        )
    )
    return declare(name, description, properties), request, arguments


@dataclass(frozen=True)
class Use:
    """A declared tool and one request for it."""

    tool: Tool
    request: str
    arguments: dict[str, Any]
    section: Section | None = None
    renamed: dict[str, str] = field(default_factory=dict)


def _ask(
    rng: random.Random, split: Split, section: Section, renamed: dict[str, str], **given: str
) -> tuple[str, dict[str, Any]]:
    """A request for a tool of the frame file, and its arguments, of which some may be given."""
    values = {key: draw(rng, kind, split) for key, kind in _pairs(section, "p")} | given
    arguments = {renamed.get(k, k): _typed(kind, values[k]) for k, kind in _pairs(section, "p")}
    return fill(section.pick(rng, "a", split), **values), arguments


def real_tool(
    rng: random.Random, split: Split, *, new: bool = False, built_in: bool = False
) -> Use:
    """A tool of the frame file and a request for it."""
    pool = _of(split, new=new)
    section = rng.choice(pool)
    if built_in or (not new and rng.random() < 0.12):
        section = rng.choice([tool for tool in pool if tool.name in BUILT_IN])
    renamed = _renaming(rng, section)
    request, arguments = _ask(rng, split, section, renamed)
    tool = _declared(rng, section, renamed)
    if section.name == "lookup" and rng.random() < 0.6:
        _list_tables(rng, tool, arguments["table"])
    return Use(tool, request, arguments, section, renamed)


def _list_tables(rng: random.Random, tool: Tool, asked: str) -> None:
    """Declare the tables and their key columns, as the server does for its own lookup."""
    tables = list(dict.fromkeys([asked, *rng.sample(TABLES, rng.choice((0, 1, 1, 2, 3)))]))
    rng.shuffle(tables)
    function = tool["function"]
    function["parameters"]["properties"]["table"] = {"type": "string", "enum": tables}
    keys = ", ".join(f"{table} by {rng.choice(KEY_COLUMNS)}" for table in tables)
    function["description"] = f"Look up an entry: {keys}"


def _tables(tool: Tool) -> dict[str, list[str]]:
    """The value that a further request may have for the table, if tables are declared."""
    table = tool["function"]["parameters"]["properties"].get("table", {})
    return {"table": table["enum"]} if "enum" in table else {}


def bystanders(rng: random.Random, split: Split, count: int, *, new: bool = False) -> list[Tool]:
    """Other declared tools, which the request does not need."""
    pool = [section for section in _of(split, new=new) if section.name != "clock_zone"]
    real = [_declared(rng, s, _renaming(rng, s)) for s in rng.sample(pool, count)]
    if split != "train":
        return real
    return [made_tool(rng, split)[0] if rng.random() < 0.2 else tool for tool in real]


def _spoken(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def say_result(result: dict[str, Any]) -> str:
    """The sentence that reports a result: every key with its value."""
    if set(result) == {"error"}:
        return f"The tool reported an error: {result['error']}."
    parts = [f"the {key.replace('_', ' ')} is {_spoken(value)}" for key, value in result.items()]
    if len(parts) > 1:
        parts[-1] = "and " + parts[-1]
    glue = ", " if len(parts) > 2 else " "
    return sentence_case(glue.join(parts)) + "."


KEY_COLUMNS = ("id", "id", "number", "name", "code", "email", "key")
COLUMNS = {
    "id": "number",
    "name": "full_name",
    "email": "email",
    "phone": "phone",
    "city": "city",
    "status": "status",
    "price": "number",
    "stock": "number",
    "product": "phrase",
    "date": "date",
    "company": "company",
    "owner": "name",
    "room": "shelf",
    "active": "bool",
    "total": "decimal",
    "address": "street",
    "colour": "colour",
    "quantity": "count",
}


def _row(rng: random.Random, split: Split, key: str) -> dict[str, Any]:
    """A row of a table, its key column first."""
    if rng.random() < 0.06:
        return {"result": "not found"}
    first = rng.choice(KEY_COLUMNS)
    columns = [c for c in rng.sample(list(COLUMNS), rng.choice((1, 2, 2, 3))) if c != first]
    row = {column: _typed(COLUMNS[column], draw(rng, COLUMNS[column], split)) for column in columns}
    return ({first: key} | row) if rng.random() < 0.8 or not row else row


def _moment(rng: random.Random, zone: str) -> dict[str, Any]:
    """What a clock says, in full or in part."""
    date = f"{rng.randint(2024, 2030)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
    clock = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"
    if rng.random() < 0.4:
        return {"date": date, "time": clock}
    offset = f"{rng.choice('+-')}{rng.randint(0, 12):02}:{rng.choice(('00', '00', '30'))}"
    return {
        "date": date,
        "time": f"{clock}:{rng.randint(0, 59):02}",
        "weekday": rng.choice(WEEKDAYS),
        "timezone": zone,
        "utc_offset": offset,
    }


def _made_result(rng: random.Random, split: Split, use: Use) -> dict[str, Any]:
    """What the called tool returns."""
    section = use.section
    if rng.random() < 0.06:
        return {"error": rng.choice(ERRORS).format(rng.choice(TABLES))}
    if section is not None and section.name == "lookup":
        return _row(rng, split, use.arguments["key"])
    if section is not None and section.name in CLOCK:
        return _moment(rng, use.arguments.get("timezone", "UTC"))
    if section is not None and rng.random() < 0.8:
        return {k: _typed(kind, draw(rng, kind, split)) for k, kind in _pairs(section, "r")}
    kinds = (
        "number",
        "word",
        "title",
        "status",
        "date",
        "time",
        "id",
        "city",
        "count",
        "phrase",
        "weather",
        "person",
        "bool",
        "decimal",
        "degrees",
    )
    pairs = {
        draw(rng, "noun", split).replace(" ", "_"): rng.choice(kinds)
        for _ in range(rng.choice((1, 2, 2, 3)))
    }
    return {key: _typed(kind, draw(rng, kind, split)) for key, kind in pairs.items()}


def use_tool(
    dialog: Dialog,
    rng: random.Random,
    split: Split,
    *,
    new: bool = False,
    built_in: bool = False,
) -> None:
    """One request or two for a tool, unless it is declared already: call, result, sentence."""
    roll = rng.random() if split == "train" and not built_in else 1.0
    if roll < 0.2:
        use = Use(*(coined_tool if roll < 0.03 else made_tool)(rng, split))
    else:
        use = real_tool(rng, split, new=new, built_in=built_in)
    if use.tool["function"]["name"] in {other["function"]["name"] for other in dialog.tools}:
        return
    dialog.tools.append(use.tool)
    _turn(dialog, rng, split, use)
    if use.section is not None and rng.random() < 0.2:
        given = {key: rng.choice(tables) for key, tables in _tables(use.tool).items()}
        request, arguments = _ask(rng, split, use.section, use.renamed, **given)
        _turn(dialog, rng, split, replace(use, request=request, arguments=arguments))


def _turn(dialog: Dialog, rng: random.Random, split: Split, use: Use) -> None:
    """The request, the call, its result, and the sentence about it."""
    dialog.user(disturb(rng, use.request) if split == "train" else use.request)
    dialog.call(use.tool["function"]["name"], use.arguments)
    made = _made_result(rng, split, use)
    dialog.result(json.dumps(made, ensure_ascii=False))
    check = {"kind": "contains", "all": [_spoken(value) for value in made.values()]}
    dialog.assistant(say_result(made), check)


def tool_dialog(rng: random.Random, split: Split, *, new: bool = False) -> Dialog:
    """One to three requests over one to three (now and then more) shuffled declarations."""
    dialog = Dialog("tools")
    for _ in range(rng.choice((1, 2, 2, 3))):
        use_tool(dialog, rng, split, new=new)
    names = {tool["function"]["name"] for tool in dialog.tools}
    for tool in bystanders(rng, split, rng.choice((0, 1, 1, 2)), new=new):
        if tool["function"]["name"] not in names:
            names.add(tool["function"]["name"])
            dialog.tools.append(tool)
    rng.shuffle(dialog.tools)
    return dialog
