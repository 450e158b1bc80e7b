"""The readers of upstream answers over anything: a result or a Failed, whatever the cut."""

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from octant.adapters.openai_upstream.chunks import AnswerBounds, ChunkReader
from octant.adapters.openai_upstream.sse import OversizedEvent, SseReader
from octant.core.failure import Failed
from octant.core.ids import RouteId
from octant.core.stream import Completed, StreamItem, TextDelta

BOUNDS = AnswerBounds(choices=2, max_context=100, prompt_tokens=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def maybe(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """What is expected, or now and then something else."""
    return st.one_of(strategy, strategy, strategy, JSON)


FUNCTION = st.fixed_dictionaries(
    {}, optional={"name": maybe(st.text()), "arguments": maybe(st.text())}
)
TOOL_CALL = st.fixed_dictionaries(
    {"function": FUNCTION}, optional={"index": maybe(st.integers(0, 2)), "id": maybe(st.text())}
)
DELTA = st.fixed_dictionaries(
    {}, optional={"content": maybe(st.text()), "tool_calls": maybe(st.lists(TOOL_CALL, max_size=2))}
)
CHOICE = st.fixed_dictionaries(
    {"index": maybe(st.integers(0, 1)), "delta": maybe(DELTA)},
    optional={"finish_reason": maybe(st.sampled_from(["stop", "length", "tool_calls"]))},
)
CHUNK = st.fixed_dictionaries(
    {"choices": maybe(st.lists(CHOICE, max_size=2))},
    optional={
        "usage": maybe(
            st.fixed_dictionaries(
                {"prompt_tokens": st.integers(0, 200), "completion_tokens": st.integers(0, 300)}
            )
        ),
        "error": JSON,
    },
)
EVENTS = st.lists(st.one_of(CHUNK.map(json.dumps), st.just("[DONE]"), st.text()), max_size=12)


@given(EVENTS)
def test_any_events_end_in_items_or_one_failure(events: list[str]) -> None:
    reader, items = ChunkReader(RouteId("r"), BOUNDS), list[StreamItem]()
    for data in events:
        try:
            items += reader.feed(data.encode("utf-8", "surrogatepass"))
        except Failed:
            assert not reader.done
            break
        if reader.done:
            break
    assert reader.done == any(isinstance(item, Completed) for item in items)
    usage = reader.usage
    assert usage.cached_tokens <= usage.prompt_tokens <= BOUNDS.max_context
    msgspec.json.encode([str(item) for item in items])


@given(EVENTS)
def test_what_arrives_together_says_the_same_as_what_arrives_one_by_one(events: list[str]) -> None:
    sent = [data.encode("utf-8", "surrogatepass") for data in events]
    together, alone = ChunkReader(RouteId("r"), BOUNDS), ChunkReader(RouteId("r"), BOUNDS)
    read = together.feed_all(sent)
    singly, failure = list[StreamItem](), None
    for data in sent:
        try:
            singly += alone.feed(data)
        except Failed as error:
            failure = error.failure
        if failure is not None or alone.done:
            break
    assert read.failure == failure
    assert together.usage == alone.usage
    assert spoken(read.items) == spoken(singly)


def spoken(items: list[StreamItem]) -> list[StreamItem]:
    """The items with each run of text of one choice as one."""
    joined = list[StreamItem]()
    for item in items:
        last = joined[-1] if joined else None
        same = isinstance(last, TextDelta) and isinstance(item, TextDelta)
        if same and last.choice == item.choice:
            joined[-1] = last._replace(text=last.text + item.text)
        else:
            joined.append(item)
    return joined


@given(st.lists(st.text(alphabet="ab\u00e9\u2028 :", max_size=8), max_size=8), st.data())
def test_events_do_not_depend_on_how_their_bytes_were_cut(
    texts: list[str], data: st.DataObject
) -> None:
    end = data.draw(st.sampled_from(["\n", "\r\n"]))
    sent = "".join(f": note{end}data: {text}{end}id: 1{end}{end}" for text in texts).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=12)))
    edges = [0, *cuts, len(sent)]
    reader = SseReader()
    got = [
        event
        for start, stop in zip(edges, edges[1:], strict=False)
        for event in reader.feed(sent[start:stop])
    ]
    assert got == [text.encode() for text in texts]


@given(st.lists(st.binary(max_size=40), max_size=40))
def test_what_is_kept_is_bounded(pieces: list[bytes]) -> None:
    reader = SseReader(max_event_bytes=64)
    try:
        for piece in pieces:
            for event in reader.feed(piece):
                assert len(event) <= 64
    except OversizedEvent:
        assert sum(map(len, pieces)) > 64
