"""Assembly: what a caller sent, as the token ids that a model reads (CX4).

Law: the package fits the model's context together with the answer that was asked for, or the
request is refused with the numbers; nothing is ever cut silently. The digest is over the ids, so
that the same digest means the same prompt.
"""

import hashlib
import struct
from datetime import UTC, datetime
from functools import partial
from typing import NoReturn

from octant.context.caller_text import encode_conversation
from octant.context.chat_template import ChatTemplate, conversation
from octant.core.content import (
    ChatInput,
    ImagePart,
    Input,
    TextPrompt,
    TokenPrompt,
    ToolChoice,
)
from octant.core.envelope import RequestEnvelope
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.sampling import Sampling
from octant.core.stage import Stage
from octant.core.units import NS_PER_S
from octant.core.work import PromptPackage
from octant.ports.tokenizer import Tokenizer


def assemble(
    envelope: RequestEnvelope,
    tokenizer: Tokenizer,
    template: ChatTemplate | None,
    max_context: int,
) -> PromptPackage:
    """The prompt of a request; `max_context` counts tokens of prompt and answer together.

    Takes about a millisecond for every 2,000 characters. Raises Failed(INVALID_VALUE),
    Failed(UNSUPPORTED_PARAMETER), Failed(CONTEXT_LENGTH_EXCEEDED), or Failed(INSUFFICIENT_QUOTA)
    when the request's own budget leaves no token for an answer.
    """
    tokens = _tokens(envelope, tokenizer, template)
    param = _param(envelope.input)
    if not tokens:
        _refuse("The prompt is empty. Send at least one token of text.", param)
    _check_token_ids(envelope.sampling, tokenizer.vocab_size)
    max_tokens = _max_tokens(envelope, len(tokens), max_context)
    return PromptPackage(
        tokens=tuple(tokens),
        digest=digest(tokens),
        max_tokens=within_budget(envelope, len(tokens), max_tokens),
        echo_text=_echo_text(envelope.input, tokenizer),
    )


def digest(tokens: list[int] | tuple[int, ...]) -> str:
    """`sha256:` and 64 hex digits over the ids as little-endian 32-bit integers."""
    return f"sha256:{hashlib.sha256(struct.pack(f'<{len(tokens)}I', *tokens)).hexdigest()}"


def _tokens(
    envelope: RequestEnvelope, tokenizer: Tokenizer, template: ChatTemplate | None
) -> list[int]:
    match envelope.input:
        case ChatInput() as chat:
            return _chat_tokens(chat, envelope, tokenizer, template)
        case TextPrompt() as prompt:
            return _text_tokens(prompt, tokenizer)
        case TokenPrompt() as prompt:
            return _checked_tokens(prompt, tokenizer)


def _chat_tokens(
    chat: ChatInput,
    envelope: RequestEnvelope,
    tokenizer: Tokenizer,
    template: ChatTemplate | None,
) -> list[int]:
    _refuse_images(chat)
    if template is None:
        _unsupported(
            f"The model {envelope.model.name} has no chat template, so it takes no messages. Send "
            "a prompt to /v1/completions.",
            "messages",
        )
    tools = () if chat.tool_choice is ToolChoice.NONE else chat.tools
    now = datetime.fromtimestamp(envelope.received_unix_ns // NS_PER_S, UTC)
    talk = conversation(chat.messages, tools)
    return encode_conversation(talk, partial(template.render_conversation, now=now), tokenizer)


def _text_tokens(prompt: TextPrompt, tokenizer: Tokenizer) -> list[int]:
    """Raw text is the caller's own format: special tokens in it are meant, and kept."""
    tokens = tokenizer.encode(prompt.text)
    prefix = list(tokenizer.prefix)
    return tokens if tokens[: len(prefix)] == prefix else prefix + tokens


def _checked_tokens(prompt: TokenPrompt, tokenizer: Tokenizer) -> list[int]:
    for index, token in enumerate(prompt.tokens):
        if not 0 <= token < tokenizer.vocab_size:
            _refuse(
                f"prompt[{index}] is {token}; token ids of this model are from 0 to "
                f"{tokenizer.vocab_size - 1}.",
                "prompt",
            )
    return list(prompt.tokens)


def _refuse_images(chat: ChatInput) -> None:
    for place, message in enumerate(chat.messages):
        for index, part in enumerate(message.parts):
            if isinstance(part, ImagePart):
                param = f"messages[{place}].content[{index}]"
                _unsupported(f"{param} is an image, and this model reads text only.", param)


def _check_token_ids(sampling: Sampling, vocab_size: int) -> None:
    for param, tokens in (
        ("logit_bias", sampling.logit_bias),
        ("stop_token_ids", sampling.stop_token_ids),
    ):
        for token in tokens:
            if not 0 <= token < vocab_size:
                _refuse(
                    f"{param} names token {token}; token ids of this model are from 0 to "
                    f"{vocab_size - 1}.",
                    param,
                )


def _max_tokens(envelope: RequestEnvelope, prompt: int, max_context: int) -> int:
    asked = envelope.sampling.max_tokens
    if asked is None and prompt < max_context:
        return max_context - prompt
    if asked is not None and prompt + asked <= max_context:
        return asked
    what = "messages" if isinstance(envelope.input, ChatInput) else "prompt"
    if prompt >= max_context or asked is None:
        request = f"your {what} resulted in {prompt} tokens. Please reduce the length of the {what}"
    else:
        request = (
            f"you requested {prompt + asked} tokens ({prompt} in the {what}, {asked} in the "
            f"completion). Please reduce the length of the {what} or completion"
        )
    raise Failed(
        Failure(
            kind=FailureKind.CONTEXT_LENGTH_EXCEEDED,
            stage=Stage.CONTEXT,
            message=f"This model's maximum context length is {max_context} tokens. However, "
            f"{request}.",
            param=_param(envelope.input),
            detail={"max_context": max_context, "prompt_tokens": prompt, "max_tokens": asked},
        )
    )


def within_budget(envelope: RequestEnvelope, prompt: int, max_tokens: int) -> int:
    """What of `max_tokens` the request's own budget leaves to each of its answers."""
    budget, choices = envelope.budget.tokens, envelope.sampling.n
    if budget is None:
        return max_tokens
    allowed = (budget - prompt) // choices
    if allowed >= 1:
        return min(max_tokens, allowed)
    answers = "an answer" if choices == 1 else f"each of {choices} answers"
    raise Failed(
        Failure(
            kind=FailureKind.INSUFFICIENT_QUOTA,
            stage=Stage.CONTEXT,
            message=f"The budget of this request is {budget} tokens and its prompt has {prompt}, "
            f"which leaves less than one token for {answers}. Raise octant.budget.tokens or "
            f"shorten the {_param(envelope.input)}.",
            param="octant.budget.tokens",
            detail={"budget_tokens": budget, "prompt_tokens": prompt, "choices": choices},
        )
    )


def _echo_text(prompt: Input, tokenizer: Tokenizer) -> str | None:
    match prompt:
        case TextPrompt(echo=True):
            return prompt.text
        case TokenPrompt(echo=True):
            return tokenizer.decode(prompt.tokens)
        case _:
            return None


def _param(prompt: Input) -> str:
    return "messages" if isinstance(prompt, ChatInput) else "prompt"


def _refuse(message: str, param: str) -> NoReturn:
    _fail(FailureKind.INVALID_VALUE, message, param)


def _unsupported(message: str, param: str) -> NoReturn:
    _fail(FailureKind.UNSUPPORTED_PARAMETER, message, param)


def _fail(kind: FailureKind, message: str, param: str) -> NoReturn:
    raise Failed(Failure(kind=kind, stage=Stage.CONTEXT, message=message, param=param))
