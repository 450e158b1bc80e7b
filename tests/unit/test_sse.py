"""Server-sent events survive what text may contain, and a browser-like parser reads them back."""

import json

from hypothesis import given
from hypothesis import strategies as st
from openai._streaming import SSEDecoder

from octant.core.content import TextPrompt
from octant.core.envelope import ModelConstraints
from octant.core.ids import RequestId, TraceId
from octant.core.sampling import Sampling
from octant.core.stream import Completed, TextDelta
from octant.core.usage import Usage
from octant.gateway.dialects.chat_completions import ChatCompletions
from octant.gateway.dialects.completions import Completions
from octant.gateway.dialects.dialect import Answering, Question
from octant.gateway.dialects.runs import Runs
from octant.gateway.sse import DONE, KEEP_ALIVE, event

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
ANSWERING = Answering(
    trace_id=TraceId("0" * 32),
    request_id=RequestId("req_1"),
    created_unix_s=1,
    question=Question(
        input=TextPrompt(text="x"),
        sampling=Sampling(),
        model=ModelConstraints(name='a "model"\n'),
    ),
)


def data_of(stream: bytes) -> list[str]:
    decoder = SSEDecoder()
    return [sse.data for sse in decoder.iter_bytes(iter([stream]))]


@given(st.lists(TEXT, max_size=5))
def test_any_text_arrives_in_the_events_of_a_run(texts: list[str]) -> None:
    answer = Runs().stream(ANSWERING)
    stream = b"".join(answer.events(TextDelta(0, text, (1,))) for text in texts)
    events = list(SSEDecoder().iter_bytes(iter([stream + answer.end(Completed(Usage()))])))
    read = [json.loads(sse.data) for sse in events]
    assert [sse.event for sse in events] == [data["type"] for data in read]
    assert [data["sequence_number"] for data in read] == list(range(len(texts) + 1))
    assert "".join(data["text"] for data in read[:-1]) == "".join(texts)
    assert read[-1]["run"]["output"]["text"] == "".join(texts)


@given(st.lists(TEXT, max_size=5))
def test_any_text_arrives_as_it_was_generated(texts: list[str]) -> None:
    for dialect in (ChatCompletions(), Completions()):
        answer = dialect.stream(ANSWERING)
        stream = b"".join(answer.events(TextDelta(0, text, (1,))) for text in texts)
        *chunks, done = data_of(stream + answer.end(Completed(Usage())))
        assert done == "[DONE]"
        choices = [json.loads(chunk)["choices"][0] for chunk in chunks]
        said = [choice.get("text", choice.get("delta", {}).get("content")) for choice in choices]
        assert "".join(said) == "".join(texts)


def test_a_keep_alive_is_no_event() -> None:
    stream = KEEP_ALIVE + event(b"1") + KEEP_ALIVE + DONE
    assert [data for data in data_of(stream) if data] == ["1", "[DONE]"]
