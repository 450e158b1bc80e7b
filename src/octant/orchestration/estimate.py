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
    """Likely tokens of one model call, and the highest possible cost of all that the run may make,
    over all routes of the model."""
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
    prices = [deployed.route.price for deployed in model.routes]
    cost = max(
        most_prompt * price.input_nano_usd + most_output * price.output_nano_usd for price in prices
    )
    owed = cost * _most_calls(envelope)
    if budget is not None:
        dearest = max(max(price.input_nano_usd, price.output_nano_usd) for price in prices)
        owed = max(cost, min(owed, budget * dearest))
    if (money := envelope.budget.cost_nano_usd) is not None:
        # Later calls are held to what is left of it; the first one is refused beyond it.
        owed = max(cost, min(owed, money))
    return Estimate(likely_prompt, likely_output, NanoUsd(owed))


def _most_calls(envelope: RequestEnvelope) -> int:
    """Model calls that a run may make: between its tools, and to repair its answer."""
    steps = envelope.tools.max_steps if envelope.tools.allowed else 1
    return steps + (envelope.output.max_repairs if envelope.output is not None else 0)


def likely_tokens(envelope: RequestEnvelope) -> int:
    """Tokens of the prompt: counted where they were sent, else guessed from its length."""
    if isinstance(envelope.input, TokenPrompt):
        return len(envelope.input.tokens)
    return tokens_in(envelope.input_bytes)


def tokens_in(text_bytes: int) -> int:
    """Likely tokens of a text of so many bytes, at least one."""
    return text_bytes // _LIKELY_BYTES_PER_TOKEN + 1
