"""Gathering: from the documents of a request to the evidence in its prompt (CX4). Pure.

Law: evidence takes at most what the context policy allows, and without one at most half of the
working context, so that instructions, conversation and answer keep the other half.
"""

from collections.abc import Callable

from octant.context.evidence import select
from octant.core.envelope import RequestEnvelope
from octant.core.evidence import Evidence
from octant.orchestration.composition import question_of
from octant.orchestration.routes import ServedModel

# For routes that count their own tokens: English text under the vocabularies of today.
_LIKELY_CHARS_PER_TOKEN = 4


def gather(envelope: RequestEnvelope, model: ServedModel) -> Evidence | None:
    """The passages to answer from, best for the question; None when no documents were given.

    Raises Failed(INVALID_VALUE) or Failed(REQUEST_TOO_LARGE) for documents that cannot be used.
    """
    context = envelope.context
    if not context.documents:
        return None
    budget = min(context.max_tokens or model.max_context, model.max_context // 2)
    return select(context.documents, question_of(envelope), budget, _counter(model))


def _counter(model: ServedModel) -> Callable[[str], int]:
    rules = next((route.prompt for route in model.routes if route.prompt is not None), None)
    if rules is None:
        return lambda text: len(text) // _LIKELY_CHARS_PER_TOKEN + 1
    tokenizer = rules.tokenizer
    return lambda text: len(tokenizer.encode_untrusted(text))
