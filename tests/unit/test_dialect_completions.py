"""Completions: bodies become questions, items become bodies and chunks in OpenAI's shape."""

import json
from typing import Any

import pytest
from openai.types import Completion

from octant.core.content import TextPrompt, TokenPrompt
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.ids import RequestId, RouteId, TraceId
from octant.core.stream import (
    ChoiceFinished,
    Completed,
    PositionLogprobs,
    Started,
    StreamItem,
    TextDelta,
    TokenLogprob,
)
from octant.core.usage import FinishReason, Usage
from octant.gateway.dialects.completions import Completions
from octant.gateway.dialects.dialect import Answering, Question
from octant.gateway.settings import GatewaySettings

SETTINGS = GatewaySettings()
USAGE = Usage(prompt_tokens=2, completion_tokens=2)
STARTED = Started(RouteId("local"), 1, 2)
FINISHED = ChoiceFinished(0, FinishReason.STOP)


def position(text: str) -> PositionLogprobs:
    chosen = TokenLogprob(1, text, text.encode(), -0.25)
    return PositionLogprobs(chosen, (TokenLogprob(2, "best", b"best", -0.1),))


def read(**fields: Any) -> Question:
    body = {"model": "tiny", "prompt": "Once"} | fields
    return Completions().read(json.dumps(body).encode(), SETTINGS)


def refusal(**fields: Any) -> Failure:
    with pytest.raises(Failed) as raised:
        read(**fields)
    return raised.value.failure


def answering(**fields: Any) -> Answering:
    return Answering(
        request_id=RequestId("req_" + "0" * 32),
        trace_id=TraceId("0" * 32),
        created_unix_s=1_700_000_000,
        question=read(**fields),
    )


def whole(*items: StreamItem, **fields: Any) -> dict[str, Any]:
    answer = Completions().whole(answering(**fields))
    for item in items:
        answer.add(item)
    body = json.loads(answer.body(Completed(USAGE)))
    Completion.model_validate(body)
    return body


def stream(*items: StreamItem, **fields: Any) -> list[dict[str, Any]]:
    answer = Completions().stream(answering(stream=True, **fields))
    data = b"".join(answer.events(item) for item in items) + answer.end(Completed(USAGE))
    events = [event.removeprefix(b"data: ") for event in data.split(b"\n\n")]
    assert events[-2:] == [b"[DONE]", b""]
    return [json.loads(event) for event in events[:-2]]


@pytest.mark.parametrize("prompt", ["Once", ["Once"]])
def test_one_text(prompt: Any) -> None:
    assert read(prompt=prompt, echo=True).input == TextPrompt(text="Once", echo=True)


@pytest.mark.parametrize("prompt", [[1, 2, 3], [[1, 2, 3]]])
def test_one_array_of_tokens(prompt: Any) -> None:
    assert read(prompt=prompt).input == TokenPrompt(tokens=(1, 2, 3))


@pytest.mark.parametrize(
    ("fields", "kind", "param"),
    [
        ({"prompt": ["a", "b"]}, FailureKind.UNSUPPORTED_PARAMETER, "prompt"),
        ({"prompt": [[1], [2]]}, FailureKind.UNSUPPORTED_PARAMETER, "prompt"),
        ({"prompt": ""}, FailureKind.INVALID_VALUE, "prompt"),
        ({"prompt": []}, FailureKind.INVALID_VALUE, "prompt"),
        ({"prompt": [[]]}, FailureKind.INVALID_VALUE, "prompt"),
        ({"prompt": [1, "a"]}, FailureKind.INVALID_TYPE, "prompt"),
        ({"prompt": ["a", 1]}, FailureKind.INVALID_TYPE, "prompt"),
        ({"prompt": [-1]}, FailureKind.INVALID_VALUE, "prompt[0]"),
        ({"prompt": [1 << 31]}, FailureKind.INVALID_VALUE, "prompt[0]"),
        ({"prompt": None}, FailureKind.INVALID_TYPE, "prompt"),
        ({"suffix": "end"}, FailureKind.UNSUPPORTED_PARAMETER, "suffix"),
        ({"best_of": 2}, FailureKind.UNSUPPORTED_PARAMETER, "best_of"),
        ({"echo": True, "logprobs": 1}, FailureKind.UNSUPPORTED_PARAMETER, "echo"),
        ({"logprobs": 21}, FailureKind.INVALID_VALUE, "logprobs"),
        ({"logprobs": True}, FailureKind.INVALID_TYPE, "logprobs"),
        ({"messages": []}, FailureKind.UNKNOWN_PARAMETER, "messages"),
    ],
)
def test_bad_values_name_the_field(fields: dict[str, Any], kind: FailureKind, param: str) -> None:
    failure = refusal(**fields)
    assert (failure.kind, failure.param) == (kind, param)


def test_openais_default_length_and_harmless_values() -> None:
    question = read(suffix="", best_of=2, n=2, user="u")
    assert question.sampling.max_tokens == 16
    assert read(max_tokens=3).sampling.max_tokens == 3


def test_a_whole_answer() -> None:
    body = whole(STARTED, TextDelta(0, " upon", (1,)), TextDelta(0, " a", (2,)), FINISHED)
    assert body["id"] == "cmpl-" + "0" * 32
    assert body["object"] == "text_completion"
    assert body["choices"] == [
        {"index": 0, "text": " upon a", "logprobs": None, "finish_reason": "stop"}
    ]
    assert body["usage"]["total_tokens"] == 4


def test_whole_logprobs_are_parallel_lists() -> None:
    delta = TextDelta(0, "abcd", (1, 2), (position("ab"), position("cd")))
    assert whole(STARTED, delta, FINISHED, logprobs=1)["choices"][0]["logprobs"] == {
        "tokens": ["ab", "cd"],
        "token_logprobs": [-0.25, -0.25],
        "top_logprobs": [{"best": -0.1, "ab": -0.25}, {"best": -0.1, "cd": -0.25}],
        "text_offset": [0, 2],
    }


def test_logprobs_zero_has_no_alternatives() -> None:
    delta = TextDelta(0, "ab", (1,), (position("ab"),))
    logprobs = whole(STARTED, delta, FINISHED, logprobs=0)["choices"][0]["logprobs"]
    assert logprobs["top_logprobs"] is None
    assert logprobs["tokens"] == ["ab"]


def spelled(*tokens: bytes) -> tuple[PositionLogprobs, ...]:
    """Positions whose tokens are these bytes; the alternatives are two parts of a character."""
    texts = [token.decode(errors="replace") for token in tokens]
    parts = (TokenLogprob(8, "\ufffd", b"\xc3", -1.0), TokenLogprob(9, "\ufffd", b"\xe2", -2.0))
    return tuple(
        PositionLogprobs(TokenLogprob(1, text, token, -0.25), parts)
        for text, token in zip(texts, tokens, strict=True)
    )


EURO = (b"a", b"\xe2", b"\x82\xac", b"b")


def test_offsets_count_characters_and_parts_of_them_are_named_by_their_bytes() -> None:
    delta = TextDelta(0, "a€b", (1, 2, 3, 4), spelled(*EURO))
    logprobs = whole(STARTED, delta, FINISHED, logprobs=2)["choices"][0]["logprobs"]
    assert logprobs["tokens"] == ["a", "bytes:\\xe2", "bytes:\\x82\\xac", "b"]
    assert logprobs["text_offset"] == [0, 1, 1, 2]
    assert logprobs["top_logprobs"][0] == {
        "bytes:\\xc3": -1.0,
        "bytes:\\xe2": -2.0,
        "a": -0.25,
    }


def test_streamed_offsets_count_characters() -> None:
    first, *rest = spelled(*EURO)
    chunks = stream(
        STARTED,
        TextDelta(0, "a", (1,), (first,)),
        TextDelta(0, "", (2,)),
        TextDelta(0, "€b", (3, 4), tuple(rest)),
        logprobs=1,
    )
    offsets = [chunk["choices"][0]["logprobs"]["text_offset"] for chunk in chunks]
    assert offsets == [[0], [1, 1, 2]]


@pytest.mark.parametrize(
    ("tokens", "text", "offsets"),
    [
        # The space that SentencePiece writes before the first word, dropped or kept.
        ((b" Once", b" more"), "Once more", [0, 4]),
        ((b" Once", b" more"), " Once more", [0, 5]),
        ((b" ", b"Once", b"!"), "Once!", [0, 0, 4]),
        ((b"  x", b"y"), " xy", [0, 2]),
        # A stop string swallowed the end, or the last character never came whole.
        ((b" Once", b" more"), " Once m", [0, 5]),
        ((b" Once", b"\xe2"), " Once\ufffd", [0, 5]),
    ],
)
def test_offsets_follow_the_text_that_was_sent(
    tokens: tuple[bytes, ...], text: str, offsets: list[int]
) -> None:
    delta = TextDelta(0, text, tuple(range(len(tokens))), spelled(*tokens))
    choice = whole(STARTED, delta, FINISHED, logprobs=1)["choices"][0]
    assert choice["logprobs"]["text_offset"] == offsets


def test_streamed_offsets_run_on_for_each_choice() -> None:
    chunks = stream(
        STARTED,
        TextDelta(0, "ab", (1,), (position("ab"),)),
        TextDelta(1, "x", (1,), (position("x"),)),
        TextDelta(0, "c", (1,), (position("c"),)),
        logprobs=1,
        n=2,
    )
    offsets = [chunk["choices"][0]["logprobs"]["text_offset"] for chunk in chunks]
    assert offsets == [[0], [0], [2]]


def test_a_stream() -> None:
    chunks = stream(
        STARTED,
        TextDelta(0, "a", (1,)),
        TextDelta(0, "", (2,)),
        FINISHED,
        stream_options={"include_usage": True},
    )
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None, None]
    assert [chunk["choices"][0]["text"] for chunk in chunks[:-1]] == ["a", ""]
    assert chunks[1]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
