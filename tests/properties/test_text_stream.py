"""However tokens arrive, the text is the same, and stop strings are found wherever they stand."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from octant.serving.detokenizer import TextStream
from octant.serving.stops import StopFinder
from tests.support.vocabularies import tokenizer_of

BYTES = tokenizer_of("byte_level")
KINDS = st.sampled_from(["byte_level", "sentencepiece", "metaspace"])
CHARACTERS = st.characters(exclude_categories=["Cs"])
TEXTS = st.text(st.one_of(CHARACTERS, st.sampled_from("ab <|>\n{}")))
CUTS = st.lists(st.integers(0, 60), max_size=12)
STOPS = st.lists(st.text("ab\n", max_size=4), max_size=4)


def spans(length: int, cuts: Sequence[int]) -> list[slice]:
    """Neighbouring slices that cover 0 to `length`, some of them empty."""
    places = sorted([0, length, *(min(cut, length) for cut in cuts)])
    return [slice(start, end) for start, end in pairwise(places)]


def streamed(stream: TextStream, tokens: list[int], cuts: Sequence[int]) -> tuple[str, str | None]:
    text = ""
    for span in spans(len(tokens), cuts):
        text += stream.feed(tokens[span], False).text
        stream.check_integrity()
    last = stream.feed((), True)
    return text + last.text, last.stop_matched


@settings(max_examples=200, deadline=None)
@given(KINDS, TEXTS, CUTS)
@example("sentencepiece", "  two spaces", [1, 2])
@example("byte_level", "<|im_end|>", [])
def test_text_of_a_stream_is_the_decoded_text(kind: str, text: str, cuts: list[int]) -> None:
    tokenizer = tokenizer_of(kind)
    tokens = tokenizer.encode(text)
    assert streamed(TextStream(tokenizer), tokens, cuts) == (tokenizer.decode(tokens), None)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, BYTES.vocab_size - 1), max_size=40), CUTS)
def test_any_tokens_of_a_byte_level_vocabulary_stream_as_they_decode(
    tokens: list[int], cuts: list[int]
) -> None:
    assert streamed(TextStream(BYTES), tokens, cuts) == (BYTES.decode(tokens), None)


def first_stop(text: str, stops: Sequence[str]) -> tuple[str, str | None]:
    """What the law of `StopFinder` says, letter by letter."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if stop and text[:end].endswith(stop)]
        if complete:
            stop = max(complete, key=len)
            return text[: end - len(stop)], stop
    return text, None


@settings(max_examples=300, deadline=None)
@given(st.text("ab\n", max_size=30), STOPS, CUTS)
def test_the_first_stop_is_found_however_the_text_is_cut(
    text: str, stops: list[str], cuts: list[int]
) -> None:
    finder = StopFinder(stops)
    passed = ""
    for span in spans(len(text), cuts):
        found = finder.feed(text[span])
        finder.check_integrity()
        passed += found.text
        if found.stop is not None:
            assert (passed, found.stop) == first_stop(text, stops)
            assert passed + found.stop + found.rest + text[span.stop :] == text
            return
    assert (passed + finder.flush(), None) == first_stop(text, stops)


@settings(max_examples=200, deadline=None)
@given(TEXTS, STOPS, CUTS)
def test_tokens_stop_where_their_text_does(text: str, stops: list[str], cuts: list[int]) -> None:
    tokens = BYTES.encode_untrusted(text)
    assert streamed(TextStream(BYTES, stops), tokens, cuts) == first_stop(text, stops)


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.lists(st.text("ab\n", min_size=1, max_size=4), min_size=1, max_size=3), CUTS)
def test_no_more_is_held_back_than_a_stop_is_long(
    text: str, stops: list[str], cuts: list[int]
) -> None:
    finder = StopFinder(stops)
    fed = passed = 0
    for span in spans(len(text), cuts):
        found = finder.feed(text[span])
        fed += len(text[span])
        passed += len(found.text)
        if found.stop is not None:
            return
        assert fed - passed < max(len(stop) for stop in stops)
