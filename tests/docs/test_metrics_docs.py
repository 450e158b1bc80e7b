"""docs/observability.md names every metric, every event and every attribute of a trace."""

from pathlib import Path
from typing import get_args

from octant.cli.observability_page import updated
from octant.core.events import AnyEvent
from octant.observability import trace
from octant.observability.catalogue import CATALOGUE
from tests.support import happenings

PAGE = Path(__file__).parents[2] / "docs" / "observability.md"


def test_the_tables_are_those_of_the_code() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert page == updated(page), (
        "docs/observability.md is out of date: "
        "python -m octant.cli.observability_page docs/observability.md"
    )


def test_every_metric_and_event_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")

    for spec in CATALOGUE:
        assert f"| `{spec.exposed_name}` |" in page
        assert spec.help in page
    for kind in get_args(AnyEvent):
        assert f"| `{kind.__struct_config__.tag}` |" in page


def test_every_genai_attribute_of_a_trace_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")

    for name in trace.fold(happenings.whole_request()).root.attributes:
        assert name.startswith("octant.") or f"`{name}`" in page, name
