"""ExecutionManifest: what exactly ran, so that it can be run again and compared (RP1).

    pinned before an attempt runs (route, artifact, engine, prompt, sampling, seed)
    -> completed when the request settles (steps, tools, evidence, session, policy)

Law: digests are `sha256:` and 64 hex digits, nothing here is content. A field that a writer did not
know yet is empty, never guessed.
"""

from octant.core import versions
from octant.core.ids import ReleaseId, RequestId, RouteId, SessionId
from octant.core.record import Record
from octant.core.sampling import Sampling
from octant.core.tools import SideEffect, ToolStatus


class Hardware(Record, frozen=True, kw_only=True):
    """What computed. `features` are the processor's instruction sets that change results."""

    cpu: str = ""
    features: tuple[str, ...] = ()
    cores: int = 0


class ExecutedStep(Record, frozen=True, kw_only=True):
    """One model call as it was scheduled, its last attempt.

    `cached_tokens` of the prompt came from reuse, all choices together; `max_batch` is the largest
    number of sequences that shared an engine step with it, itself included; 0 where the engine does
    not say.
    """

    step: int
    attempt: int
    route: RouteId
    artifact_digest: str = ""
    engine: str = ""
    engine_version: str = ""
    prompt_digest: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    preemptions: int = 0
    max_batch: int = 0


class ToolUse(Record, frozen=True, kw_only=True):
    """One tool call: which version ran under which key."""

    call_id: str
    tool: str
    version: str
    side_effect: SideEffect
    idempotency_key: str
    status: ToolStatus


class ExecutionManifest(Record, frozen=True, kw_only=True):
    """Everything that pins one execution.

    What stands at the top is of the last attempt; `steps` has every model call. `sampling` is the
    caller's, `seed` the one that was drawn with. `adapter` names weights added to the artifact's.
    """

    request_id: RequestId
    route: RouteId
    release: ReleaseId
    model: str
    artifact_digest: str
    tokenizer_digest: str
    engine: str
    engine_version: str
    weight_precision: str
    kv_precision: str
    prompt_digest: str
    prompt_tokens: int
    sampling: Sampling
    seed: int
    policy_version: str
    octant_version: str = ""
    recipe_digest: str = ""
    adapter: str = "none"
    device: str = ""
    hardware: Hardware = Hardware()
    engine_flags: dict[str, str] = {}
    steps: tuple[ExecutedStep, ...] = ()
    tools: tuple[ToolUse, ...] = ()
    evidence_digest: str = ""
    output_schema_digest: str = ""
    session: SessionId | None = None
    session_version: int | None = None
    evaluator_version: str = ""
    version: int = versions.MANIFEST
