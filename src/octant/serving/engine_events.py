"""The events of an engine's works, from what the engine knows of them. Pure."""

from octant.core.events import (
    FirstToken,
    SequenceFinished,
    SequencePreempted,
    SequenceScheduled,
)
from octant.core.usage import FinishReason
from octant.serving.sequences import LiveChoice, LiveWork


def scheduled(
    work: LiveWork, choice: LiveChoice, cached_tokens: int, at_ns: int
) -> SequenceScheduled:
    """First tokens of a choice are in a step."""
    return SequenceScheduled(
        at_ns=at_ns,
        request_id=work.id.request_id,
        choice=choice.index,
        prompt_tokens=len(work.generate.prompt_tokens),
        cached_tokens=cached_tokens,
    )


def preempted(
    work: LiveWork, choice: LiveChoice, freed_blocks: int, at_ns: int
) -> SequencePreempted:
    """A choice gave its blocks back."""
    return SequencePreempted(
        at_ns=at_ns,
        request_id=work.id.request_id,
        choice=choice.index,
        freed_blocks=freed_blocks,
    )


def first_token(work: LiveWork, choice: LiveChoice, at_ns: int) -> FirstToken:
    """A choice has begun to answer."""
    return FirstToken(at_ns=at_ns, request_id=work.id.request_id, choice=choice.index)


def finished(
    work: LiveWork, choice: LiveChoice, reason: FinishReason | None, at_ns: int
) -> SequenceFinished:
    """A choice has left the engine; without a reason it was cancelled or failed."""
    return SequenceFinished(
        at_ns=at_ns,
        request_id=work.id.request_id,
        choice=choice.index,
        reason=reason,
        completion_tokens=choice.generated,
        max_batch=choice.max_batch,
    )
