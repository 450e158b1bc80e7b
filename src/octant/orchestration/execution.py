"""Execution: from a prompt to the items of its answer, over as many attempts as the rules allow.

    PromptPackage -> RouteDecision -> ExecutionManifest -> ModelWork -> items of one provider

Law: attempts are numbered, a route that failed is not tried again, and once any output has been
passed on the request ends with whatever that route delivers.
"""

from collections.abc import AsyncGenerator
from typing import NamedTuple

import msgspec

from octant.core.envelope import RequestEnvelope
from octant.core.events import AttemptFailed, AttemptStarted, RouteDecided
from octant.core.failure import Failed
from octant.core.ids import RouteId
from octant.core.manifest import ExecutionManifest
from octant.core.stream import (
    Broken,
    Completed,
    Started,
    StreamItem,
)
from octant.core.work import ModelWork, PromptPackage, cache_salt
from octant.orchestration.account import RunAccount
from octant.orchestration.attempts import MAX_ATTEMPTS, may_try_again
from octant.orchestration.routes import DeployedRoute, ServedModel
from octant.orchestration.routing import RouteNeeds, RouteView, decide
from octant.ports.clock import Clock
from octant.ports.entropy import Entropy
from octant.ports.sink import EventSink

# Seeds fit a signed 64-bit integer, so that every store and client can hold them.
_SEED_BYTES = 7


class Task(NamedTuple):
    """What one request asks to have executed; every attempt works from the same task."""

    envelope: RequestEnvelope
    model: ServedModel
    package: PromptPackage
    seed: int


class Execution:
    """Executes tasks on the routes of their model."""

    def __init__(
        self, policy_version: str, events: EventSink, clock: Clock, entropy: Entropy
    ) -> None:
        self._policy_version = policy_version
        self._events = events
        self._clock = clock
        self._entropy = entropy

    async def run(
        self,
        envelope: RequestEnvelope,
        model: ServedModel,
        package: PromptPackage,
        account: RunAccount,
    ) -> AsyncGenerator[StreamItem, None]:
        """Items up to and including one terminal item. Raises Failed when no route is eligible."""
        seed = envelope.sampling.seed
        if seed is None:
            seed = int.from_bytes(self._entropy.bytes(_SEED_BYTES), "little")
        task = Task(envelope, model, package, seed)
        failed: dict[RouteId, Broken] = {}
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                deployed = self._choose(task, frozenset(failed))
            except Failed:
                if not failed:
                    raise
                yield list(failed.values())[-1]
                return
            self._begin(task, attempt, deployed, account)
            output_sent = False
            async with deployed.provider.generate(_work(task, attempt)) as items:
                async for item in items:
                    if isinstance(item, Broken):
                        self._lost(task, attempt, deployed, item)
                        if may_try_again(item.failure, attempt, output_sent):
                            failed[deployed.route.id] = item
                            break
                    output_sent = output_sent or not isinstance(item, Started)
                    account.see(item, self._clock.monotonic_ns())
                    yield item
                    if isinstance(item, Completed | Broken):
                        return

    def _choose(self, task: Task, excluded: frozenset[RouteId]) -> DeployedRoute:
        tokens = len(task.package.tokens) + task.package.max_tokens
        views = [
            RouteView(deployed.route, deployed.load(), deployed.max_context)
            for deployed in task.model.routes
        ]
        decision = decide(RouteNeeds(task.envelope, tokens, excluded), views)
        self._events.emit(
            RouteDecided(
                at_ns=self._clock.monotonic_ns(),
                request_id=task.envelope.request_id,
                decision=decision,
            )
        )
        return next(deployed for deployed in task.model.routes if deployed.route == decision.chosen)

    def _begin(
        self, task: Task, attempt: int, deployed: DeployedRoute, account: RunAccount
    ) -> None:
        account.route = deployed.route
        account.attempts = attempt
        account.manifest = self._pin(task, deployed)
        self._events.emit(
            AttemptStarted(
                at_ns=self._clock.monotonic_ns(),
                request_id=task.envelope.request_id,
                attempt=attempt,
                route=deployed.route.id,
            )
        )

    def _lost(self, task: Task, attempt: int, deployed: DeployedRoute, broken: Broken) -> None:
        self._events.emit(
            AttemptFailed(
                at_ns=self._clock.monotonic_ns(),
                request_id=task.envelope.request_id,
                attempt=attempt,
                route=deployed.route.id,
                failure=broken.failure,
            )
        )

    def _pin(self, task: Task, deployed: DeployedRoute) -> ExecutionManifest | None:
        facts = deployed.provider.facts()
        if facts is None:
            return None
        return ExecutionManifest(
            request_id=task.envelope.request_id,
            route=deployed.route.id,
            release=deployed.route.release,
            model=task.model.name,
            artifact_digest=facts.artifact_digest,
            tokenizer_digest=task.model.tokenizer.digest,
            engine=facts.engine,
            engine_version=facts.engine_version,
            weight_precision=facts.weight_precision,
            kv_precision=facts.kv_precision,
            prompt_digest=task.package.digest,
            prompt_tokens=len(task.package.tokens),
            sampling=task.envelope.sampling,
            seed=task.seed,
            policy_version=self._policy_version,
        )


def _work(task: Task, attempt: int) -> ModelWork:
    envelope = task.envelope
    return ModelWork(
        request_id=envelope.request_id,
        attempt=attempt,
        tenant=envelope.principal.tenant,
        profile=envelope.profile,
        cache_salt=cache_salt(envelope),
        input=envelope.input,
        prompt_tokens=task.package.tokens,
        sampling=msgspec.structs.replace(envelope.sampling, max_tokens=task.package.max_tokens),
        seed=task.seed,
        received_ns=envelope.received_ns,
        deadline_ns=envelope.deadline.at_ns,
    )
