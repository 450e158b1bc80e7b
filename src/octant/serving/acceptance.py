"""Acceptance: what a work must be before the engine spends a step on it.

Law: whatever is wrong with a work is found here or by the scheduler's `submit`, where it harms only
this work, and not inside a step that many share. No prompt is ever cut: one that does not fit is
refused.
"""

import math
from collections.abc import Collection, Iterator
from typing import NamedTuple

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.sampling import MAX_STOP_STRINGS, MAX_TOP_LOGPROBS, Sampling
from octant.core.stage import Stage
from octant.ports.executor import ExecutorFacts
from octant.serving.messages.to_engine import Generate

MAX_CHOICES = 128
# Also bounds what a work may add to a row of logits: float32 holds it without overflow.
_MAX_MAGNITUDE = 1e6


class _Range(NamedTuple):
    param: str
    value: float
    lowest: float
    highest: float


def accepted_max_tokens(work: Generate, facts: ExecutorFacts) -> int:
    """How many tokens each choice may generate; the scheduler checks that they fit.

    Raises Failed(INVALID_VALUE) for token ids and sampling values that make no sense.
    """
    sampling = work.sampling
    for param, value, lowest, highest in _ranges(sampling):
        if not lowest <= value <= highest:
            raise _refusal(f"{param} is {value}; it must be from {lowest} to {highest}.", param)
    _check_tokens(work.prompt_tokens, facts.vocab_size, "prompt")
    _check_tokens(sampling.stop_token_ids, facts.vocab_size, "stop_token_ids")
    _check_tokens(sampling.logit_bias, facts.vocab_size, "logit_bias")
    if sampling.max_tokens is None:
        return max(1, facts.max_context - len(work.prompt_tokens))
    return sampling.max_tokens


def _ranges(sampling: Sampling) -> Iterator[_Range]:
    yield _Range("n", sampling.n, 1, MAX_CHOICES)
    yield _Range("temperature", sampling.temperature, 0, _MAX_MAGNITUDE)
    yield _Range("top_p", sampling.top_p, 0, 1)
    yield _Range("min_p", sampling.min_p, 0, 1)
    yield _Range("repetition_penalty", sampling.repetition_penalty, 1e-3, _MAX_MAGNITUDE)
    for param in ("presence_penalty", "frequency_penalty"):
        yield _Range(param, getattr(sampling, param), -_MAX_MAGNITUDE, _MAX_MAGNITUDE)
    for bias in sampling.logit_bias.values():
        yield _Range("logit_bias", bias, -_MAX_MAGNITUDE, _MAX_MAGNITUDE)
    for param in ("top_k", "min_tokens"):
        yield _Range(param, getattr(sampling, param), 0, math.inf)
    yield _Range("stop", len(sampling.stop), 0, MAX_STOP_STRINGS)
    yield _Range("top_logprobs", sampling.top_logprobs or 0, 0, MAX_TOP_LOGPROBS)


def _check_tokens(tokens: Collection[int], vocab_size: int, param: str) -> None:
    if tokens and not (min(tokens) >= 0 and max(tokens) < vocab_size):
        raise _refusal(f"{param} names a token outside of 0 to {vocab_size - 1}.", param)


def _refusal(message: str, param: str) -> Failed:
    return Failed(
        Failure(kind=FailureKind.INVALID_VALUE, stage=Stage.QUEUE, message=message, param=param)
    )
