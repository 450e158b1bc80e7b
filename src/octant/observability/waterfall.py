"""Waterfall: a trace drawn for a terminal, and the same trace as plain JSON values.

Law: drawing is a pure function of the trace and the width of its bars; nothing is measured here.
"""

from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from octant.core.units import ms_from_ns
from octant.observability.printable import printable
from octant.observability.span import AttributeValue, Span
from octant.observability.trace import Trace

BAR_WIDTH = 48

_STYLE_OF_STAGE = {"queue": "yellow", "prefill": "cyan", "decode": "green"}
_GROUP_STYLE, _ERROR_STYLE, _STAGE_STYLE = "bold", "red", "blue"


def waterfall(trace: Trace, bar_width: int = BAR_WIDTH) -> RenderableType:
    """One line per span: name, duration, and a bar where it lies in the request."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("span", no_wrap=True)
    table.add_column("start ms", justify="right", no_wrap=True)
    table.add_column("ms", justify="right", no_wrap=True)
    table.add_column(_ruler(trace, bar_width), no_wrap=True)
    table.add_column("", overflow="fold")
    depths = _depths(trace)
    for span in trace.spans:
        table.add_row(
            Text("  " * depths[span.span_id] + printable(span.name), style=_style(span)),
            f"{ms_from_ns(span.start_ns - trace.start_ns):.1f}",
            f"{ms_from_ns(span.duration_ns):.1f}",
            Text(bar(trace, span, bar_width), style=_style(span)),
            Text(_remark(trace, span), style="dim" if span.error is None else _ERROR_STYLE),
        )
    return table


def bar(trace: Trace, span: Span, width: int) -> str:
    """`width` characters; a span that took any time at all shows at least one block."""
    total_ns = max(1, trace.root.duration_ns)
    offset_ns = span.start_ns - trace.start_ns
    first = min(width - 1, offset_ns * width // total_ns)
    after = min(width, max(first + 1, -(-(offset_ns + span.duration_ns) * width // total_ns)))
    mark = "█" if span.duration_ns else "╵"
    return " " * first + mark * (after - first) + " " * (width - after)


def as_json(trace: Trace) -> dict[str, Any]:
    """Plain values for `--json`: spans with wall-clock start and duration in nanoseconds."""
    return {
        "trace_id": trace.trace_id,
        "request_id": trace.request_id,
        "complete": trace.complete,
        "start_unix_ns": trace.start_unix_ns,
        "duration_ns": trace.root.duration_ns,
        "spans": [_span_json(trace, span) for span in trace.spans],
    }


def _span_json(trace: Trace, span: Span) -> dict[str, Any]:
    def unix_ns(at_ns: int) -> int:
        return trace.start_unix_ns + at_ns - trace.start_ns

    return {
        "span_id": span.span_id,
        "parent_span_id": span.parent_span_id,
        "name": span.name,
        "stage": span.stage,
        "start_unix_ns": unix_ns(span.start_ns),
        "duration_ns": span.duration_ns,
        "attributes": {name: _plain(value) for name, value in span.attributes.items()},
        "events": [
            {
                "name": event.name,
                "at_unix_ns": unix_ns(event.at_ns),
                "attributes": {name: _plain(value) for name, value in event.attributes.items()},
            }
            for event in span.events
        ],
        "error": span.error,
    }


def _plain(value: AttributeValue) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _worded(value: AttributeValue) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _depths(trace: Trace) -> dict[str, int]:
    depths: dict[str, int] = {trace.root.span_id: 0}
    for span in trace.spans[1:]:
        depths[span.span_id] = depths.get(span.parent_span_id or "", 0) + 1
    return depths


def _ruler(trace: Trace, width: int) -> str:
    end = f"{ms_from_ns(trace.root.duration_ns):.1f} ms"
    return "0" + f" {end}".rjust(max(0, width - 1), "─")


def _style(span: Span) -> str:
    if span.error is not None:
        return _ERROR_STYLE
    if span.stage is None:
        return _GROUP_STYLE
    return _STYLE_OF_STAGE.get(span.stage, _STAGE_STYLE)


_REMARKS = {
    "gen_ai.usage.input_tokens": "in",
    "gen_ai.usage.output_tokens": "out",
    "octant.status": "status",
    "octant.profile": "profile",
    "octant.prompt.tokens": "tokens",
    "octant.cached.tokens": "cached",
    "octant.completion.tokens": "tokens",
    "octant.finish_reason": "finish",
    "octant.route.id": "route",
    "octant.route.label": "label",
    "octant.policy.decision": "decision",
    "octant.policy.rule": "rule",
    "octant.policy.findings": "found",
    "octant.session.version": "version",
    "octant.evidence.passages": "passages",
    "octant.evidence.dropped": "dropped",
    "octant.tool.status": "status",
    "octant.tool.side_effect": "effect",
    "octant.output.valid": "valid",
    "octant.output.supported": "supported",
    "octant.output.repairs": "repairs",
    "octant.reserved_tokens": "reserved",
}


def _remark(trace: Trace, span: Span) -> str:
    attributes = span.attributes
    said = [
        f"{word}={_worded(attributes[name])}"
        for name, word in _REMARKS.items()
        if name in attributes
    ]
    if attributes.get("octant.choice"):
        said.append(f"choice={attributes['octant.choice']}")
    said.extend(event.name for event in span.events)
    if span.error is not None:
        told_above = span is not trace.root and span.error == trace.root.error
        kind = str(attributes.get("error.type"))
        said.append(kind if told_above else f"{kind}: {span.error}")
    return printable(" ".join(said))
