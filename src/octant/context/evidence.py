"""Evidence: from supplied documents to the numbered passages in a prompt (CX4). Pure.

    cut -> drop empty and repeated parts -> rank -> fit the token budget -> number

Law: every letter of every document is either in a passage or in a range that says why it is not;
the same documents, question and budget give the same package. What a document says is data: it can
forge no mark, and `encode_conversation` lets it spell no control token.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple, NoReturn

from octant.context.passages import Span, cut, shown
from octant.context.ranking import ranked
from octant.context.words import words
from octant.core.content import Message, Role, TextPart
from octant.core.evidence import Document, DroppedPassage, Evidence, EvidencePackage, Passage
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage

MAX_DOCUMENTS = 64
# Ranking that much takes a tenth of a second.
MAX_CHARS = 400_000
_MAX_ID_CHARS = 200
_MAX_TITLE_CHARS = 200

# Counting tokens is the dear part: when so many in a row do not fit, the rest is not tried.
_MAX_MISSES = 16

EMPTY = "it holds no word"
REPEATED = "it repeats an earlier passage"
OVER_BUDGET = "it does not fit the token budget"

# Both lines of the format are among those that the bundled model was trained on.
_LEAD = "Answer from these texts and cite them."


class _Part(NamedTuple):
    """A candidate: where it stands, and its line in a prompt without the number."""

    document: Document
    span: Span
    line: str

    @property
    def text(self) -> str:
        """The part as the document has it."""
        return self.document.text[self.span.start : self.span.end]


def select(
    documents: Sequence[Document],
    question: str,
    budget_tokens: int,
    count: Callable[[str], int],
) -> Evidence:
    """The passages to answer `question` from, together at most `budget_tokens` as `count` counts.

    They stand in the order of the documents, numbered from 1. Takes linear time. Raises
    Failed(REQUEST_TOO_LARGE), or Failed(INVALID_VALUE) for ids that are missing or repeated.
    """
    _check(documents)
    parts = [part for document in documents for part in _parts(document)]
    reasons = _useless(parts)
    tokens = _fitted(parts, reasons, question, budget_tokens, count)
    chosen = [part for index, part in enumerate(parts) if index in tokens]
    passages = tuple(
        _passage(number, parts[index], tokens[index])
        for number, index in enumerate(sorted(tokens), 1)
    )
    package = EvidencePackage(
        passages=passages,
        dropped=tuple(_dropped(parts, reasons, tokens)),
        digest=_digest("\n".join(passage.digest for passage in passages)),
        tokens=count(_LEAD) + sum(passage.tokens for passage in passages) if passages else 0,
    )
    return Evidence(package, tuple(part.line for part in chosen))


def as_message(evidence: Evidence) -> Message:
    """The passages as a system turn, one to a line, each behind its mark."""
    lines = (f"[{number}] {text}" for number, text in enumerate(evidence.texts, 1))
    return Message(role=Role.SYSTEM, parts=(TextPart(text="\n".join((_LEAD, *lines))),))


def _parts(document: Document) -> Iterator[_Part]:
    title = shown(document.title)[:_MAX_TITLE_CHARS]
    for span in cut(document.text) or [Span(0, len(document.text))]:
        text = shown(document.text[span.start : span.end])
        yield _Part(document, span, f"{title}: {text}" if title else text)


def _useless(parts: Sequence[_Part]) -> dict[int, str]:
    """Why parts are not worth their tokens, by their place in `parts`."""
    reasons: dict[int, str] = {}
    seen: set[str] = set()
    for index, part in enumerate(parts):
        said = " ".join(words(part.text))
        if not said:
            reasons[index] = EMPTY
        elif said in seen:
            reasons[index] = REPEATED
        seen.add(said)
    return reasons


def _fitted(
    parts: Sequence[_Part],
    reasons: Mapping[int, str],
    question: str,
    budget: int,
    count: Callable[[str], int],
) -> dict[int, int]:
    """Tokens of the best parts that fit together, by their place in `parts`.

    A part is counted with the longest number that it could get, so the sum is never too small.
    """
    worthy = [index for index in range(len(parts)) if index not in reasons]
    mark = f"\n[{len(worthy)}] "
    left, misses = budget - count(_LEAD), 0
    tokens: dict[int, int] = {}
    for best in ranked([parts[index].line for index in worthy], question):
        needed = count(mark + parts[worthy[best]].line)
        if needed <= left:
            tokens[worthy[best]] = needed
            left, misses = left - needed, 0
        else:
            misses += 1
            if misses == _MAX_MISSES:
                break
    return tokens


def _passage(number: int, part: _Part, tokens: int) -> Passage:
    document = part.document
    return Passage(
        index=number,
        document_id=document.id,
        title=document.title,
        source=document.source,
        classification=document.classification,
        start=part.span.start,
        end=part.span.end,
        digest=_digest(part.text),
        tokens=tokens,
    )


def _dropped(
    parts: Sequence[_Part], reasons: Mapping[int, str], tokens: Mapping[int, int]
) -> Iterator[DroppedPassage]:
    """What was left out: neighbours with one document and one reason make one range."""

    def sort_of(index: int) -> tuple[str, str | None]:
        reason = None if index in tokens else reasons.get(index, OVER_BUDGET)
        return parts[index].document.id, reason

    for (document_id, reason), group in groupby(range(len(parts)), key=sort_of):
        indices = list(group)
        if reason is not None:
            start, end = parts[indices[0]].span.start, parts[indices[-1]].span.end
            yield DroppedPassage(document_id=document_id, start=start, end=end, reason=reason)


def _digest(text: str) -> str:
    # Half a surrogate pair can be spelled in JSON and is no text.
    return f"sha256:{hashlib.sha256(text.encode(errors='replace')).hexdigest()}"


def _check(documents: Sequence[Document]) -> None:
    if len(documents) > MAX_DOCUMENTS:
        _refuse(
            FailureKind.REQUEST_TOO_LARGE,
            f"{len(documents)} documents were sent; at most {MAX_DOCUMENTS} are taken.",
        )
    chars = sum(len(document.text) for document in documents)
    if chars > MAX_CHARS:
        _refuse(
            FailureKind.REQUEST_TOO_LARGE,
            f"The documents have {chars} characters together; at most {MAX_CHARS} are taken. Send "
            "the parts that matter.",
        )
    seen: set[str] = set()
    for index, document in enumerate(documents):
        if not 0 < len(document.id) <= _MAX_ID_CHARS:
            problem = f"has no id of 1 to {_MAX_ID_CHARS} characters"
        elif document.id in seen:
            problem = "has the id of an earlier one"
        else:
            seen.add(document.id)
            continue
        message = f"octant.documents[{index}] {problem}."
        _refuse(FailureKind.INVALID_VALUE, message, f"octant.documents[{index}].id")


def _refuse(kind: FailureKind, message: str, param: str = "octant.documents") -> NoReturn:
    raise Failed(Failure(kind=kind, stage=Stage.CONTEXT, message=message, param=param))
