"""Estimate: what a request may use, judged before its prompt is tokenised. Pure.

Tokens are what is likely, because a rate limit is settled with actuals a moment later. Money is the
most that can be owed, because a budget is never overspent (GW3, GW4).
"""

from octant.admission.control import Estimate
from octant.core.content import TokenPrompt
from octant.core.envelope import RequestEnvelope
from octant.core.units import NanoUsd
from octant.orchestration.routes import ServedModel

# English text under the vocabularies of today; settled with the real count.
_LIKELY_BYTES_PER_TOKEN = 4


def estimate_of(
    envelope: RequestEnvelope, model: ServedModel, assumed_output_tokens: int
) -> Estimate:
    """Likely tokens and the highest possible cost over all routes of the model."""
    sampling = envelope.sampling
    likely_prompt = likely_tokens(envelope)
    known = isinstance(envelope.input, TokenPrompt)
    most_prompt = likely_prompt if known else model.max_context
    likely_output = sampling.n * (sampling.max_tokens or assumed_output_tokens)
    most_output = sampling.n * min(sampling.max_tokens or model.max_context, model.max_context)
    budget = envelope.budget.tokens
    if budget is not None:
        # Assembly holds the request to it, so no limit need be asked for more.
        likely_output = min(likely_output, max(budget - likely_prompt, 0))
        most_output = min(most_output, budget)
    cost = max(
        most_prompt * deployed.route.price.input_nano_usd
        + most_output * deployed.route.price.output_nano_usd
        for deployed in model.routes
    )
    return Estimate(likely_prompt, likely_output, NanoUsd(cost))


def likely_tokens(envelope: RequestEnvelope) -> int:
    """Tokens of the prompt: counted where they were sent, else guessed from its length."""
    if isinstance(envelope.input, TokenPrompt):
        return len(envelope.input.tokens)
    return tokens_in(envelope.input_bytes)


def tokens_in(text_bytes: int) -> int:
    """Likely tokens of a text of so many bytes, at least one."""
    return text_bytes // _LIKELY_BYTES_PER_TOKEN + 1
