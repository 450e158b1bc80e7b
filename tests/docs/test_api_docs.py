"""The pages under docs/api/ say everything that the code decides, in the code's own words."""

import asyncio
import json
import re
import sys
import textwrap
from pathlib import Path
from typing import Any, get_args, get_type_hints

import jsonschema_rs
import msgspec
import pytest

from octant.core.failure import RULES, FailureClass, FailureKind, Retry
from octant.core.stage import REQUEST_STAGES
from octant.gateway import headers
from octant.gateway.application import Application
from octant.gateway.dialects import chat_messages
from octant.gateway.dialects.chat_completions import ChatBody, ChatCompletions
from octant.gateway.dialects.completions import CompletionBody, Completions
from octant.gateway.dialects.dialect import Dialect
from octant.gateway.dialects.octant_extras import OCTANT_FIELD, OctantObject
from octant.gateway.dialects.runs import RunBody, Runs
from octant.gateway.dialects.sampling_fields import StreamOptions
from octant.gateway.fields import Field, Table, Treatment, table
from octant.gateway.json_input import decode_body
from octant.gateway.schemas import CONTRACTS, schema
from octant.gateway.sessions import BRANCH_FIELDS, SESSION_FIELDS, NewBranch, NewSession
from octant.gateway.settings import GatewaySettings
from tests.support.gateway import HELLO, make_parts, running_gateway
from tests.support.run_summaries import summarised

MESSAGES = chat_messages.__name__
PAGES = Path(__file__).parents[2] / "docs" / "api"
DIALECTS: dict[str, Dialect] = {
    "/v1/chat/completions": ChatCompletions(),
    "/v1/completions": Completions(),
    "/v1/runs": Runs(),
}
TABLES: list[tuple[str, str, Table, type[msgspec.Struct]]] = [
    ("chat-completions.md", "## Fields", ChatCompletions.fields, ChatBody),
    ("completions.md", "## Fields", Completions.fields, CompletionBody),
    ("runs.md", "## Fields", Runs.fields, RunBody),
    ("octant-object.md", "## Fields", table(*OCTANT_FIELD.inside), OctantObject),
    ("sessions.md", "### POST /v1/sessions\n", SESSION_FIELDS, NewSession),
    ("sessions.md", "### POST /v1/sessions/{id}/branch", BRANCH_FIELDS, NewBranch),
]
# What is inside `octant` stands on its own page.
ELSEWHERE = {"octant"}
NESTED = [
    kind
    for kind in vars(chat_messages).values()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__struct_fields__
    if kind.__module__ == chat_messages.__name__
]


def page(name: str) -> str:
    return (PAGES / name).read_text()


def row_of(name: str, field: Field) -> str:
    accepted = ", ".join(f"`{json.dumps(value)}`" for value in field.harmless)
    harmless = f" Accepted: null, {accepted}." if accepted else ""
    return f"| `{name}` | {field.treatment.value} | {field.note}{harmless} |"


def rows_of(fields: Table, before: str = "") -> list[str]:
    """Every field in the order of the table, each followed by those inside it."""
    rows: list[str] = []
    for field in fields.values():
        rows.append(row_of(before + field.name, field))
        if field.name not in ELSEWHERE:
            rows += rows_of(table(*field.inside), f"{before}{field.name}.")
    return rows


@pytest.mark.parametrize(("name", "heading", "fields", "shape"), TABLES)
def test_the_table_of_a_page_is_the_table_of_the_code(
    name: str, heading: str, fields: Table, shape: Any
) -> None:
    section = page(name).partition(heading)[2]
    text = section.partition("| field |")[2].partition("\n\n")[0]
    assert text.splitlines()[2:] == rows_of(fields)


@pytest.mark.parametrize(("name", "heading", "fields", "shape"), TABLES)
def test_taken_fields_are_exactly_those_that_are_decoded(
    name: str, heading: str, fields: Table, shape: type[msgspec.Struct]
) -> None:
    taken = {field.name for field in fields.values() if field.treatment is Treatment.TAKEN}
    assert taken == set(shape.__struct_fields__)


def structs_in(hint: Any) -> list[type[msgspec.Struct]]:
    """The objects that a field takes, alone or in an array."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return [hint]
    return [found for inner in get_args(hint) for found in structs_in(inner)]


@pytest.mark.parametrize(("name", "heading", "fields", "shape"), TABLES)
def test_fields_inside_are_exactly_those_that_are_decoded(
    name: str, heading: str, fields: Table, shape: type[msgspec.Struct]
) -> None:
    hints = get_type_hints(shape)
    for field in fields.values():
        if field.inside:
            (kind,) = [k for k in structs_in(hints[field.name]) if k.__module__ != MESSAGES]
            assert {inner.name for inner in field.inside} == set(kind.__struct_fields__)
            inside = [inner for inner in field.inside if inner.inside]
            test_fields_inside_are_exactly_those_that_are_decoded(
                name, heading, table(*inside), kind
            )


def test_every_nested_field_is_documented() -> None:
    text = page("chat-completions.md")
    names = {name for kind in (*NESTED, StreamOptions) for name in kind.__struct_fields__}
    assert len(NESTED) > 10
    missing = {name for name in names if f"`{name}`" not in text and f'"{name}"' not in text}
    assert missing == set()


def test_every_header_is_documented() -> None:
    read, _, sent = page("headers.md").partition("## Sent")
    for text, known in ((read, headers.READ), (sent, headers.SENT)):
        documented = [row.split("`")[1] for row in text.splitlines() if row.startswith("| `")]
        assert documented == list(known)
        for name, meaning in known.items():
            assert f"| `{name}` | {meaning} |" in text


def test_every_error_is_documented_with_its_rule() -> None:
    text = page("errors.md")
    for kind in FailureKind:
        rule = RULES[kind]
        retried = rule.retry in (Retry.AFTER_DELAY, Retry.OTHER_ROUTE)
        says = "true" if retried else "false"
        own = f"{rule.failure_class.value} | {rule.retry.value}"
        row = (
            f"| `{kind.value}` | {rule.status} | {rule.error_type} | {own} | {says} | "
            f"{rule.billed.value} |"
        )
        assert row in text


def test_every_class_retry_rule_and_stage_is_explained() -> None:
    text = page("errors.md")
    for known in (*FailureClass, *Retry):
        assert f"| `{known.value}` |" in text
    assert all(f"`{stage.value}`" in text for stage in REQUEST_STAGES)


def test_every_schema_is_documented() -> None:
    text = page("schemas.md")
    for name, contract in CONTRACTS.items():
        assert f"| `{name}` | {contract.title} |" in text


def blocks(name: str, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page(name), re.M | re.S)


def test_every_body_in_an_example_is_taken() -> None:
    read = 0
    for path in PAGES.glob("*.md"):
        for command in blocks(path.name, "sh"):
            target = re.search(r"http://127\.0\.0\.1:8000(\S+)", command)
            body = re.search(r"-d '(.*?)'\s*$", command, re.S)
            assert target is not None
            if body is None:
                continue
            sent = body.group(1).encode()
            if target.group(1) in DIALECTS:
                DIALECTS[target.group(1)].read(sent, GatewaySettings())
            else:
                decode_body(sent, NewSession, SESSION_FIELDS, 9)
            read += 1
    assert read >= 5


def test_the_answers_in_examples_fit_their_schemas() -> None:
    for name, shape in (("runs.md", "run-response.v1"), ("sessions.md", "session.v1")):
        (example,) = blocks(name, "json")
        jsonschema_rs.validator_for(schema(shape)).validate(json.loads(example))


async def test_the_python_example_of_the_octant_object_runs() -> None:
    (example,) = blocks("octant-object.md", "python")
    async with running_gateway(GatewaySettings()) as gateway:
        gateway.path.script = summarised(*HELLO)
        options = {"base_url": f"{gateway.url}/v1", "api_key": gateway.key}
        command = f"from openai import OpenAI\nwith OpenAI(**{options!r}) as client:\n"
        command += textwrap.indent(example, "    ")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", command, stdout=asyncio.subprocess.PIPE
        )
        told, _ = await process.communicate()
    assert told.decode().split() == ["Hello", "completed"]


def test_every_endpoint_stands_in_the_index_and_has_a_page() -> None:
    index = page("README.md")
    application = Application(make_parts(GatewaySettings()).services)
    for endpoint in application.routing.endpoints:
        named = f"`{endpoint.method} {endpoint.path}`"
        (row,) = [line for line in index.splitlines() if line[:1] == "|" and named in line]
        linked = row.partition("](")[2].partition(")")[0]
        assert f"{endpoint.method} {endpoint.path}" in page(linked).splitlines()[0]


def test_every_endpoint_page_says_how_it_fails_and_ends() -> None:
    for path in PAGES.glob("*.md"):
        if path.name in ("README.md", "headers.md", "errors.md", "octant-object.md"):
            continue
        text = " ".join(path.read_text().split())
        for topic in ("errors.md", "headers.md", "cancel", "artial output"):
            assert topic in text, f"{path.name} says nothing of {topic}"


def test_every_page_is_linked_from_the_index() -> None:
    index = page("README.md")
    for path in PAGES.glob("*.md"):
        assert path.name == "README.md" or f"({path.name})" in index


def test_every_link_leads_somewhere() -> None:
    for path in PAGES.glob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)[)#]", path.read_text()):
            assert (PAGES / target).exists(), f"{path.name} links to {target}"
