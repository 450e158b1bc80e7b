"""Prompts: what a request becomes for each way in which its routes read prompts.

Law: a request is tokenised once for each distinct set of prompt rules, however many routes and
attempts there are. Where the provider makes the prompt itself, nothing is tokenised here and sizes
are estimates from the text.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from octant.context.assembly import assemble, within_budget
from octant.core.content import TextPrompt, TokenPrompt
from octant.core.envelope import RequestEnvelope
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.ids import RouteId
from octant.core.stage import Stage
from octant.core.work import PromptPackage
from octant.orchestration.estimate import likely_tokens
from octant.orchestration.routes import DeployedRoute, PromptRules
from octant.orchestration.routing import PromptSize


class Prompt(NamedTuple):
    """A prompt and its size; `tokens` is an estimate where the package holds no tokens.

    `output_tokens` is the room that an answer needs: what was asked for, else what is likely.
    """

    package: PromptPackage
    tokens: int
    output_tokens: int

    @property
    def size(self) -> PromptSize:
        """What routing has to find room for."""
        return PromptSize(self.tokens, self.output_tokens)


class PromptSettings(NamedTuple):
    """`assumed_output_tokens` is the room kept for an answer that names no maximum.

    Inputs above `offload_bytes` are tokenised on a thread, so that one long prompt never holds up
    the event loop.
    """

    assumed_output_tokens: int = 64
    offload_bytes: int = 65_536


class _Key(NamedTuple):
    """Routes with equal keys read the same prompt."""

    tokenizer: str
    template: str


class PromptMaker:
    """Makes the prompts of one model call; `made` is told of each."""

    def __init__(
        self, envelope: RequestEnvelope, settings: PromptSettings, made: Callable[[Prompt], None]
    ) -> None:
        self._envelope = envelope
        self._settings = settings
        self._made = made
        self._known: dict[_Key | None, Prompt | Failure] = {}

    async def prompts(self, routes: Sequence[DeployedRoute]) -> Mapping[RouteId, Prompt | Failure]:
        """The prompt of each route, or why there is none."""
        wanted: dict[_Key | None, list[DeployedRoute]] = {}
        for deployed in routes:
            wanted.setdefault(_key(deployed.prompt), []).append(deployed)
        for key, sharing in wanted.items():
            if key not in self._known:
                await self._make(key, sharing)
        return {deployed.route.id: self._known[_key(deployed.prompt)] for deployed in routes}

    async def _make(self, key: _Key | None, sharing: Sequence[DeployedRoute]) -> None:
        max_context = max(deployed.max_context for deployed in sharing)
        try:
            package = await self._package(sharing[0].prompt, max_context)
        except Failed as refused:
            self._known[key] = refused.failure
            return
        tokens = len(package.tokens) or likely_tokens(self._envelope)
        prompt = Prompt(package, tokens, self._output_tokens(package))
        self._known[key] = prompt
        self._made(prompt)

    async def _package(self, rules: PromptRules | None, max_context: int) -> PromptPackage:
        envelope = self._envelope
        if rules is None:
            return _unread(envelope, max_context)
        parts = (envelope, rules.tokenizer, rules.template, max_context)
        if envelope.input_bytes > self._settings.offload_bytes:
            return await asyncio.to_thread(assemble, *parts)
        return assemble(*parts)

    def _output_tokens(self, package: PromptPackage) -> int:
        asked = self._envelope.sampling.max_tokens
        if asked is not None:
            return package.max_tokens
        return min(package.max_tokens, self._settings.assumed_output_tokens)


def _key(rules: PromptRules | None) -> _Key | None:
    if rules is None:
        return None
    return _Key(rules.tokenizer.digest, rules.template.digest if rules.template else "")


def _unread(envelope: RequestEnvelope, max_context: int) -> PromptPackage:
    """What can be said of a prompt that the provider makes; the digest is over the input."""
    given, sampling = envelope.input, envelope.sampling
    if isinstance(given, TokenPrompt):
        raise _token_ids("prompt")
    for param, tokens in (
        ("logit_bias", sampling.logit_bias),
        ("stop_token_ids", sampling.stop_token_ids),
    ):
        if tokens:
            raise _token_ids(param)
    if isinstance(given, TextPrompt) and sampling.top_logprobs is not None:
        raise _unsupported(
            "logprobs",
            "Log-probabilities of a plain prompt cannot be had from an upstream. Leave `logprobs` "
            "out, or send messages.",
        )
    room = _room(envelope, max_context)
    return PromptPackage(
        tokens=(),
        digest=f"sha256:{hashlib.sha256(msgspec.json.encode(given)).hexdigest()}",
        max_tokens=room if sampling.max_tokens is None else min(sampling.max_tokens, room),
        echo_text=given.text if isinstance(given, TextPrompt) and given.echo else None,
    )


def _room(envelope: RequestEnvelope, max_context: int) -> int:
    """Tokens left for an answer beside a prompt of the likely size."""
    prompt, asked = likely_tokens(envelope), envelope.sampling.max_tokens or 1
    if prompt + asked > max_context:
        raise Failed(
            Failure(
                kind=FailureKind.CONTEXT_LENGTH_EXCEEDED,
                stage=Stage.CONTEXT,
                message=f"The context holds {max_context} tokens; this request needs about "
                f"{prompt + asked} ({prompt} for the prompt, judged by its length, and {asked} for "
                "the answer). Shorten the prompt or ask for a shorter answer.",
                detail={"max_context": max_context, "likely_prompt_tokens": prompt},
            )
        )
    return within_budget(envelope, prompt, max_context - prompt)


def _token_ids(param: str) -> Failed:
    return _unsupported(
        param,
        f"`{param}` holds token ids, and the vocabulary of an upstream is not known here. Send "
        "text, or ask for a route that Octant runs itself.",
    )


def _unsupported(param: str, message: str) -> Failed:
    kind = FailureKind.UNSUPPORTED_PARAMETER
    return Failed(Failure(kind=kind, stage=Stage.CONTEXT, message=message, param=param))
