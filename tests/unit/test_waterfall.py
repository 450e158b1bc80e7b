"""Waterfalls: bars lie where their spans do, and nobody's text steers the terminal."""

import io
import json

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from octant.core.failure import Failure, FailureKind
from octant.core.outcome import OutcomeStatus
from octant.core.stage import Stage
from octant.observability import trace
from octant.observability.printable import PrintableStream, printable
from octant.observability.waterfall import as_json, bar, waterfall
from tests.support import happenings


def _drawn(folded: trace.Trace) -> str:
    written = io.StringIO()
    Console(file=written, width=140, force_terminal=False).print(waterfall(folded))
    return written.getvalue()


def test_bars_tile_the_request_in_order() -> None:
    folded = trace.fold(happenings.whole_request())

    bars = {span.name: bar(folded, span, 28) for span in folded.spans}

    assert bars["chat octant-mini"] == "█" * 28
    assert bars["queue"] == " " + "█" * 3 + " " * 24
    assert bars["decode"] == " " * 7 + "█" * 21
    assert all(len(drawn) == 28 for drawn in bars.values())


def test_a_waterfall_names_every_span_with_its_duration() -> None:
    drawn = _drawn(trace.fold(happenings.whole_request())).splitlines()

    decode = next(line for line in drawn if "decode" in line)
    assert "100.0" in decode and "tokens=11" in decode and "finish=stop" in decode
    assert len(drawn) == 12


def test_a_refusal_is_drawn_where_it_happened_and_explained_once() -> None:
    refused = Failure(
        kind=FailureKind.RATE_LIMIT_EXCEEDED, stage=Stage.ADMISSION, message="Too many requests."
    )
    ended = happenings.outcome(status=OutcomeStatus.FAILED, failure=refused, attempts=0)

    drawn = _drawn(trace.fold([happenings.received(), happenings.settled(ended)]))

    assert drawn.count("Too many requests.") == 1
    assert drawn.splitlines()[-1].split()[0] == "admission"
    assert drawn.rstrip().endswith("rate_limit_exceeded")


def test_the_ruler_stands_apart_from_the_columns() -> None:
    heading = _drawn(trace.fold(happenings.whole_request())).splitlines()[0]

    assert heading.split()[:4] == ["span", "start", "ms", "ms"]
    assert heading.rstrip().endswith("─ 140.0 ms")


def test_control_characters_of_callers_never_reach_the_terminal() -> None:
    folded = trace.fold([happenings.received(model="a\x1b[2Jb\x07\u202ec")])

    assert "chat abc" in _drawn(folded)


def test_json_has_wall_clock_times_and_is_plain() -> None:
    folded = trace.fold(happenings.whole_request())

    plain = json.loads(json.dumps(as_json(folded)))

    assert plain["duration_ns"] == 140_000_000
    decode = next(span for span in plain["spans"] if span["name"] == "decode")
    assert decode["start_unix_ns"] == plain["start_unix_ns"] + 36_000_000


def test_escape_sequences_are_removed_whole() -> None:
    assert printable("a\x1b[31mred\x1b[0m\x1b]0;title\x07b\x9b2Jc\r\x08d\te\n") == "aredbcd\te\n"


@given(st.text(alphabet="\x1b[]0;31mHab\x07\x9b\\\n\u202e", max_size=40), st.data())
def test_pieces_print_no_more_than_the_whole_would(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    stream = PrintableStream()
    shown = "".join(
        stream.feed(text[a:b]) for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)
    )
    shown += stream.close()

    assert not set(shown) & set("\x1b\x07\x9b\u202e")
    assert printable(shown) == shown


def test_a_colour_cut_in_two_does_not_leak_its_tail() -> None:
    stream = PrintableStream()

    assert stream.feed("a\x1b[3") + stream.feed("1mb") + stream.close() == "ab"
