"""A provider that plays a script: the injected fault in tests of the request path."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

from octant.core.route import DeploymentState, RouteLoad
from octant.core.stream import StreamItem
from octant.core.work import ModelWork
from octant.ports.provider import ProviderFacts


class ScriptedProvider:
    """Answers the n-th work with the n-th script; `open` counts works that hold resources."""

    def __init__(self, *scripts: Sequence[StreamItem], max_context: int = 512) -> None:
        self._scripts = list(scripts)
        self._max_context = max_context
        self.state = DeploymentState.READY
        self.works: list[ModelWork] = []
        self.open = 0

    def facts(self) -> ProviderFacts:
        return ProviderFacts(
            artifact_digest="sha256:" + "0" * 64,
            engine="scripted",
            engine_version="1",
            weight_precision="int8",
            kv_precision="u8",
            max_context=self._max_context,
        )

    def load(self) -> RouteLoad:
        return RouteLoad(state=self.state)

    @asynccontextmanager
    async def generate(self, work: ModelWork) -> AsyncGenerator[AsyncIterator[StreamItem], None]:
        self.works.append(work)
        self.open += 1
        try:
            yield self._play(self._scripts.pop(0))
        finally:
            self.open -= 1

    async def _play(self, script: Sequence[StreamItem]) -> AsyncGenerator[StreamItem, None]:
        for item in script:
            yield item
