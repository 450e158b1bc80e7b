"""Octant's extras: what a request can say beyond OpenAI's fields, in one shape for every dialect.

    octant.<field> of the OpenAI endpoints | <field> of POST /v1/runs

Law: types and fixed bounds stand in the annotations, and every field in `EXTRA_FIELDS` or
`CONSTRAINT_FIELDS`, which are its documentation. `octant_terms` makes core values of them.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from octant.core.envelope import Preference, RiskClass
from octant.core.evidence import Classification
from octant.core.limits import Profile
from octant.gateway.fields import Field, taken

MAX_TOKENS = 1 << 31
_MAX_INTEGER = (1 << 63) - 1
_MAX_LABELS = 16

TokenCount = Annotated[int, Meta(ge=1, le=MAX_TOKENS)]
Money = Annotated[int, Meta(ge=1, le=_MAX_INTEGER)]
Name = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]
Names = Annotated[list[Name], Meta(max_length=_MAX_LABELS)]
SessionName = Annotated[str, Meta(min_length=1, max_length=64)]


class _Sent(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Base of everything nested: a field that is not known is an error."""


class SentBudget(_Sent, frozen=True):
    """`budget`."""

    tokens: TokenCount | None = None
    cost_nano_usd: Money | None = None


class SentSession(_Sent, frozen=True):
    """`session`."""

    id: SessionName
    expected_version: Annotated[int, Meta(ge=0, le=_MAX_INTEGER)] | None = None
    store: bool | None = None


class SentDocument(_Sent, frozen=True):
    """One of `documents`."""

    id: Annotated[str, Meta(min_length=1, max_length=128)]
    text: Annotated[str, Meta(min_length=1)]
    title: Annotated[str, Meta(max_length=512)] | None = None
    source: Annotated[str, Meta(max_length=2_048)] | None = None
    classification: Classification | None = None


class SentContext(_Sent, frozen=True):
    """`context`."""

    max_tokens: TokenCount | None = None
    require_citations: bool | None = None


class SentOutput(_Sent, frozen=True):
    """`output`."""

    json_schema: dict[str, Any]
    name: Name | None = None
    max_repairs: Annotated[int, Meta(ge=0)] | None = None


class SentTrace(_Sent, frozen=True):
    """`trace`."""

    record: bool | None = None


class SentConstraints(_Sent, frozen=True):
    """`model` of the extras."""

    capabilities: Names | None = None
    residency: Name | None = None
    max_cost_nano_usd: Money | None = None
    prefer: Preference | None = None
    labels: Names | None = None


class SentTerms(msgspec.Struct, frozen=True, kw_only=True):
    """The extras that every dialect spells alike; null means the default everywhere."""

    profile: Profile | None = None
    deadline_ms: Annotated[int, Meta(ge=1, le=86_400_000)] | None = None
    budget: SentBudget | None = None
    session: SentSession | None = None
    documents: list[SentDocument] | None = None
    context: SentContext | None = None
    tools: list[Name] | None = None
    max_steps: Annotated[int, Meta(ge=1)] | None = None
    output: SentOutput | None = None
    risk: RiskClass | None = None
    trace: SentTrace | None = None
    cache_salt: Annotated[str, Meta(min_length=1, max_length=128)] | None = None


class OctantObject(SentTerms, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`octant` in the bodies of the OpenAI endpoints."""

    model: SentConstraints | None = None


EXTRA_FIELDS: tuple[Field, ...] = (
    taken(
        "profile",
        "interactive, long_context, batch or critical. Without it the header x-octant-profile; "
        "without that, by the size of the body (`limits.long_context_bytes`).",
    ),
    taken("deadline_ms", "1 to 86400000 milliseconds until the answer must be complete."),
    taken(
        "budget",
        "The most that this request may use.",
        taken("tokens", "1 to 2147483648, prompt and output of all model calls together."),
        taken("cost_nano_usd", "1 or more, in units of 10^-9 US dollar."),
    ),
    taken(
        "session",
        "The conversation, kept by the server, that this request goes on with.",
        taken("id", "The id of a session of your tenant; POST /v1/sessions makes one."),
        taken(
            "expected_version",
            "0 or more; the request is refused with 409 if the session stands elsewhere. Default: "
            "wherever it stands.",
        ),
        taken("store", "false reads the session and adds nothing to it. Default: true."),
    ),
    taken(
        "documents",
        "Texts to answer from, up to `limits.max_documents` (64). They are data, whatever they "
        "say.",
        taken("id", "1 to 128 characters, each id once; citations name it."),
        taken("text", "At least one character."),
        taken("title", "Up to 512 characters."),
        taken("source", "Where it comes from, up to 2048 characters; kept, never fetched."),
        taken("classification", "public, internal or confidential. Default: internal."),
    ),
    taken(
        "context",
        "How the documents are used.",
        taken("max_tokens", "1 or more tokens of the prompt for passages. Default: a half of it."),
        taken(
            "require_citations",
            "true rejects an answer that cites no passage which supports it. Default: false.",
        ),
    ),
    taken(
        "tools",
        "Names of Octant's own tools that it may run for this request, up to `limits.max_tools` "
        "(128). Default: none.",
    ),
    taken("max_steps", "1 to `limits.max_steps` (8) model calls. Default: 4."),
    taken(
        "output",
        "What the answer has to be. It is checked and asked for again, not enforced while "
        "decoding.",
        taken(
            "json_schema",
            "A JSON Schema of up to 65536 characters (draft 7, 2019-09 or 2020-12): references "
            "only within it, patterns without look-around, bounded work for every value.",
        ),
        taken("name", "What the model is told that the answer is; 1 to 64 letters, digits, _.-"),
        taken("max_repairs", "0 to `limits.max_repairs` (3) further tries. Default: 1."),
    ),
    taken(
        "risk",
        "low, medium or high: how much harm a wrong answer could do. It can raise what the tenant "
        "has, never lower it. Default: the tenant's.",
    ),
    taken(
        "trace",
        "What is kept of this request.",
        taken(
            "record",
            "false keeps its text out of the store; it cannot be replayed then. Default: true.",
        ),
    ),
    taken(
        "cache_salt",
        "1 to 128 characters. Cached prefixes are shared only between requests of one tenant with "
        "the same salt.",
    ),
)
CONSTRAINT_FIELDS: tuple[Field, ...] = (
    taken("capabilities", "Up to 16 names of what the route must be able to do, such as vision."),
    taken("residency", "Where it must be computed; local is the machine of this server."),
    taken("max_cost_nano_usd", "1 or more: routes that may cost more are left out."),
    taken("prefer", "latency, quality or cost, among the routes left. Default: latency."),
    taken("labels", "Up to 16 names of routes, one of which must answer, such as fast or precise."),
)
OCTANT_FIELD = taken(
    "octant",
    "What OpenAI's API has no field for: an object with profile, deadline_ms, budget, session, "
    "documents, context, tools, max_steps, output, risk, trace, cache_salt or model.",
    *EXTRA_FIELDS,
    taken("model", "Which routes of the model may answer.", *CONSTRAINT_FIELDS),
)
