"""CallerText: keeps callers from spelling control tokens, without changing what they say.

Law: a special token comes out of a conversation only where the chat template itself wrote it.
Where nobody spells one, which is nearly always, the ids are those of encoding the rendered text.

A template trims, splits and quotes what it is given, so a caller's text cannot be found again in
what it rendered. Instead the letter with which a special token would begin in a caller's text is
replaced by a private-use letter before a second rendering. In its result every special token is
the template's own; it is encoded as it is, and the replaced letters in between on their own.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple, cast

from octant.context.chat_template import Conversation, texts
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage
from octant.ports.tokenizer import Tokenizer

_PRIVATE_USE = (range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))

# Tokenizers in use in one process; each entry holds a few strings.
_KNOWN_VOCABULARIES = 64

# Set by Octant, not by the caller.
_OWN_KEYS = frozenset({"role", "type"})
# Nested values are quoted or tagged by templates and never touch other text.
_NESTED_KEYS = frozenset({"arguments", "parameters"})


def encode_conversation(
    talk: Conversation, render: Callable[[Conversation], str], tokenizer: Tokenizer
) -> list[int]:
    """Token ids of a rendered conversation. `render` is called once or twice.

    Raises what `render` raises.
    """
    rendered = render(talk)
    spelling = _spelling(tokenizer.special_texts)
    marks = _marks(talk, spelling)
    if marks is None:
        return tokenizer.encode(rendered)
    marked = render(_marked(talk, spelling, marks))
    if spelling.whole.findall(marked) == spelling.whole.findall(rendered):
        return tokenizer.encode(rendered)
    letters = {mark: letter for letter, mark in marks.items()}
    ids: list[int] = []
    for piece in re.split(f"([{''.join(letters)}])", marked):
        letter = letters.get(piece)
        ids += tokenizer.encode(piece) if letter is None else tokenizer.encode_untrusted(letter)
    return ids


class _Spelling(NamedTuple):
    """How special tokens can be spelled: as a whole, or in part at the border of a text."""

    whole: re.Pattern[str]
    starts: re.Pattern[str]
    heads: frozenset[str]
    tails: frozenset[str]
    infixes: frozenset[str]
    longest: int

    def dangerous(self, text: str, at_borders: bool) -> list[int]:
        """Positions of the letters without which no special token can begin in `text`."""
        positions = {match.start() for match in self.starts.finditer(text)}
        if at_borders and text:
            positions |= set(self._at_borders(text))
        return sorted(positions)

    def _at_borders(self, text: str) -> Iterator[int]:
        if text in self.infixes:
            yield 0
        for size in range(1, min(self.longest, len(text) + 1)):
            if text[-size:] in self.heads:
                yield len(text) - size
            if text[:size] in self.tails:
                yield 0


@lru_cache(maxsize=_KNOWN_VOCABULARIES)
def _spelling(special_texts: tuple[str, ...]) -> _Spelling:
    known = sorted(filter(None, special_texts), key=len, reverse=True)
    whole = "|".join(map(re.escape, known)) or "(?!)"
    cuts = [(text, cut) for text in known for cut in range(1, len(text))]
    return _Spelling(
        whole=re.compile(whole),
        starts=re.compile(_starts(known)),
        heads=frozenset(text[:cut] for text, cut in cuts),
        tails=frozenset(text[cut:] for text, cut in cuts),
        infixes=frozenset(text[start:cut] for text, cut in cuts for start in range(1, cut)),
        longest=max(map(len, known), default=0),
    )


def _starts(known: list[str]) -> str:
    """Matches the first letter of whatever is in `known`; scans at the speed of a letter class."""
    rests: dict[str, list[str]] = {}
    for text in known:
        rests.setdefault(text[0], []).append(re.escape(text[1:]))
    letters = [f"{re.escape(letter)}(?={'|'.join(rest)})" for letter, rest in rests.items()]
    return "|".join(letters) or "(?!)"


def _marks(talk: Conversation, spelling: _Spelling) -> dict[str, str] | None:
    """A private-use letter for each dangerous letter, or None where nothing is dangerous."""
    dangerous = dict.fromkeys(
        text[position]
        for text, at_borders in _caller_texts(talk)
        for position in spelling.dangerous(text, at_borders)
    )
    if not dangerous:
        return None
    taken = set("".join(texts(talk)))
    free = (chr(code) for code in chain(*_PRIVATE_USE) if chr(code) not in taken)
    marks = dict(zip(dangerous, free, strict=False))
    if len(marks) < len(dangerous):
        raise Failed(
            Failure(
                kind=FailureKind.INVALID_VALUE,
                stage=Stage.CONTEXT,
                message="The messages use every private-use character of Unicode; remove some.",
                param="messages",
            )
        )
    return marks


def _caller_texts(talk: Conversation) -> Iterator[tuple[str, bool]]:
    found: list[tuple[str, bool]] = []

    def note(text: str, at_borders: bool) -> str:
        found.append((text, at_borders))
        return text

    _mapped(talk, note, True)
    yield from found


def _marked(talk: Conversation, spelling: _Spelling, marks: dict[str, str]) -> Conversation:
    def mark(text: str, at_borders: bool) -> str:
        letters = list(text)
        for position in spelling.dangerous(text, at_borders):
            letters[position] = marks[letters[position]]
        return "".join(letters)

    return _mapped(talk, mark, True)


def _mapped(value: Any, change: Callable[[str, bool], str], at_borders: bool) -> Any:
    """A copy with every string of the caller changed, keys of nested values included."""
    if isinstance(value, str):
        return change(value, at_borders)
    if isinstance(value, list):
        return [_mapped(item, change, at_borders) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    entries = cast("dict[str, Any]", value)
    if not at_borders:
        return {change(key, False): _mapped(item, change, False) for key, item in entries.items()}
    return {
        key: item if key in _OWN_KEYS else _mapped(item, change, key not in _NESTED_KEYS)
        for key, item in entries.items()
    }
