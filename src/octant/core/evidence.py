"""Evidence: what the model was given to answer from, and what its answer points back to (CX4).

Law: a passage is named by its document and its place there, and holds no text; `Evidence` carries
the text beside it, for the prompt and for checking citations, and is never stored.
"""

from enum import StrEnum
from typing import NamedTuple

from octant.core.record import Record


class Classification(StrEnum):
    """How far a document may travel; `public` is the widest."""

    PUBLIC = "public"
    INTERNAL = "internal"
    CONFIDENTIAL = "confidential"


class Document(Record, frozen=True, kw_only=True):
    """A text that a caller supplies to answer from. It is data, whatever it says."""

    id: str
    text: str
    title: str = ""
    source: str = ""
    classification: Classification = Classification.INTERNAL


class Passage(Record, frozen=True, kw_only=True):
    """A part of a document in the prompt. `start` and `end` count characters of its text.

    `index` is the number by which an answer cites it, from 1. `digest` is over the part.
    """

    index: int
    document_id: str
    title: str
    source: str
    classification: Classification
    start: int
    end: int
    digest: str
    tokens: int


class DroppedPassage(Record, frozen=True, kw_only=True):
    """A part that was left out, and why."""

    document_id: str
    start: int
    end: int
    reason: str


class EvidencePackage(Record, frozen=True, kw_only=True):
    """Everything given and everything left out; `digest` is over the passages in order."""

    passages: tuple[Passage, ...] = ()
    dropped: tuple[DroppedPassage, ...] = ()
    digest: str = ""
    tokens: int = 0


class Evidence(NamedTuple):
    """The package with the text of each passage, in the same order."""

    package: EvidencePackage
    texts: tuple[str, ...]


class Citation(Record, frozen=True, kw_only=True):
    """A mark `[index]` in an answer. `supported`: the words before it stand in that passage.

    `document_id` is None where no passage has the number.
    """

    choice: int
    index: int
    document_id: str | None
    supported: bool
