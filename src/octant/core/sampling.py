"""How the next token is chosen and when generation stops (SV1)."""

from octant.core.record import Record

MAX_TOP_LOGPROBS = 20
MAX_STOP_STRINGS = 16


class Sampling(Record, frozen=True, kw_only=True):
    """Sampling of one request.

    `max_tokens` None means up to the context window. `temperature` 0 is greedy. `top_k` 0 and
    `min_p` 0 are off. `top_logprobs` None returns no log-probabilities, 0 only the chosen token's.
    Log-probabilities are those of the model before temperature, bias and truncation (as vLLM's
    `raw_logprobs`). `logit_bias` adds to logits before everything else.
    """

    max_tokens: int | None = None
    min_tokens: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    n: int = 1
    top_logprobs: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    logit_bias: dict[int, float] = {}
