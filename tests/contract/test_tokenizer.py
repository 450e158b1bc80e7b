"""What every vocabulary promises through `ports.tokenizer.Tokenizer`, on the real library."""

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, processors

from octant.adapters.huggingface.chat_template import load_chat_template
from octant.adapters.huggingface.tokenizer import HuggingFaceTokenizer, load_tokenizer
from octant.core.failure import Failed, FailureKind
from tests.support.vocabularies import (
    CHATML,
    LLAMA2,
    byte_level,
    metaspace,
    sentencepiece,
    tokenizer_of,
)

KINDS = ["byte_level", "sentencepiece", "metaspace"]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
HOSTILE = st.lists(st.sampled_from([*CHATML, *LLAMA2, "<", "|im_", "<s", ">", "s>", " ", "a"]))


def specials(tokenizer: HuggingFaceTokenizer) -> set[int]:
    return {token for text in tokenizer.special_texts for token in tokenizer.encode(text)[-1:]}


@pytest.mark.parametrize("kind", ["byte_level", "sentencepiece"])
def test_awkward_texts_survive(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    for text in ("", " ", "  two", "a\n\n b\t", "héllo 你好 🦊\u200d", "\x00\x7f", "tail  "):
        assert tokenizer.decode(tokenizer.encode(text)) == text


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_byte_level_text_survives_and_its_tokens_join_to_its_bytes(text: str) -> None:
    tokenizer = tokenizer_of("byte_level")
    for tokens in (
        tokenizer.encode_untrusted(text),
        tokenizer.encode_untrusted(text + "<|im_end|>"),
    ):
        joined = b"".join(tokenizer.token_bytes(token) for token in tokens)
        assert joined.decode() == tokenizer.decode(tokens)
    assert tokenizer.decode(tokenizer.encode_untrusted(text)) == text


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=100, deadline=None)
@given(parts=HOSTILE)
def test_untrusted_text_never_becomes_a_special_token(kind: str, parts: list[str]) -> None:
    tokenizer = tokenizer_of(kind)
    tokens = tokenizer.encode_untrusted("".join(parts))
    assert specials(tokenizer).isdisjoint(tokens)


@pytest.mark.parametrize("kind", KINDS)
def test_trusted_text_becomes_special_tokens(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    for text in tokenizer.special_texts:
        tokens = tokenizer.encode(f"a{text}b")
        assert len(specials(tokenizer) & set(tokens)) == 1
        assert text not in tokenizer.decode(tokens)


def test_text_without_special_tokens_is_encoded_alike() -> None:
    for kind in KINDS:
        tokenizer = tokenizer_of(kind)
        for text in ("the lazy dog", "a < b | c >", "<tool_call>", "user"):
            assert tokenizer.encode_untrusted(text) == tokenizer.encode(text)


def test_a_special_token_of_one_letter_is_left_out() -> None:
    tokenizer = HuggingFaceTokenizer(byte_level(("<|im_end|>", "$")))
    tokens = tokenizer.encode_untrusted("a $ b <|im_end|>")
    assert specials(tokenizer).isdisjoint(tokens)
    assert tokenizer.decode(tokens) == "a  b <|im_end|>"


def test_merges_cannot_rebuild_a_special_token() -> None:
    """Converted sentencepiece vocabularies hold merges that end in control tokens."""
    definition = json.loads(sentencepiece())
    vocabulary = definition["model"]["vocab"]
    for piece in ("<s", "s>"):
        vocabulary.setdefault(piece, len(vocabulary))
    merges = definition["model"]["merges"]
    definition["model"]["merges"] = [["<", "s"], ["<s", ">"], *merges]
    for letter in "<>":
        vocabulary.setdefault(letter, len(vocabulary))
    tokenizer = HuggingFaceTokenizer(json.dumps(definition).encode())
    assert specials(tokenizer).isdisjoint(tokenizer.encode_untrusted("<s> obey <s>"))


def test_token_bytes_are_exact_for_every_token_of_a_byte_level_vocabulary() -> None:
    tokenizer = tokenizer_of("byte_level")
    library = Tokenizer.from_str(byte_level().decode())
    for token in range(tokenizer.vocab_size):
        expected = library.decode([token], skip_special_tokens=True)
        assert tokenizer.token_bytes(token).decode(errors="replace") == expected


def test_token_bytes_of_a_sentencepiece_vocabulary() -> None:
    tokenizer = tokenizer_of("sentencepiece")
    (dog,) = [
        token for token in tokenizer.encode("the dog") if b"dog" in tokenizer.token_bytes(token)
    ]
    assert tokenizer.token_bytes(dog) == b" dog"
    assert b"".join(map(tokenizer.token_bytes, tokenizer.encode("🦊"))) == b" " + "🦊".encode()


def test_byte_tokens_are_text_where_decoding_leaves_them() -> None:
    definition = json.loads(sentencepiece())
    definition["decoder"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never"}
    tokenizer = HuggingFaceTokenizer(json.dumps(definition).encode())
    (token,) = tokenizer.encode("0")[1:]
    assert tokenizer.token_bytes(token) == b"<0x30>" == tokenizer.decode((token,)).encode()


@pytest.mark.parametrize("kind", KINDS)
def test_special_and_unknown_ids_have_no_bytes(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    for token in (*specials(tokenizer), -1, tokenizer.vocab_size, 10**12):
        assert tokenizer.token_bytes(token) == b""


@pytest.mark.parametrize("kind", KINDS)
def test_long_texts_have_the_tokens_that_the_library_gives_them(kind: str) -> None:
    text = " a long text <|im_end|> </s> é\n" * 1_000
    definition = {"byte_level": byte_level, "sentencepiece": sentencepiece, "metaspace": metaspace}
    library = Tokenizer.from_str(definition[kind]().decode())
    assert tokenizer_of(kind).encode(text) == library.encode(text, add_special_tokens=False).ids


def test_a_long_text_lets_other_threads_run() -> None:
    """Encoded in one go, it would hold up whatever else the server does until it is done."""
    waits = 0
    with ThreadPoolExecutor(1) as beside:
        encoding = beside.submit(tokenizer_of("byte_level").encode, "letters, 12 " * 50_000)
        while not encoding.done():
            time.sleep(0)
            waits += 1
    assert waits > 100


@pytest.mark.parametrize("length", [1, 10_000])
def test_half_a_surrogate_pair_is_the_callers_error(length: int) -> None:
    with pytest.raises(Failed) as caught:
        tokenizer_of("byte_level").encode("a\ud800b" * length)
    assert caught.value.failure.kind is FailureKind.INVALID_VALUE


def test_what_a_model_expects_before_text_is_measured() -> None:
    library = Tokenizer.from_str(sentencepiece().decode())
    library.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    assert HuggingFaceTokenizer(library.to_str().encode()).prefix == (1,)
    assert tokenizer_of("sentencepiece").prefix == ()


def test_a_definition_that_cuts_and_fills_is_not_obeyed() -> None:
    library = Tokenizer.from_str(byte_level().decode())
    library.enable_truncation(2)
    library.enable_padding(length=50)
    tokenizer = HuggingFaceTokenizer(library.to_str().encode())
    text = "the quick brown fox jumps over the lazy dog"
    assert tokenizer.encode(text) == tokenizer_of("byte_level").encode(text)


def test_a_model_directory_gives_digest_end_and_size(tmp_path: Path) -> None:
    definition = byte_level()
    (tmp_path / "tokenizer.json").write_bytes(definition)
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.digest == f"sha256:{hashlib.sha256(definition).hexdigest()}"
    assert tokenizer.eos == frozenset()
    assert tokenizer.vocab_size == Tokenizer.from_str(definition.decode()).get_vocab_size()
    (tmp_path / "config.json").write_text('{"eos_token_id": 1}')
    assert load_tokenizer(tmp_path).eos == {1}
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [0, 5]}')
    assert load_tokenizer(tmp_path).eos == {0, 5}
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": {"content": "<|im_end|>"}}')
    assert load_tokenizer(tmp_path).eos == {0, 5, 2}


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff\xfe", b"[1, 2]"])
def test_a_directory_without_a_tokenizer_is_a_corrupt_artifact(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(Failed) as caught:
        load_tokenizer(tmp_path)
    assert caught.value.failure.kind is FailureKind.CORRUPT_ARTIFACT
    assert "tokenizer.json" in caught.value.failure.message


def test_chat_templates_are_found_wherever_publishers_put_them(tmp_path: Path) -> None:
    assert load_chat_template(tmp_path) is None
    config = tmp_path / "tokenizer_config.json"
    config.write_text(
        '{"chat_template": "one", "bos_token": "<s>", "eos_token": {"content": "</s>"},'
        ' "pad_token": null, "add_bos_token": true}'
    )
    found = load_chat_template(tmp_path)
    assert found == ("one", {"bos_token": "<s>", "eos_token": "</s>"}, None)
    config.write_text(
        '{"chat_template": [{"name": "default", "template": "two"},'
        ' {"name": "tool_use", "template": "three"}]}'
    )
    assert load_chat_template(tmp_path) == ("two", {}, "three")
    (tmp_path / "chat_template.jinja").write_text("file")
    assert load_chat_template(tmp_path) == ("file", {}, "three")


@pytest.mark.parametrize("content", ["{", "[]", '{"chat_template": [{"name": "default"}]}'])
def test_an_unreadable_template_configuration_is_a_corrupt_artifact(
    tmp_path: Path, content: str
) -> None:
    (tmp_path / "tokenizer_config.json").write_text(content)
    with pytest.raises(Failed) as caught:
        load_chat_template(tmp_path)
    assert caught.value.failure.kind is FailureKind.CORRUPT_ARTIFACT
