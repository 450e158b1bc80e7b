"""Prompts of a request: one for each way of reading, estimates where nobody reads here."""

from collections.abc import Sequence

import pytest

from octant.context.chat_template import ChatTemplate
from octant.core.content import TextPrompt, TokenPrompt
from octant.core.envelope import RequestEnvelope
from octant.core.failure import Failure, FailureKind
from octant.core.ids import RouteId
from octant.core.limits import RunBudget
from octant.core.sampling import Sampling
from octant.orchestration.prompts import Prompt, PromptMaker, PromptSettings
from octant.orchestration.routes import DeployedRoute, PromptRules
from tests.support.envelopes import envelope, route
from tests.support.scripted_provider import ScriptedProvider
from tests.support.vocabularies import tokenizer_of

TOKENIZER = tokenizer_of("byte_level")
PLAIN = "{% for m in messages %}{{ m.content }}{% endfor %}"
SHOUT = "{% for m in messages %}{{ m.content | upper }}{% endfor %}"


def rules(template: str) -> PromptRules:
    return PromptRules(TOKENIZER, ChatTemplate(template), tool_format=None)


def deployed(name: str, prompt: PromptRules | None, max_context: int = 512) -> DeployedRoute:
    provider = ScriptedProvider(max_context=max_context)
    return DeployedRoute(route(name, max_context=max_context), provider, prompt)


async def made(
    asked: RequestEnvelope, routes: Sequence[DeployedRoute], offload_bytes: int = 65_536
) -> tuple[dict[RouteId, Prompt | Failure], list[Prompt]]:
    told: list[Prompt] = []
    maker = PromptMaker(asked, PromptSettings(64, offload_bytes), told.append)
    first = await maker.prompts(routes)
    assert await maker.prompts(routes) == first
    return dict(first), told


@pytest.mark.parametrize("offload_bytes", [0, 65_536])
async def test_routes_that_read_alike_share_a_prompt(offload_bytes: int) -> None:
    routes = [
        deployed("a", rules(PLAIN)),
        deployed("b", rules(PLAIN)),
        deployed("c", rules(SHOUT)),
    ]
    prompts, told = await made(envelope(), routes, offload_bytes)
    assert prompts[RouteId("a")] is prompts[RouteId("b")]
    texts = [TOKENIZER.decode(prompt.package.tokens) for prompt in told]
    assert texts == ["Hello", "HELLO"]


async def test_one_that_cannot_be_read_leaves_the_others() -> None:
    routes = [deployed("a", rules(PLAIN)), deployed("b", PromptRules(TOKENIZER, None, None))]
    prompts, told = await made(envelope(), routes)
    refused = prompts[RouteId("b")]
    assert isinstance(refused, Failure)
    assert refused.kind is FailureKind.UNSUPPORTED_PARAMETER
    assert len(told) == 1


async def test_without_a_maximum_room_is_kept_for_a_likely_answer() -> None:
    routes = [deployed("small", rules(PLAIN), 100), deployed("large", rules(PLAIN), 512)]
    prompts, _ = await made(envelope(sampling=Sampling()), routes)
    prompt = prompts[RouteId("small")]
    assert isinstance(prompt, Prompt)
    assert prompt.size.output == 64
    assert prompt.package.max_tokens == 512 - prompt.tokens


async def test_an_upstreams_prompt_is_judged_by_its_length() -> None:
    asked = envelope(input=TextPrompt(text="x" * 400, echo=True), input_bytes=400)
    prompts, _ = await made(asked, [deployed("far", None)])
    prompt = prompts[RouteId("far")]
    assert isinstance(prompt, Prompt)
    assert (prompt.package.tokens, prompt.size) == ((), (101, 16))
    assert prompt.package.echo_text == "x" * 400
    other, _ = await made(envelope(input_bytes=400), [deployed("far", None)])
    assert other != prompts


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        (envelope(input=TokenPrompt(tokens=(1, 2))), FailureKind.UNSUPPORTED_PARAMETER),
        (envelope(sampling=Sampling(logit_bias={1: 1.0})), FailureKind.UNSUPPORTED_PARAMETER),
        (envelope(sampling=Sampling(stop_token_ids=(1,))), FailureKind.UNSUPPORTED_PARAMETER),
        (
            envelope(input=TextPrompt(text="x"), sampling=Sampling(top_logprobs=1)),
            FailureKind.UNSUPPORTED_PARAMETER,
        ),
        (envelope(input_bytes=4 * 512), FailureKind.CONTEXT_LENGTH_EXCEEDED),
        (envelope(sampling=Sampling(max_tokens=512)), FailureKind.CONTEXT_LENGTH_EXCEEDED),
        (envelope(budget=RunBudget(tokens=2)), FailureKind.INSUFFICIENT_QUOTA),
    ],
    ids=["token ids", "bias", "stop ids", "completion logprobs", "prompt", "answer", "budget"],
)
async def test_what_cannot_be_asked_of_an_upstream_is_refused_here(
    asked: RequestEnvelope, kind: FailureKind
) -> None:
    prompts, told = await made(asked, [deployed("far", None)])
    refused = prompts[RouteId("far")]
    assert isinstance(refused, Failure)
    assert refused.kind is kind
    assert told == []


async def test_the_budget_of_a_request_bounds_an_upstreams_answer() -> None:
    asked = envelope(sampling=Sampling(n=2), budget=RunBudget(tokens=42), input_bytes=4)
    prompts, _ = await made(asked, [deployed("far", None)])
    prompt = prompts[RouteId("far")]
    assert isinstance(prompt, Prompt)
    assert prompt.package.max_tokens == 20
