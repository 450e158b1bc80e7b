"""TextStream: the tokens of one answer, as text that can be sent while it grows.

Law: cut into pieces in any way, the same tokens give the same text, that of decoding them all at
once, up to the first stop string. No piece ends within a character. Each token costs its own bytes
and no more: token bytes are joined, never decoded again.
"""

import codecs
from collections.abc import Sequence
from typing import NamedTuple

from octant.ports.tokenizer import Tokenizer
from octant.serving.stops import StopFinder

# How many tokens of the prompt can tell whether text stands before the answer; only markers
# without text stand there in greater number.
_PROMPT_TAIL = 8


class TextChunk(NamedTuple):
    """New text; `stop_matched` is the stop string found right behind it, after which is nothing."""

    text: str
    stop_matched: str | None = None


class TextStream:
    """Joins, decodes and stops. Once stopped or fed the final tokens, it gives no more text."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        stop: Sequence[str] = (),
        min_tokens: int = 0,
        prompt: Sequence[int] = (),
    ) -> None:
        """Stop strings count in the text of tokens after the first `min_tokens`.

        Some tokenizers write a space before a word at the very beginning too, and drop it when
        they decode. With `prompt`, an answer that continues text keeps it.
        """
        self._tokenizer = tokenizer
        self._finder = StopFinder(stop)
        self._unstoppable = min_tokens
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._leads = not any(tokenizer.token_bytes(token) for token in prompt[-_PROMPT_TAIL:])
        self._stopped: str | None = None
        self._final = False

    def feed(self, tokens: Sequence[int], final: bool = False) -> TextChunk:
        """The text that `tokens` complete; with `final` also all that was held back."""
        if self._final or self._stopped is not None:
            return TextChunk("", self._stopped)
        before = tokens[: self._unstoppable]
        self._unstoppable -= len(before)
        text = self._decode(before)
        found = self._finder.feed(self._decode(tokens[len(before) :], final))
        text += found.text
        self._stopped = found.stop
        self._final = final
        if final and found.stop is None:
            text += self._finder.flush()
        return TextChunk(text, found.stop)

    def check_integrity(self) -> None:
        """Raises AssertionError when more is held back than the law allows."""
        undecoded, _ = self._decoder.getstate()
        assert len(undecoded) < 4, "a character has at most four bytes"
        self._finder.check_integrity()

    def _decode(self, tokens: Sequence[int], final: bool = False) -> str:
        pieces = [self._tokenizer.token_bytes(token) for token in tokens]
        if self._leads:
            self._drop_leading_space(tokens, pieces)
        return self._decoder.decode(b"".join(pieces), final)

    def _drop_leading_space(self, tokens: Sequence[int], pieces: list[bytes]) -> None:
        """Makes the first token with text what decoding makes of it at the beginning."""
        for index, (token, piece) in enumerate(zip(tokens, pieces, strict=True)):
            if piece:
                self._leads = False
                shown = self._tokenizer.decode((token,)).encode()
                if piece.startswith(b" ") and piece.endswith(shown):
                    pieces[index] = shown
                return
