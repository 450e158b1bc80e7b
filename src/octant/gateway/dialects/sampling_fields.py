"""The sampling fields that all dialects share, and their way into `Sampling`.

Law: types and fixed bounds stand in the annotations; a bound that is a setting is checked here.
"""

from typing import Annotated, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

from octant.core.content import Input
from octant.core.failure import FailureKind
from octant.core.sampling import MAX_STOP_STRINGS, MAX_TOP_LOGPROBS, Sampling
from octant.gateway.dialects.dialect import IN_OCTANT, NO_TERMS, Question
from octant.gateway.dialects.octant_extras import (
    MAX_TOKENS,
    OCTANT_FIELD,
    OctantObject,
    TokenCount,
)
from octant.gateway.dialects.octant_terms import check_terms, constraints_of, terms_of
from octant.gateway.failures import refuse
from octant.gateway.fields import Field, ignored, taken
from octant.gateway.settings import GatewaySettings

T = TypeVar("T")

MAX_TOKEN_ID = (1 << 31) - 1
MAX_STOP_LENGTH = 1_024
MAX_LOGIT_BIASES = 1_024
MAX_STOP_TOKEN_IDS = 128
# The smallest nucleus still holds the most likely token; OpenAI takes 0, samplers divide by it.
_SMALLEST_TOP_P = 1e-9

TokenId = Annotated[int, Meta(ge=0, le=MAX_TOKEN_ID)]
TopLogprobs = Annotated[int, Meta(ge=0, le=MAX_TOP_LOGPROBS)]
StopString = Annotated[str, Meta(min_length=1, max_length=MAX_STOP_LENGTH)]
ModelName = Annotated[str, Meta(min_length=1, max_length=256)]


class StreamOptions(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`stream_options`."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class SentSampling(msgspec.Struct, frozen=True, kw_only=True):
    """How tokens are chosen; null means the default everywhere."""

    max_tokens: TokenCount | None = None
    min_tokens: Annotated[int, Meta(ge=0, le=MAX_TOKENS)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1, le=MAX_TOKEN_ID)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    seed: Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)] | None = None
    n: Annotated[int, Meta(ge=1)] | None = None
    stop: StopString | Annotated[list[StopString], Meta(max_length=MAX_STOP_STRINGS)] | None = None
    stop_token_ids: Annotated[list[TokenId], Meta(max_length=MAX_STOP_TOKEN_IDS)] | None = None
    ignore_eos: bool | None = None
    logit_bias: (
        Annotated[
            dict[str, Annotated[float, Meta(ge=-100, le=100)]], Meta(max_length=MAX_LOGIT_BIASES)
        ]
        | None
    ) = None


class OpenAiBody(SentSampling, frozen=True, kw_only=True):
    """What chat completions and completions share."""

    model: ModelName
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    octant: OctantObject | None = None


MODEL_FIELD = taken("model", "The public name of a served model; GET /v1/models lists them.")
STREAM_FIELD = taken("stream", "true answers with server-sent events.")
SAMPLING_FIELDS: tuple[Field, ...] = (
    taken("max_tokens", "1 to 2147483648; without it, up to the context window."),
    taken("min_tokens", "0 to max_tokens; no end before that many tokens."),
    taken("temperature", "0 to 2; 0 takes the most likely token. Default: the model's, else 1."),
    taken("top_p", "0 to 1. Default: the model's, else 1."),
    taken("top_k", "-1 or 0 (off), or 1 and more. Default: the model's, else off."),
    taken("min_p", "0 to 1; 0 is off. Default: the model's, else 0."),
    taken("presence_penalty", "-2 to 2, default 0."),
    taken("frequency_penalty", "-2 to 2, default 0."),
    taken("repetition_penalty", "Above 0, at most 10; 1 is off. Default: the model's, else 1."),
    taken("seed", "A 64-bit integer; the same seed and prompt sample the same tokens."),
    taken("n", "1 to `limits.max_choices` (16), default 1."),
    taken(
        "stop", f"A string or up to {MAX_STOP_STRINGS}, each of 1 to {MAX_STOP_LENGTH} characters."
    ),
    taken("stop_token_ids", f"Up to {MAX_STOP_TOKEN_IDS} token ids that end a choice."),
    taken("ignore_eos", "true generates past the end-of-sequence token, for measurements."),
    taken("logit_bias", f"Up to {MAX_LOGIT_BIASES} token ids, as strings, to -100 .. 100."),
)
OPENAI_FIELDS: tuple[Field, ...] = (
    MODEL_FIELD,
    STREAM_FIELD,
    taken(
        "stream_options",
        "Only with `stream`; {include_usage: boolean}. `include_obfuscation` is accepted and "
        "adds nothing.",
    ),
    *SAMPLING_FIELDS,
    OCTANT_FIELD,
    ignored("user", "A hint for abuse monitoring at OpenAI; the key says who calls."),
)

NOT_STORED = "Octant stores no completions."


def check_stream_options(body: OpenAiBody) -> None:
    """Raises Failed(INVALID_VALUE) for `stream_options` without `stream`."""
    if body.stream_options is not None and not body.stream:
        refuse(
            FailureKind.INVALID_VALUE,
            "The 'stream_options' parameter is only allowed when 'stream' is true.",
            "stream_options",
        )


class Asked(NamedTuple):
    """What dialects spell differently; `at` is what stands before a field's name in messages."""

    max_tokens: int | None
    top_logprobs: int | None
    at: str = ""


def sampling_of(
    body: SentSampling, asked: Asked, settings: GatewaySettings, default: Sampling
) -> Sampling:
    """The sampling that `body` asks for; what it leaves open is the model's default.

    Raises Failed(INVALID_VALUE).
    """
    _check_choices(body.n or 1, settings.max_choices, asked.at)
    _check_minimum(body.min_tokens or 0, asked)
    return Sampling(
        max_tokens=asked.max_tokens,
        min_tokens=body.min_tokens or 0,
        temperature=_or(body.temperature, default.temperature),
        top_k=max(_or(body.top_k, default.top_k), 0),
        top_p=max(_or(body.top_p, default.top_p), _SMALLEST_TOP_P),
        min_p=_or(body.min_p, default.min_p),
        presence_penalty=_or(body.presence_penalty, default.presence_penalty),
        frequency_penalty=_or(body.frequency_penalty, default.frequency_penalty),
        repetition_penalty=_or(body.repetition_penalty, default.repetition_penalty),
        seed=body.seed,
        n=body.n or 1,
        top_logprobs=asked.top_logprobs,
        stop=_stops(body.stop),
        stop_token_ids=tuple(body.stop_token_ids or ()),
        ignore_eos=bool(body.ignore_eos),
        logit_bias=_biases(body.logit_bias or {}, asked.at),
    )


def question_of(
    body: OpenAiBody,
    asked: Input,
    sampling: Sampling,
    settings: GatewaySettings,
    capabilities: tuple[str, ...] = (),
) -> Question:
    """The question of a body whose own fields have become `asked` and `sampling`.

    Raises Failed for terms that they cannot have.
    """
    extras, terms = body.octant, NO_TERMS
    if extras is not None:
        terms = terms_of(extras, settings, IN_OCTANT)
        check_terms(terms, asked, sampling, IN_OCTANT)
    return Question(
        input=asked,
        sampling=sampling,
        model=constraints_of(body.model, extras and extras.model, capabilities),
        terms=terms,
        stream=bool(body.stream),
        include_usage=bool(body.stream_options and body.stream_options.include_usage),
        include_report=extras is not None,
    )


def _or(value: T | None, default: T) -> T:
    return default if value is None else value


def _stops(stop: str | list[str] | None) -> tuple[str, ...]:
    if stop is None:
        return ()
    return (stop,) if isinstance(stop, str) else tuple(stop)


def _biases(biases: dict[str, float], at: str) -> dict[int, float]:
    checked: dict[int, float] = {}
    for token, bias in biases.items():
        if not (token.isascii() and token.isdigit() and len(token) <= 10):
            refuse(
                FailureKind.INVALID_VALUE,
                f"Invalid key in '{at}logit_bias': '{token[:20]}'. Keys are token ids as strings.",
                f"{at}logit_bias",
            )
        checked[int(token)] = bias
    return checked


def _check_choices(n: int, limit: int, at: str) -> None:
    if n > limit:
        refuse(
            FailureKind.INVALID_VALUE,
            f"Invalid value for '{at}n': {n} choices, at most {limit} are allowed. "
            "Send several requests.",
            f"{at}n",
        )


def _check_minimum(min_tokens: int, asked: Asked) -> None:
    if asked.max_tokens is not None and min_tokens > asked.max_tokens:
        refuse(
            FailureKind.INVALID_VALUE,
            f"'{asked.at}min_tokens' is {min_tokens}, above '{asked.at}max_tokens' "
            f"{asked.max_tokens}. Lower it.",
            f"{asked.at}min_tokens",
        )
