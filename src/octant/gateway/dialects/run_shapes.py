"""Run shapes: what `POST /v1/runs` answers, as its schemas say it.

Law: `run-response.v1` and `run-event.v1` are made from these types; a field that is added here is
added there, and one that changes its meaning needs another version.
"""

from typing import Any, Literal

import msgspec

from octant.core.usage import FinishReason
from octant.gateway.dialects.run_report import RunReport, ShownTool
from octant.gateway.failures import ErrorObject

RUN_VERSION = 1


class _Shown(msgspec.Struct, frozen=True, kw_only=True):
    """Base of what is written."""


class ShownToken(_Shown, frozen=True):
    """A token; `text` may be part of a character, `bytes` is exact."""

    text: str
    bytes: list[int]
    logprob: float


class ShownPosition(ShownToken, frozen=True):
    """The chosen token of one position and the most likely ones there, best first."""

    top: list[ShownToken]


class ProposedCall(_Shown, frozen=True):
    """A call of a tool of the caller's; `arguments` is the JSON text exactly as produced."""

    id: str | None
    name: str | None
    arguments: str


class RunChoice(_Shown, frozen=True):
    """One answer. `structured` is its JSON value where an output contract was given and met;
    `stop` is the stop string or token id that ended it; both are null otherwise."""

    text: str
    structured: Any
    tool_calls: list[ProposedCall]
    finish_reason: FinishReason | None
    stop: str | int | None
    logprobs: list[ShownPosition] | None


class RunOutput(RunChoice, frozen=True):
    """The first answer, and with `n` above 1 all of them in `choices`."""

    choices: list[RunChoice]


class RunResponse(RunReport, frozen=True, kw_only=True):
    """A finished run. `error` is null exactly when `status` is `completed`.

    `created` counts seconds since 1970.
    """

    object: Literal["run"] = "run"
    version: Literal[1] = RUN_VERSION
    created: int
    model: str
    output: RunOutput
    error: ErrorObject | None
    metadata: dict[str, str]


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of the events of a stream."""

    sequence_number: int


class RunStarted(_Event, frozen=True, tag="run.started"):
    """An engine has taken the run on."""

    id: str
    trace_id: str
    created: int
    model: str
    route: str
    prompt_tokens: int


class RunTextDelta(_Event, frozen=True, tag="run.text.delta"):
    """More text of one choice."""

    choice: int
    text: str
    logprobs: list[ShownPosition] | None = None


class RunToolCallDelta(_Event, frozen=True, tag="run.tool_call.delta"):
    """More of a call proposed to the caller; `id` and `name` come once, with the first delta."""

    choice: int
    call: int
    id: str | None
    name: str | None
    arguments: str


class RunToolFinished(_Event, frozen=True, tag="run.tool.finished"):
    """Octant ran one of its own tools; the answer goes on after it."""

    tool: ShownTool


class RunCompleted(_Event, frozen=True, tag="run.completed"):
    """The last event of a run that completed."""

    run: RunResponse


class RunFailed(_Event, frozen=True, tag="run.failed"):
    """The last event of a run that did not; what came before is partial."""

    run: RunResponse


RunEvent = RunStarted | RunTextDelta | RunToolCallDelta | RunToolFinished | RunCompleted | RunFailed
