"""ExecutionManifest: what exactly will run, fixed before it runs (RP1)."""

from octant.core import versions
from octant.core.ids import ReleaseId, RequestId, RouteId
from octant.core.record import Record
from octant.core.sampling import Sampling


class ExecutionManifest(Record, frozen=True, kw_only=True):
    """Digests and settings that pin one execution; `digest`s are `sha256:` and 64 hex digits."""

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
    version: int = versions.MANIFEST
