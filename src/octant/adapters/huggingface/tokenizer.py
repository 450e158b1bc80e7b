"""Tokenizer over a `tokenizer.json`, by the `tokenizers` library (port: `ports/tokenizer.py`).

Law: `encode_untrusted` never returns a special token: the ids it returns are checked, not the text
it was given. The library's errors end here, as a corrupt artifact.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, cast

import tokenizers

from octant.adapters.huggingface.model_files import (
    CONFIG,
    GENERATION_CONFIG,
    TOKENIZER_CONFIG,
    corrupt,
    read_object,
    text_of,
)
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage
from octant.ports.tokenizer import Tokenizer

TOKENIZER_FILE = "tokenizer.json"

# From here on, some 6 ms of work, a text is encoded as a batch of one: that lets the other threads
# of the process run meanwhile, which the library's `encode` does not.
_LONG = 16_384
_SPACE_MARK = "▁"
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class _Encoding(Protocol):
    @property
    def ids(self) -> list[int]: ...


class _AddedToken(Protocol):
    @property
    def content(self) -> str: ...
    @property
    def special(self) -> bool: ...


class _Backend(Protocol):
    """The part of `tokenizers.Tokenizer` in use; its own stubs carry no types."""

    def encode(self, sequence: str, *, add_special_tokens: bool) -> _Encoding: ...
    def encode_batch_fast(
        self, input: list[str], *, add_special_tokens: bool
    ) -> list[_Encoding]: ...
    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str: ...
    def id_to_token(self, id: int) -> str | None: ...
    def get_vocab_size(self, with_added_tokens: bool) -> int: ...
    def get_added_tokens_decoder(self) -> Mapping[int, _AddedToken]: ...
    def no_padding(self) -> None: ...
    def no_truncation(self) -> None: ...


class _Spelling(StrEnum):
    """How a vocabulary writes bytes as text."""

    BYTE_LEVEL = "byte_level"
    SPACE_MARKS = "space_marks"
    SPACE_MARKS_AND_BYTES = "space_marks_and_bytes"
    PLAIN = "plain"


class HuggingFaceTokenizer(Tokenizer):
    """One loaded vocabulary; `eos` are the tokens that end an answer.

    Token bytes are remembered, at most one entry for each token id.
    """

    def __init__(
        self,
        definition: bytes,
        eos_ids: frozenset[int] = frozenset(),
        eos_text: str | None = None,
    ) -> None:
        """`definition` is the content of a tokenizer.json. Raises Failed(CORRUPT_ARTIFACT)."""
        self._digest = f"sha256:{hashlib.sha256(definition).hexdigest()}"
        self._backend = _backend(definition)
        self._spelling = _spelling(definition)
        added = self._backend.get_added_tokens_decoder()
        self._vocab_size = max(self._backend.get_vocab_size(True), 1 + max(added, default=-1))
        self._specials = frozenset(token for token, entry in added.items() if entry.special)
        self.eos = eos_ids | {token for token, entry in added.items() if entry.content == eos_text}
        self._special_texts = tuple(added[token].content for token in sorted(self._specials))
        self._special_start = _start_of_any(self._special_texts)
        self._bytes: dict[int, bytes] = {}
        self._prefix = self._measured_prefix()

    @property
    def digest(self) -> str:
        """Over the whole of tokenizer.json."""
        return self._digest

    @property
    def vocab_size(self) -> int:
        """Number of token ids, added tokens included."""
        return self._vocab_size

    @property
    def special_texts(self) -> tuple[str, ...]:
        """The texts of special tokens, in the order of their ids."""
        return self._special_texts

    @property
    def prefix(self) -> tuple[int, ...]:
        """What the library's post-processor puts before a text."""
        return self._prefix

    def encode(self, text: str) -> list[int]:
        """Token ids; special tokens spelled out in `text` are recognised, none are added.

        Raises Failed(INVALID_VALUE) on text that has no UTF-8 form.
        """
        try:
            if len(text) < _LONG:
                return self._backend.encode(text, add_special_tokens=False).ids
            (encoding,) = self._backend.encode_batch_fast([text], add_special_tokens=False)
            return encoding.ids
        # What the library says to a lone surrogate, which JSON can spell.
        except TypeError as error:
            raise Failed(
                Failure(
                    kind=FailureKind.INVALID_VALUE,
                    stage=Stage.CONTEXT,
                    message="The text contains half of a surrogate pair, which is no character.",
                )
            ) from error

    def encode_untrusted(self, text: str) -> list[int]:
        """Token ids without special tokens: text that spells one is cut behind its first letter.

        Vocabularies that put a space before each text do so at a cut too.
        """
        for pieces in (self._cut(text), text):
            ids = [token for piece in pieces for token in self.encode(piece)]
            if self._specials.isdisjoint(ids):
                return ids
        # Not even letter by letter: a special token of a single letter. It is left out.
        return [token for token in ids if token not in self._specials]

    def decode(self, tokens: Sequence[int]) -> str:
        """Text without special tokens; an incomplete character at the end is U+FFFD."""
        return self._backend.decode(list(tokens), skip_special_tokens=True)

    def token_bytes(self, token: int) -> bytes:
        """The exact bytes of one token; empty for special tokens and ids without text."""
        spelled = self._bytes.get(token)
        if spelled is None:
            spelled = self._spell(token)
            if 0 <= token < self._vocab_size:
                self._bytes[token] = spelled
        return spelled

    def _cut(self, text: str) -> Iterator[str]:
        start = 0
        for match in self._special_start.finditer(text):
            yield text[start : match.start() + 1]
            start = match.start() + 1
        yield text[start:]

    def _spell(self, token: int) -> bytes:
        if token in self._specials or not 0 <= token < self._vocab_size:
            return b""
        text = self._backend.id_to_token(token)
        if text is None:
            return b""
        match self._spelling:
            case _Spelling.BYTE_LEVEL:
                return _byte_level(text)
            case _Spelling.SPACE_MARKS:
                return _space_marks(text)
            case _Spelling.SPACE_MARKS_AND_BYTES:
                byte = _BYTE_TOKEN.fullmatch(text)
                return _space_marks(text) if byte is None else bytes([int(byte[1], 16)])
            case _Spelling.PLAIN:
                return self.decode((token,)).encode()

    def _measured_prefix(self) -> tuple[int, ...]:
        bare = self._backend.encode("a", add_special_tokens=False).ids
        dressed = self._backend.encode("a", add_special_tokens=True).ids
        for start in range(len(dressed)):
            if dressed[start : start + len(bare)] == bare:
                return tuple(dressed[:start])
        return ()


def load_tokenizer(directory: Path) -> HuggingFaceTokenizer:
    """The tokenizer of a model directory with the tokens that end an answer, `eos`.

    Raises Failed(CORRUPT_ARTIFACT).
    """
    path = directory / TOKENIZER_FILE
    try:
        definition = path.read_bytes()
    except OSError as error:
        raise corrupt(
            f"{path} cannot be read ({error.strerror}). A model directory needs a "
            f"{TOKENIZER_FILE}; save the model's fast tokenizer there."
        ) from error
    eos_text = text_of(read_object(directory / TOKENIZER_CONFIG).get("eos_token"))
    return HuggingFaceTokenizer(definition, _declared_eos(directory), eos_text)


def _declared_eos(directory: Path) -> frozenset[int]:
    for name in (GENERATION_CONFIG, CONFIG):
        declared = read_object(directory / name).get("eos_token_id")
        if declared is not None:
            ids = cast("list[int]", declared if isinstance(declared, list) else [declared])
            return frozenset(ids)
    return frozenset()


def _backend(definition: bytes) -> _Backend:
    try:
        backend = cast("_Backend", tokenizers.Tokenizer.from_str(definition.decode()))
        # A definition may ask for both; a prompt is never cut and never filled up.
        backend.no_truncation()
        backend.no_padding()
    # The library raises plain Exception for whatever it cannot read.
    except Exception as error:
        raise corrupt(f"{TOKENIZER_FILE} is not a tokenizer definition: {error}") from error
    return backend


def _spelling(definition: bytes) -> _Spelling:
    steps = _decoding_steps(json.loads(definition))
    kinds = {step.get("type") for step in steps}
    if "ByteLevel" in kinds:
        return _Spelling.BYTE_LEVEL
    if "ByteFallback" in kinds:
        return _Spelling.SPACE_MARKS_AND_BYTES
    if "Metaspace" in kinds or any(_replaces_space_mark(step) for step in steps):
        return _Spelling.SPACE_MARKS
    return _Spelling.PLAIN


def _decoding_steps(definition: dict[str, Any]) -> list[dict[str, Any]]:
    decoder = cast("dict[str, Any]", definition.get("decoder") or {})
    return cast("list[dict[str, Any]]", decoder.get("decoders", [decoder]))


def _replaces_space_mark(step: dict[str, Any]) -> bool:
    return step.get("type") == "Replace" and step.get("pattern") == {"String": _SPACE_MARK}


def _start_of_any(texts: Sequence[str]) -> re.Pattern[str]:
    """Matches, without width, wherever one of `texts` begins, also inside of another."""
    return re.compile(f"(?={'|'.join(map(re.escape, texts))})" if texts else r"(?!)")


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's alphabet: printable bytes stand for themselves, the others for U+0100 and up."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    alphabet = {chr(byte): byte for byte in printable}
    return alphabet | {chr(0x100 + index): byte for index, byte in enumerate(others)}


_BYTES = _byte_alphabet()


def _byte_level(text: str) -> bytes:
    """As the library decodes: a token with a letter outside of the alphabet is plain text."""
    try:
        return bytes([_BYTES[letter] for letter in text])
    except KeyError:
        return text.encode()


def _space_marks(text: str) -> bytes:
    return text.replace(_SPACE_MARK, " ").encode()
