"""Text that grows token by token."""

import pytest

from octant.serving.detokenizer import TextChunk, TextStream
from tests.support.vocabularies import tokenizer_of

BYTES = tokenizer_of("byte_level")
PIECES = tokenizer_of("sentencepiece")


def streamed(stream: TextStream, tokens: list[int]) -> list[TextChunk]:
    """One token at a time."""
    chunks: list[TextChunk] = []
    for index, token in enumerate(tokens):
        chunks.append(stream.feed((token,), index == len(tokens) - 1))
        stream.check_integrity()
    return chunks


def test_no_piece_ends_within_a_character() -> None:
    tokens = BYTES.encode("a🦊b")
    chunks = streamed(TextStream(BYTES), tokens)
    assert "".join(chunk.text for chunk in chunks) == "a🦊b"
    assert all("�" not in chunk.text for chunk in chunks)
    assert len([chunk for chunk in chunks if chunk.text]) == 3


def test_an_incomplete_character_at_the_end_is_marked() -> None:
    tokens = BYTES.encode("a🦊")[:-1]
    assert "".join(chunk.text for chunk in streamed(TextStream(BYTES), tokens)) == "a�"


def test_an_incomplete_character_is_not_shown_before_the_end() -> None:
    stream = TextStream(BYTES)
    assert stream.feed(BYTES.encode("🦊")[:-1], False) == TextChunk("")
    assert stream.feed((), True) == TextChunk("�")


def test_special_tokens_have_no_text_but_those_of_the_model_have() -> None:
    tokens = [*BYTES.encode("<|im_end|>"), *BYTES.encode("<tool_call>x")]
    assert TextStream(BYTES).feed(tokens, True) == TextChunk("<tool_call>x")


def test_ids_without_a_token_have_no_text() -> None:
    assert TextStream(BYTES).feed((BYTES.vocab_size + 3, *BYTES.encode("a")), True).text == "a"


def test_a_stop_string_ends_the_text_before_it() -> None:
    chunks = streamed(TextStream(BYTES, ("lazy",)), BYTES.encode("the lazy dog"))
    assert "".join(chunk.text for chunk in chunks) == "the "
    assert {chunk.stop_matched for chunk in chunks if chunk.stop_matched} == {"lazy"}


def test_nothing_comes_after_a_stop() -> None:
    stream = TextStream(BYTES, ("b",))
    assert stream.feed(BYTES.encode("abc"), False) == TextChunk("a", "b")
    assert stream.feed(BYTES.encode("more"), True) == TextChunk("", "b")


def test_what_might_have_become_a_stop_comes_at_the_end() -> None:
    stream = TextStream(BYTES, ("dogs",))
    assert stream.feed(BYTES.encode("the dog"), False).text == "the "
    assert stream.feed((), True) == TextChunk("dog")


def test_stop_strings_wait_for_the_minimum_length() -> None:
    tokens = [token for letter in "xaxaxa" for token in BYTES.encode(letter)]
    stream = TextStream(BYTES, ("a",), min_tokens=3)
    assert stream.feed(tokens, True) == TextChunk("xax", "a")
    one_by_one = streamed(TextStream(BYTES, ("a",), min_tokens=3), tokens)
    assert "".join(chunk.text for chunk in one_by_one) == "xax"


@pytest.mark.parametrize("kind", ["sentencepiece", "metaspace"])
def test_the_space_that_begins_a_text_is_dropped_as_decoding_does(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    tokens = tokenizer.encode("the dog said")
    chunks = streamed(TextStream(tokenizer), tokens)
    assert "".join(chunk.text for chunk in chunks) == "the dog said" == tokenizer.decode(tokens)


def test_the_space_is_kept_where_text_stands_before() -> None:
    prompt, answer = PIECES.encode("the"), PIECES.encode("dog")
    assert TextStream(PIECES, prompt=prompt).feed(answer, True).text == " dog"
    markers = PIECES.encode("</s>")[-1:]
    assert TextStream(PIECES, prompt=markers).feed(answer, True).text == "dog"


def test_bytes_as_a_last_resort_make_whole_characters() -> None:
    tokens = PIECES.encode("the 🦊 dog")
    assert len(tokens) > 5
    assert "".join(chunk.text for chunk in streamed(TextStream(PIECES), tokens)) == "the 🦊 dog"
