"""Passages: a document cut into parts that can stand in a prompt on their own. Pure.

    document -> paragraphs -> parts of bounded size -> one line of text each

Law: parts follow each other without overlap, cover every letter that is not white space, and break
at a paragraph where they can, else at a sentence, else at a space. Shown on one line and with every
`[n]` in it written `(n)`, no text of a document can pass for a mark of Octant's.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

# About 150 tokens of English: a thought with its surroundings, and several fit a small context.
MAX_CHARS = 600
# A heading or a lone short line says little without what follows it.
MIN_CHARS = 80

_PARAGRAPH_END = re.compile(r"\n[^\S\n]*\n\s*")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’»)\]]{0,3}\s+|(?<=[。！？])")
_SPACE = re.compile(r"\s+")
# Letters that show as nothing; between a bracket and a digit they would hide a mark from us only.
_UNSEEN = "\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff"
_MARK = re.compile(rf"[\[［][\s{_UNSEEN}]{{0,8}}(\d{{1,9}})[\s{_UNSEEN}]{{0,8}}[\]］]")


class Span(NamedTuple):
    """A part of a text, in characters: `text[start:end]`, without white space at its borders."""

    start: int
    end: int


def cut(text: str) -> list[Span]:
    """The parts of a text in order, none longer than `MAX_CHARS`. Takes linear time."""
    spans: list[Span] = []
    held: Span | None = None
    for paragraph in _between(text, _PARAGRAPH_END, Span(0, len(text))):
        joined = Span(held.start, paragraph.end) if held else paragraph
        if _length(joined) < MIN_CHARS:
            held = joined
            continue
        held = None
        spans += _pieces(text, joined)
    return [*spans, held] if held else spans


def shown(text: str) -> str:
    """Text of a document as it stands in a prompt: on one line, and with no mark in it."""
    return _MARK.sub(r"(\1)", _SPACE.sub(" ", text).strip())


def sentences(text: str) -> list[str]:
    """The sentences of a text, as far as punctuation tells."""
    return [text[start:end] for start, end in _between(text, _SENTENCE_END, Span(0, len(text)))]


def _pieces(text: str, span: Span) -> Iterator[Span]:
    """Sentences of one part, as many together as its size allows."""
    if _length(span) <= MAX_CHARS:
        yield span
        return
    start, end = span.start, span.start
    for sentence in _between(text, _SENTENCE_END, span):
        for piece in _hard(text, sentence):
            if piece.end - start > MAX_CHARS and end > start:
                yield Span(start, end)
                start = piece.start
            end = piece.end
    yield Span(start, end)


def _hard(text: str, span: Span) -> Iterator[Span]:
    """A sentence that is too long, cut at its last space or else anywhere."""
    start = span.start
    while span.end - start > MAX_CHARS:
        limit = start + MAX_CHARS
        space = max(text.rfind(" ", start + 1, limit + 1), text.rfind("\n", start + 1, limit + 1))
        end = space if space > start else limit
        yield from _stripped(text, Span(start, end))
        start = end
    yield from _stripped(text, Span(start, span.end))


def _between(text: str, border: re.Pattern[str], span: Span) -> Iterator[Span]:
    """What stands between borders, white space taken off, nothing empty."""
    start = span.start
    for match in border.finditer(text, span.start, span.end):
        yield from _stripped(text, Span(start, match.end()))
        start = match.end()
    yield from _stripped(text, Span(start, span.end))


def _stripped(text: str, span: Span) -> Iterator[Span]:
    piece = text[span.start : span.end]
    start = span.start + len(piece) - len(piece.lstrip())
    end = span.start + len(piece.rstrip())
    if start < end:
        yield Span(start, end)


def _length(span: Span) -> int:
    return span.end - span.start
