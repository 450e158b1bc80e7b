"""Tokenizer: text to token ids and back. Adapter: `adapters/huggingface/tokenizer.py`."""

from collections.abc import Sequence
from typing import Protocol


class Tokenizer(Protocol):
    """One model's vocabulary. Lossless on UTF-8: decoding an encoding gives the text back."""

    @property
    def digest(self) -> str:
        """`sha256:` and 64 hex digits over the tokenizer's definition."""
        ...

    @property
    def vocab_size(self) -> int:
        """Number of token ids, added tokens included."""
        ...

    @property
    def special_texts(self) -> tuple[str, ...]:
        """What `encode` turns into special (control) tokens where it is spelled out in text."""
        ...

    @property
    def prefix(self) -> tuple[int, ...]:
        """Tokens that the model expects before raw text, such as a beginning-of-text token."""
        ...

    def encode(self, text: str) -> list[int]:
        """Token ids; special tokens spelled out in `text` are recognised, none are added."""
        ...

    def encode_untrusted(self, text: str) -> list[int]:
        """Token ids in which no special token can occur, whatever the text spells."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """Text without special tokens; an incomplete character at the end is U+FFFD."""
        ...

    def token_bytes(self, token: int) -> bytes:
        """The exact bytes of one token; empty for special tokens and ids without text."""
        ...
