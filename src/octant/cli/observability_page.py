"""Observability page: the tables of `docs/observability.md`, rendered from code between markers.

    python -m octant.cli.observability_page docs/observability.md

Law: prose is written by hand, tables never; a test compares them.
"""

import re
import sys
from pathlib import Path
from typing import Any, get_args, get_type_hints

from octant.core.events import AnyEvent
from octant.core.record import UNKNOWN
from octant.observability.catalogue import CATALOGUE
from octant.observability.series import MetricKind, MetricSpec


def updated(page: str) -> str:
    """`page` with every table replaced by its present state."""
    for name, table in {"metrics": metric_table(), "events": event_table()}.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        page = pattern.sub(lambda _, b=begin, t=table, e=end: f"{b}\n{t}{e}", page)
    return page


def metric_table() -> str:
    """One row for each metric, in the order of the catalogue."""
    rows = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    rows += [_metric_row(spec) for spec in CATALOGUE]
    return "\n".join(rows) + "\n"


def event_table() -> str:
    """One row for each event, in the order of a request's life."""
    rows = ["| event | fields | meaning |", "|---|---|---|"]
    rows += [_event_row(kind) for kind in get_args(AnyEvent)]
    return "\n".join(rows) + "\n"


def _metric_row(spec: MetricSpec) -> str:
    labels = ", ".join(f"`{label}`" for label in spec.labels)
    buckets = ""
    if spec.kind is MetricKind.HISTOGRAM:
        low, high = spec.buckets[0], spec.buckets[-1]
        buckets = f" {len(spec.buckets)} buckets from {low:g} to {high:g}."
    return f"| `{spec.exposed_name}` | {spec.kind.value} | {labels} | {spec.help}{buckets} |"


def _event_row(kind: Any) -> str:
    fields = ", ".join(f"`{name}`" for name in get_type_hints(kind) if name != UNKNOWN)
    meaning = " ".join((kind.__doc__ or "").split())
    return f"| `{kind.__struct_config__.tag}` | {fields} | {meaning} |"


if __name__ == "__main__":
    document = Path(sys.argv[1])
    document.write_text(updated(document.read_text(encoding="utf-8")), encoding="utf-8")
