"""Where something happens: the stages of both tracks, named once.

Track B executes a request, Track A prepares a model. Failures, spans, metrics and audit records
all use these names (`reference-tables`, OB1).
"""

from enum import StrEnum


class Stage(StrEnum):
    """One step of a request's life (Track B) or of a model's preparation (Track A)."""

    BOUNDARY = "boundary"
    ADMISSION = "admission"
    GOVERNANCE = "governance"
    SESSION = "session"
    CONTEXT = "context"
    ROUTE = "route"
    QUEUE = "queue"
    PREFILL = "prefill"
    DECODE = "decode"
    TOOL_AUTHORIZATION = "tool_authorization"
    TOOL = "tool"
    VALIDATION = "validation"
    MEMORY = "memory"
    RESPONSE = "response"

    CAPTURE = "capture"
    REPRESENT = "represent"
    ANALYSE = "analyse"
    OPTIMISE = "optimise"
    PARTITION = "partition"
    LOWER = "lower"
    PACKAGE = "package"
    LOAD = "load"
    WARM = "warm"


PREPARATION_STAGES = (
    Stage.CAPTURE,
    Stage.REPRESENT,
    Stage.ANALYSE,
    Stage.OPTIMISE,
    Stage.PARTITION,
    Stage.LOWER,
    Stage.PACKAGE,
    Stage.LOAD,
    Stage.WARM,
)
REQUEST_STAGES = tuple(stage for stage in Stage if stage not in PREPARATION_STAGES)
