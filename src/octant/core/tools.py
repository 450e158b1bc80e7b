"""Tools that Octant itself runs: what they are, what they did, and what that may have changed.

Law: an outcome holds digests and counts, never arguments or results; those travel beside it, in
`ToolAnswer`, and only to the model and to the caller (OR3).
"""

from enum import StrEnum
from typing import NamedTuple

from octant.core.content import ToolDefinition
from octant.core.failure import Failure
from octant.core.record import Record
from octant.core.units import NS_PER_S


class SideEffect(StrEnum):
    """What a tool can change; policy decides by it, and so does every retry."""

    READ = "read"
    REVERSIBLE_WRITE = "reversible_write"
    IRREVERSIBLE_WRITE = "irreversible_write"
    PRIVILEGED = "privileged"


class ToolStatus(StrEnum):
    """How a call ended. AMBIGUOUS: it may have happened or not, and is never blindly retried."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    REFUSED = "refused"
    INVALID_ARGUMENTS = "invalid_arguments"
    AMBIGUOUS = "ambiguous"


class ToolSpec(Record, frozen=True, kw_only=True):
    """A tool of the broker. `version` changes whenever the same arguments may mean otherwise."""

    definition: ToolDefinition
    version: str
    side_effect: SideEffect = SideEffect.READ
    timeout_ns: int = 5 * NS_PER_S
    max_result_bytes: int = 8_192

    @property
    def name(self) -> str:
        """What the model calls it."""
        return self.definition.name


class ToolInvocation(Record, frozen=True, kw_only=True):
    """One call as it is handed to what runs it. `arguments` is JSON that fits the tool's schema."""

    tool: str
    version: str
    arguments: str
    idempotency_key: str
    timeout_ns: int
    max_result_bytes: int


class ToolOutcome(Record, frozen=True, kw_only=True):
    """What became of one proposed call. Digests are `sha256:` and 64 hex digits over the text."""

    call_id: str
    tool: str
    version: str
    step: int
    status: ToolStatus
    side_effect: SideEffect
    idempotency_key: str
    arguments_digest: str
    result_digest: str | None = None
    result_bytes: int = 0
    duration_ns: int = 0
    failure: Failure | None = None


class ToolAnswer(NamedTuple):
    """An outcome with the text that goes back to the model."""

    outcome: ToolOutcome
    content: str
