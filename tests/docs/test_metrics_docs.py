"""docs/observability.md names every metric, every event and every attribute of a trace."""

from pathlib import Path
from typing import get_args

from msgspec.structs import replace

from octant.cli.observability_page import updated
from octant.core.events import AnyEvent
from octant.core.ids import SessionId
from octant.core.sampling import Sampling
from octant.observability import trace
from octant.observability.catalogue import CATALOGUE
from octant.observability.semconv import exported
from tests.support import happenings, settlements

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
    asked = Sampling(max_tokens=9, temperature=0.5, top_k=4, seed=7, n=2, stop=("END",))
    manifest = replace(
        settlements.manifest(1),
        sampling=asked,
        session=SessionId("ses_1"),
        output_schema_digest="sha256:00",
    )
    folded = trace.fold(happenings.whole_run())
    spans = exported(folded, happenings.outcome(attempts=2), manifest)

    for span in (*folded.spans, *spans):
        for name in span.attributes:
            assert name.startswith("octant.") or f"`{name}`" in page, name
