"""Refusal: what the scheduler does not take on, with the reason in the caller's terms.

Law: whoever passes here can run to its end if it is left alone with the engine; the scheduler's
promise that everyone ends rests on it.
"""

from octant.compute.schedule import SequenceRequest
from octant.context.kv.block_pool import BlockPool
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.limits import Profile
from octant.core.stage import Stage
from octant.core.units import NS_PER_S

# The scheduler cannot tell when its queue drains; admission, which predicts it, refuses earlier.
_RETRY_AFTER_NS = NS_PER_S


def raise_if_it_cannot_run(request: SequenceRequest, pool: BlockPool, max_context: int) -> None:
    """Raises Failed: INVALID_VALUE, CONTEXT_LENGTH_EXCEEDED or CAPACITY_EXHAUSTED."""
    prompt_tokens, total = len(request.prompt), len(request.prompt) + request.max_tokens
    if not prompt_tokens or request.max_tokens < 1:
        raise _refusal(
            FailureKind.INVALID_VALUE,
            f"A prompt of {prompt_tokens} tokens with room for {request.max_tokens} new ones leaves"
            " nothing to compute. Both must be at least 1.",
        )
    if total > max_context:
        raise _refusal(
            FailureKind.CONTEXT_LENGTH_EXCEEDED,
            f"The prompt has {prompt_tokens} tokens and {request.max_tokens} more were asked for,"
            f" but the model's context holds {max_context}. Shorten the prompt or lower"
            " max_tokens.",
        )
    # The last token is sampled but never computed, so it needs no place in a block.
    needed = pool.blocks_for(total - 1)
    if needed > pool.block_count:
        # No retry_after_ns: the same request never fits this engine.
        raise _refusal(
            FailureKind.CAPACITY_EXHAUSTED,
            f"The request needs {needed} KV blocks of {pool.block_size} tokens, but this engine has"
            f" {pool.block_count} in all. Shorten the prompt, lower max_tokens, or give the engine"
            " more KV memory.",
        )


def raise_if_full(profile: Profile, waiting: int, max_waiting: int) -> None:
    """Raises Failed: OVERLOADED. Only the profile's own line counts."""
    if waiting >= max_waiting:
        raise _refusal(
            FailureKind.OVERLOADED,
            f"{waiting} sequences of profile {profile} already wait for this engine. Try again"
            " later.",
            retry_after_ns=_RETRY_AFTER_NS,
        )


def _refusal(kind: FailureKind, message: str, retry_after_ns: int | None = None) -> Failed:
    return Failed(
        Failure(kind=kind, stage=Stage.QUEUE, message=message, retry_after_ns=retry_after_ns)
    )
