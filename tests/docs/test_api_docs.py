"""The pages under docs/api/ say everything that the code decides, in the code's own words."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from octant.core.failure import RULES, FailureKind, Retry
from octant.gateway import headers
from octant.gateway.application import Application
from octant.gateway.dialects import chat_messages
from octant.gateway.dialects.chat_completions import ChatBody, ChatCompletions
from octant.gateway.dialects.completions import CompletionBody, Completions
from octant.gateway.dialects.dialect import Dialect
from octant.gateway.dialects.sampling_fields import Extras, StreamOptions
from octant.gateway.fields import Field, Treatment
from octant.gateway.settings import GatewaySettings
from tests.support.gateway import make_parts

PAGES = Path(__file__).parents[2] / "docs" / "api"
DIALECTS: list[tuple[Dialect, str, type[msgspec.Struct]]] = [
    (ChatCompletions(), "chat-completions.md", ChatBody),
    (Completions(), "completions.md", CompletionBody),
]
NESTED = [
    kind
    for kind in vars(chat_messages).values()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__struct_fields__
    if kind.__module__ == chat_messages.__name__
]


def page(name: str) -> str:
    return (PAGES / name).read_text()


def row_of(field: Field) -> str:
    accepted = ", ".join(f"`{json.dumps(value)}`" for value in field.harmless)
    harmless = f" Accepted: null, {accepted}." if accepted else ""
    return f"| `{field.name}` | {field.treatment.value} | {field.note}{harmless} |"


@pytest.mark.parametrize(("dialect", "name", "body"), DIALECTS)
def test_every_field_is_documented_as_it_is_treated(dialect: Dialect, name: str, body: Any) -> None:
    text = page(name)
    for field in dialect.fields.values():
        assert row_of(field) in text


@pytest.mark.parametrize(("dialect", "name", "body"), DIALECTS)
def test_the_pages_promise_no_field_that_is_not_there(
    dialect: Dialect, name: str, body: Any
) -> None:
    table = page(name).partition("## Fields")[2].partition("\n\n|")[2].partition("\n\n")[0]
    documented = [row.split("`")[1] for row in table.splitlines() if row.startswith("| `")]
    assert documented == list(dialect.fields)


@pytest.mark.parametrize(("dialect", "name", "body"), DIALECTS)
def test_taken_fields_are_exactly_those_that_are_decoded(
    dialect: Dialect, name: str, body: type[msgspec.Struct]
) -> None:
    taken = {f.name for f in dialect.fields.values() if f.treatment is Treatment.TAKEN}
    assert taken == set(body.__struct_fields__)


def test_every_nested_field_is_documented() -> None:
    text = page("chat-completions.md")
    names = {name for kind in (*NESTED, Extras, StreamOptions) for name in kind.__struct_fields__}
    assert len(NESTED) > 10
    missing = {name for name in names if f"`{name}`" not in text and f'"{name}"' not in text}
    assert missing == set()


def test_every_header_is_documented() -> None:
    read, _, sent = page("headers.md").partition("## Sent")
    for text, table in ((read, headers.READ), (sent, headers.SENT)):
        documented = [row.split("`")[1] for row in text.splitlines() if row.startswith("| `")]
        assert documented == list(table)
        for name, meaning in table.items():
            assert f"| `{name}` | {meaning} |" in text


def test_every_error_is_documented_with_its_rule() -> None:
    text = page("errors.md")
    for kind in FailureKind:
        rule = RULES[kind]
        retried = rule.retry in (Retry.AFTER_DELAY, Retry.OTHER_ROUTE)
        says = "true" if retried else "false"
        row = (
            f"| `{kind.value}` | {rule.status} | {rule.error_type} | {says} | {rule.billed.value} |"
        )
        assert row in text


def test_every_endpoint_stands_in_the_index_and_has_a_page() -> None:
    index = page("README.md")
    application = Application(make_parts(GatewaySettings()).services)
    for endpoint in application.routing.endpoints:
        named = f"`{endpoint.method} {endpoint.path}`"
        (row,) = [line for line in index.splitlines() if named in line]
        linked = row.partition("](")[2].partition(")")[0]
        assert f"{endpoint.method} {endpoint.path}" in page(linked).splitlines()[0]


def test_every_endpoint_page_says_how_it_fails_and_ends() -> None:
    for path in PAGES.glob("*.md"):
        if path.name in ("README.md", "headers.md", "errors.md"):
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
