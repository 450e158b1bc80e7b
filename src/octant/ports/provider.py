"""Provider: what answers for a route. The embedded engine's client and remote engines alike.

Law: leaving the context of `generate` frees everything that the work held, whatever the reason.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from octant.core.manifest import Hardware
from octant.core.record import Record
from octant.core.route import RouteLoad
from octant.core.stream import StreamItem
from octant.core.work import ModelWork


class ProviderFacts(Record, frozen=True, kw_only=True):
    """What the execution manifest pins about a provider; known once it has loaded."""

    artifact_digest: str
    engine: str
    engine_version: str
    weight_precision: str
    kv_precision: str
    max_context: int
    device: str = ""
    flags: dict[str, str] = {}
    hardware: Hardware = Hardware()


class Provider(Protocol):
    """Executes work on one deployed release."""

    def facts(self) -> ProviderFacts | None:
        """None until a model has been loaded once."""
        ...

    def load(self) -> RouteLoad:
        """The present state, without waiting."""
        ...

    def generate(self, work: ModelWork) -> AbstractAsyncContextManager[AsyncIterator[StreamItem]]:
        """Starts the work; the iterator ends after exactly one terminal item.

        Failures of the work arrive as `Broken`, never as exceptions, also when the engine dies.
        Leaving the context early cancels the work within one scheduler step.
        """
        ...
