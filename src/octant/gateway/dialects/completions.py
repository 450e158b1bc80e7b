"""Completions: the body of `POST /v1/completions`, the older API that continues raw text."""

from typing import Annotated

from msgspec import Meta

from octant.core.content import TextPrompt, TokenPrompt
from octant.core.envelope import Api
from octant.core.failure import FailureKind
from octant.gateway.dialects.completion_answers import CompletionStream, WholeCompletion
from octant.gateway.dialects.dialect import (
    IN_OCTANT,
    Answering,
    Defaults,
    Question,
    StreamAnswer,
    WholeAnswer,
    no_defaults,
)
from octant.gateway.dialects.sampling_fields import (
    OPENAI_FIELDS,
    Asked,
    OpenAiBody,
    TokenId,
    TopLogprobs,
    check_stream_options,
    question_of,
    sampling_of,
)
from octant.gateway.failures import refuse
from octant.gateway.fields import Table, refused, table, taken
from octant.gateway.json_input import decode_body
from octant.gateway.settings import GatewaySettings

DEFAULT_MAX_TOKENS = 16
Prompt = str | Annotated[list[str | TokenId | list[TokenId]], Meta(min_length=1)]


class CompletionBody(OpenAiBody, frozen=True, kw_only=True):
    """The fields that have an effect."""

    prompt: Prompt
    echo: bool | None = None
    logprobs: TopLogprobs | None = None
    best_of: Annotated[int, Meta(ge=1)] | None = None


FIELDS: Table = table(
    taken("prompt", "One text or one array of token ids; a list holding one of them is taken too."),
    *OPENAI_FIELDS,
    taken("echo", "true puts the prompt before the answer; not together with `logprobs`."),
    taken("logprobs", "0 to 20: that many most likely tokens at each position."),
    taken("best_of", "Only equal to `n`."),
    refused("suffix", "Text cannot be inserted before a suffix; leave it out.", ""),
)


class Completions:
    """The dialect of completions."""

    api = Api.COMPLETIONS
    fields = FIELDS
    extras_at = IN_OCTANT

    def read(
        self, body: bytes, settings: GatewaySettings, defaults: Defaults = no_defaults
    ) -> Question:
        """Raises Failed with the field, its bound and the fix."""
        asked = decode_body(body, CompletionBody, self.fields, settings.max_nesting)
        check_stream_options(asked)
        _check_combinations(asked)
        # OpenAI's default; the context window would surprise callers of this API.
        max_tokens = DEFAULT_MAX_TOKENS if asked.max_tokens is None else asked.max_tokens
        sampling = sampling_of(
            asked, Asked(max_tokens, asked.logprobs), settings, defaults(asked.model)
        )
        return question_of(asked, _prompt(asked.prompt, bool(asked.echo)), sampling, settings)

    def whole(self, answering: Answering) -> WholeAnswer:
        """Collects the `text_completion` object."""
        return WholeCompletion(answering)

    def stream(self, answering: Answering) -> StreamAnswer:
        """Writes `text_completion` events."""
        return CompletionStream(answering)


def _prompt(prompt: Prompt, echo: bool) -> TextPrompt | TokenPrompt:
    only = _only(prompt)
    if not only:
        refuse(
            FailureKind.INVALID_VALUE,
            "'prompt' is empty. Send at least one character or token id.",
            "prompt",
        )
    if isinstance(only, str):
        return TextPrompt(text=only, echo=echo)
    return TokenPrompt(tokens=tuple(only), echo=echo)


def _only(prompt: Prompt) -> str | list[int]:
    """The one text or token array that `prompt` is or holds."""
    if isinstance(prompt, str):
        return prompt
    tokens = [entry for entry in prompt if isinstance(entry, int)]
    if len(tokens) == len(prompt):
        return tokens
    first = prompt[0]
    if tokens or isinstance(first, int):
        refuse(
            FailureKind.INVALID_TYPE,
            "'prompt' mixes token ids with other values. Send one text or one array of token ids.",
            "prompt",
        )
    if len(prompt) > 1:
        refuse(
            FailureKind.UNSUPPORTED_PARAMETER,
            f"'prompt' holds {len(prompt)} prompts; one is taken. Send one request for each.",
            "prompt",
        )
    return first


def _check_combinations(asked: CompletionBody) -> None:
    if asked.echo and asked.logprobs is not None:
        refuse(
            FailureKind.UNSUPPORTED_PARAMETER,
            "'echo' together with 'logprobs' is not supported: prompts are not scored. "
            "Leave one of them out.",
            "echo",
        )
    if asked.best_of is not None and asked.best_of != (asked.n or 1):
        refuse(
            FailureKind.UNSUPPORTED_PARAMETER,
            f"'best_of' is {asked.best_of} and 'n' is {asked.n or 1}; only equal values are "
            "supported. Leave out 'best_of'.",
            "best_of",
        )
