"""Execution: one model call of a request, over as many attempts as the rules allow.

    RequestEnvelope -> Prompt for each kind of route -> RouteDecision -> ExecutionManifest
                    -> ModelWork -> items of one provider, shaped

Law: attempts are numbered over all model calls of a request, a route that failed is not tried
again, and once any output has been passed on the call ends with whatever that route delivers.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

from msgspec.structs import replace

from octant.core.envelope import RequestEnvelope
from octant.core.events import AttemptFailed, AttemptStarted, ContextAssembled, RouteDecided
from octant.core.failure import Failed, Failure
from octant.core.ids import ID_ENTROPY_BYTES, RouteId
from octant.core.manifest import ExecutionManifest
from octant.core.route import DeploymentState, RouteLoad
from octant.core.stream import Broken, Completed, Started, StreamItem
from octant.core.work import ModelWork, cache_salt
from octant.observability.trace import span_id
from octant.orchestration.account import RunAccount
from octant.orchestration.answer import AnswerShape
from octant.orchestration.attempts import may_try_again
from octant.orchestration.breakers import Breakers, Trial
from octant.orchestration.prompts import Prompt, PromptMaker, PromptSettings
from octant.orchestration.routes import DeployedRoute, ServedModel
from octant.orchestration.routing import RouteNeeds, RouteView, decide, standing, worth_a_prompt
from octant.ports.clock import Clock
from octant.ports.entropy import Entropy
from octant.ports.sink import EventSink

# Seeds fit a signed 64-bit integer, so that every store and client can hold them.
_SEED_BYTES = 7


class ExecutionSettings(NamedTuple):
    """`max_attempts` bounds the attempts at one model call."""

    prompts: PromptSettings = PromptSettings()
    max_attempts: int = 3


class _Call(NamedTuple):
    """One model call; every attempt works from the same one. `failed` are those that another one
    followed, in their order.
    """

    envelope: RequestEnvelope
    model: ServedModel
    account: RunAccount
    step: int
    seed: int
    prompts: PromptMaker
    failed: dict[RouteId, Broken]


class _Choice(NamedTuple):
    deployed: DeployedRoute
    prompt: Prompt


class _Attempt(NamedTuple):
    call: _Call
    number: int
    deployed: DeployedRoute
    prompt: Prompt


class Execution:
    """Executes model calls on the routes of their model."""

    def __init__(
        self,
        events: EventSink,
        clock: Clock,
        entropy: Entropy,
        breakers: Breakers,
        settings: ExecutionSettings,
    ) -> None:
        self._events = events
        self._clock = clock
        self._entropy = entropy
        self._breakers = breakers
        self._settings = settings

    async def run(
        self, envelope: RequestEnvelope, model: ServedModel, account: RunAccount, step: int = 1
    ) -> AsyncGenerator[StreamItem, None]:
        """Items up to and including one terminal item.

        Raises Failed when no route is eligible, with the prompt's own fault where that is why.
        """
        call = self._call(envelope, model, account, step)
        ended = False
        while not ended:
            try:
                choice = await self._choose(call)
            except Failed:
                if not call.failed:
                    raise
                yield list(call.failed.values())[-1]
                return
            async with aclosing(self._attempt(self._begin(call, choice))) as items:
                async for item in items:
                    ended = isinstance(item, Completed | Broken)
                    yield item
            assert ended or choice.deployed.route.id in call.failed, "a provider did not end"

    def likely(self, envelope: RequestEnvelope, model: ServedModel) -> RouteLoad | None:
        """The load of the route that a request would go to now, were its prompt no obstacle."""
        routes = {deployed.route.id: deployed for deployed in model.routes}
        needs = RouteNeeds(envelope, frozenset(), model.traffic)
        views = [self._view(deployed, None) for deployed in routes.values()]
        if not standing(needs, views):
            return None
        return routes[decide(needs, views).chosen.id].load()

    async def _attempt(self, attempt: _Attempt) -> AsyncGenerator[StreamItem, None]:
        """Items of one attempt, without the terminal one where another attempt is to follow."""
        call, deployed = attempt.call, attempt.deployed
        shape = self._shape(attempt)
        work = _work(attempt)
        call.account.hand_over(work)
        trial = Trial(self._breakers, deployed.route.id, self._clock.monotonic_ns())
        output_sent = False
        try:
            async with deployed.provider.generate(work) as items:
                async for item in items:
                    now_ns = self._clock.monotonic_ns()
                    trial.see(item, now_ns)
                    if isinstance(item, Broken):
                        self._lost(attempt, item.failure)
                        tried, most = len(call.failed) + 1, self._settings.max_attempts
                        if may_try_again(item.failure, tried, output_sent, most):
                            call.failed[deployed.route.id] = item
                            return
                    output_sent = output_sent or not isinstance(item, Started)
                    call.account.see(item, now_ns)
                    for shaped in shape.feed(item):
                        yield shaped
        finally:
            trial.close(self._clock.monotonic_ns())

    def _call(
        self, envelope: RequestEnvelope, model: ServedModel, account: RunAccount, step: int
    ) -> _Call:
        def made(prompt: Prompt) -> None:
            self._events.emit(
                ContextAssembled(
                    at_ns=self._clock.monotonic_ns(),
                    request_id=envelope.request_id,
                    prompt_tokens=prompt.tokens,
                    prompt_digest=prompt.package.digest,
                    step=step,
                )
            )

        seed = envelope.sampling.seed
        if seed is None:
            seed = int.from_bytes(self._entropy.bytes(_SEED_BYTES), "little")
        prompts = PromptMaker(envelope, self._settings.prompts, made)
        return _Call(envelope, model, account, step, seed, prompts, {})

    async def _choose(self, call: _Call) -> _Choice:
        """The best route as all of them stand now; nothing is awaited after the last look."""
        routes = {deployed.route.id: deployed for deployed in call.model.routes}
        needs = RouteNeeds(call.envelope, frozenset(call.failed), call.model.traffic)
        prompts: dict[RouteId, Prompt | Failure] = {}
        while True:
            views = [self._view(routes[route], prompts.get(route)) for route in routes]
            read = [view.route.id for view in worth_a_prompt(needs, views)]
            unread = [routes[route] for route in read if route not in prompts]
            if not unread:
                break
            prompts.update(await call.prompts.prompts(unread))
        decision = decide(needs, views)
        self._events.emit(
            RouteDecided(
                at_ns=self._clock.monotonic_ns(),
                request_id=call.envelope.request_id,
                decision=decision,
            )
        )
        call.account.decision = decision
        prompt = prompts[decision.chosen.id]
        assert isinstance(prompt, Prompt), "a route without a prompt was chosen"
        return _Choice(routes[decision.chosen.id], prompt)

    def _view(self, deployed: DeployedRoute, prompt: Prompt | Failure | None) -> RouteView:
        now_ns, load, route = self._clock.monotonic_ns(), deployed.load(), deployed.route
        if load.state is not DeploymentState.READY:
            self._breakers.renew(route.id, now_ns)
        shut = self._breakers.shut(route.id, now_ns)
        view = RouteView(route, load, deployed.max_context, shut)
        if isinstance(prompt, Prompt):
            return view._replace(size=prompt.size)
        return view._replace(unfit=prompt)

    def _begin(self, call: _Call, choice: _Choice) -> _Attempt:
        route = choice.deployed.route
        attempt = _Attempt(
            call, call.account.begin(call.step, route), choice.deployed, choice.prompt
        )
        call.account.pin(_pin(attempt))
        self._events.emit(
            AttemptStarted(
                at_ns=self._clock.monotonic_ns(),
                request_id=call.envelope.request_id,
                attempt=attempt.number,
                route=route.id,
                step=call.step,
            )
        )
        return attempt

    def _lost(self, attempt: _Attempt, failure: Failure) -> None:
        attempt.call.account.lose(failure)
        self._events.emit(
            AttemptFailed(
                at_ns=self._clock.monotonic_ns(),
                request_id=attempt.call.envelope.request_id,
                attempt=attempt.number,
                route=attempt.deployed.route.id,
                failure=failure,
                step=attempt.call.step,
            )
        )

    def _shape(self, attempt: _Attempt) -> AnswerShape:
        rules, package = attempt.deployed.prompt, attempt.prompt.package
        tool_format = None if rules is None else rules.tool_format
        return AnswerShape(attempt.call.envelope, tool_format, package.echo_text, self._call_id)

    def _call_id(self) -> str:
        return "call_" + self._entropy.bytes(ID_ENTROPY_BYTES).hex()


def _pin(attempt: _Attempt) -> ExecutionManifest | None:
    envelope, deployed = attempt.call.envelope, attempt.deployed
    facts = deployed.provider.facts()
    if facts is None:
        return None
    return ExecutionManifest(
        request_id=envelope.request_id,
        route=deployed.route.id,
        release=deployed.route.release,
        model=attempt.call.model.name,
        artifact_digest=facts.artifact_digest,
        recipe_digest=deployed.route.recipe_digest,
        tokenizer_digest=deployed.prompt.tokenizer.digest if deployed.prompt else "",
        engine=facts.engine,
        engine_version=facts.engine_version,
        weight_precision=facts.weight_precision,
        kv_precision=facts.kv_precision,
        prompt_digest=attempt.prompt.package.digest,
        prompt_tokens=attempt.prompt.tokens,
        sampling=envelope.sampling,
        seed=attempt.call.seed,
        policy_version=attempt.call.account.policy_version,
        device=facts.device,
        hardware=facts.hardware,
        engine_flags=facts.flags,
    )


def _work(attempt: _Attempt) -> ModelWork:
    envelope, package = attempt.call.envelope, attempt.prompt.package
    return ModelWork(
        request_id=envelope.request_id,
        attempt=attempt.number,
        tenant=envelope.principal.tenant,
        profile=envelope.profile,
        cache_salt=cache_salt(envelope),
        input=envelope.input,
        prompt_tokens=package.tokens,
        sampling=replace(envelope.sampling, max_tokens=_max_tokens(attempt)),
        seed=attempt.call.seed,
        received_ns=envelope.received_ns,
        deadline_ns=envelope.deadline.at_ns,
        trace_id=envelope.trace_id,
        span_id=span_id(envelope.trace_id, envelope.request_id, f"attempt {attempt.number}"),
    )


def _max_tokens(attempt: _Attempt) -> int | None:
    """What fits the chosen route and the request's own money; None leaves it to a provider that
    makes the prompt itself."""
    envelope, most = attempt.call.envelope, attempt.prompt.package.max_tokens
    paid = _paid_tokens(attempt)
    if attempt.deployed.prompt is not None:
        most = min(most, attempt.deployed.max_context - attempt.prompt.tokens)
    elif envelope.sampling.max_tokens is None and envelope.budget.tokens is None:
        return paid
    return most if paid is None else min(most, paid)


def _paid_tokens(attempt: _Attempt) -> int | None:
    """Tokens of each answer that the money left to the request pays for; None where all are."""
    envelope, price = attempt.call.envelope, attempt.deployed.route.price
    money = envelope.budget.cost_nano_usd
    if money is None or not price.output_nano_usd:
        return None
    left = money - attempt.prompt.tokens * price.input_nano_usd
    return max(left // (price.output_nano_usd * envelope.sampling.n), 1)
