"""The estimate: what limits are asked for before a prompt has been tokenised."""

from msgspec.structs import replace

from octant.core.content import TokenPrompt
from octant.core.envelope import OutputContract, ToolGrant
from octant.core.ids import RouteId
from octant.core.limits import RunBudget
from octant.core.route import Price
from octant.core.sampling import Sampling
from octant.core.units import NanoUsd
from octant.orchestration.estimate import estimate_of
from octant.orchestration.routes import DeployedRoute, PromptRules, ServedModel
from octant.serving.engine_client import ClientSettings, EngineClient
from tests.support.envelopes import envelope, route
from tests.support.vocabularies import tokenizer_of

PRICE = Price(input_nano_usd=NanoUsd(10), output_nano_usd=NanoUsd(100))
MODEL = ServedModel(
    name="m",
    created_unix_s=0,
    routes=(
        DeployedRoute(
            route("r", price=PRICE),
            EngineClient(RouteId("r"), "sha256:test", ClientSettings()),
            PromptRules(tokenizer_of("byte_level"), template=None, tool_format=None),
        ),
    ),
)
PROMPT = TokenPrompt(tokens=(1,) * 100)


def test_all_answers_are_counted_and_their_highest_cost() -> None:
    asked = envelope(input=PROMPT, sampling=Sampling(max_tokens=20, n=3))
    assert estimate_of(asked, MODEL, 64) == (100, 60, 100 * 10 + 60 * 100)


def test_without_a_maximum_likely_tokens_are_assumed_and_the_context_could_be_paid() -> None:
    asked = envelope(input=PROMPT, sampling=Sampling())
    assert estimate_of(asked, MODEL, 64) == (100, 64, 100 * 10 + 512 * 100)


def test_no_more_is_asked_for_than_the_budget_of_the_request_allows() -> None:
    asked = envelope(input=PROMPT, sampling=Sampling(n=2), budget=RunBudget(tokens=150))
    assert estimate_of(asked, MODEL, 64) == (100, 50, 100 * 10 + 150 * 100)


def test_every_call_that_a_run_may_make_is_reserved() -> None:
    """A tenant's budget is never overspent, so tools and repairs count before they happen."""
    one = 100 * 10 + 20 * 100
    ordinary = envelope(input=PROMPT, sampling=Sampling(max_tokens=20))
    with_tools = replace(ordinary, tools=ToolGrant(allowed=("clock",), max_steps=3))
    repaired = replace(with_tools, output=OutputContract(json_schema={}, max_repairs=2))
    costs = [estimate_of(asked, MODEL, 64)[2] for asked in (ordinary, with_tools, repaired)]
    assert costs == [one, 3 * one, 5 * one]
    by_money = replace(repaired, budget=RunBudget(cost_nano_usd=NanoUsd(4_000)))
    by_tokens = replace(repaired, budget=RunBudget(tokens=130))
    assert estimate_of(by_money, MODEL, 64).max_cost_nano_usd == 4_000
    assert estimate_of(by_tokens, MODEL, 64).max_cost_nano_usd == 130 * 100
    too_little = replace(repaired, budget=RunBudget(cost_nano_usd=NanoUsd(1)))
    assert estimate_of(too_little, MODEL, 64).max_cost_nano_usd == one


def test_a_guess_beyond_the_budget_is_no_debt() -> None:
    asked = envelope(input=PROMPT, budget=RunBudget(tokens=60))
    assert estimate_of(asked, MODEL, 64).max_output_tokens == 0
