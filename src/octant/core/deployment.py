"""Deployments: recipes, the artifacts they pin, and what is to be served of them (LC1-LC3).

    Recipe (how one model is served, measured) -> Deployment (a route that runs it) -> Traffic

Law: a recipe is immutable and named by the digest of its content; a name may point to another
digest later. A deployment is what an operator wants; where it stands is `DeploymentState`.
"""

from octant.core.ids import ReleaseId, RouteId
from octant.core.limits import Objective, Profile
from octant.core.record import Record
from octant.core.route import Price


class Probe(Record, frozen=True, kw_only=True):
    """A representative request with a known answer: greedy, through the model's own template."""

    user: str
    system: str = ""
    expect: str
    max_tokens: int = 48


class MeasuredFigures(Record, frozen=True, kw_only=True):
    """What a recipe's route did on one machine; rates are tokens per second, all sequences.

    `decode_tokens_per_s` and `tpot_ms` are by number of sequences. `resident_bytes` is of the
    engine process after loading. `accuracy` is by task, between 0 and 1.
    """

    machine: str
    measured_unix_ns: int
    load_ms: int
    resident_bytes: int
    kv_bytes_per_token: int
    ttft_ms: dict[str, float] = {}
    decode_tokens_per_s: dict[str, float] = {}
    prefill_tokens_per_s: float = 0.0
    accuracy: dict[str, float] = {}


class Recipe(Record, frozen=True, kw_only=True):
    """A versioned description of how one model is served (LC2).

    `digest` names it: `sha256:` over everything else in it. `artifact` is a digest; `location` is
    where the files were when it was written, which may differ elsewhere.
    """

    name: str
    model: str
    label: str
    description: str
    artifact_digest: str
    tokenizer_digest: str
    location: str
    engine: str
    engine_version: str
    weight_precision: str
    kv_precision: str
    flags: dict[str, str] = {}
    max_context: int
    working_context: int
    max_sequences: int
    tool_format: str | None = None
    profile: Profile = Profile.INTERACTIVE
    objective: Objective
    quality_gate: dict[str, float] = {}
    capabilities: tuple[str, ...] = ()
    quality: float = 0.5
    price: Price = Price()
    probe: Probe | None = None
    measured: MeasuredFigures | None = None
    rollback: str = ""
    digest: str = ""


class Deployment(Record, frozen=True, kw_only=True):
    """One recipe that is to run as one route. `wanted` False drains and stops it.

    `from_settings` ones follow the settings' model, others are as an operator asked for them.
    """

    id: RouteId
    model: str
    release: ReleaseId
    recipe_digest: str
    wanted: bool = True
    from_settings: bool = False
    created_unix_ns: int


class Traffic(Record, frozen=True, kw_only=True):
    """How one model's new requests are split over its releases; weights are relative.

    A release without a weight gets nothing, except as a fallback.
    """

    model: str
    weights: dict[ReleaseId, int]
    version: int = 1
    changed_unix_ns: int
    changed_by: str = ""
