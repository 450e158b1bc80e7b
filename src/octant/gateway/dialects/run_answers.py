"""Run answers: items of one request as a `run` object, or as `run.*` events that end in one.

    run.started, then any of (run.text.delta | run.tool_call.delta | run.tool.finished),
    then run.completed or run.failed

Law: once a request is a run, all that answers it is a run object, also when it failed; the last
event of a stream carries exactly what the body would have been. Events count from 0 without a gap.
"""

from typing import Any

from msgspec.structs import replace

from octant.core.failure import Failure
from octant.core.outcome import OutcomeStatus
from octant.core.stream import (
    Broken,
    ChoiceFinished,
    Completed,
    PositionLogprobs,
    Started,
    StreamItem,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolRan,
)
from octant.gateway.dialects.dialect import IN_OCTANT, Answering, encode_json
from octant.gateway.dialects.run_report import (
    RunReport,
    ShownTool,
    report_of,
    shown_tool,
    shown_usage,
)
from octant.gateway.dialects.run_shapes import (
    ProposedCall,
    RunChoice,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunOutput,
    RunResponse,
    RunStarted,
    RunTextDelta,
    RunToolCallDelta,
    RunToolFinished,
    ShownPosition,
    ShownToken,
)
from octant.gateway.failures import ErrorObject, error_object
from octant.gateway.sse import typed_event
from octant.orchestration.json_contract import read_json


class WholeRun:
    """One request's run object."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._choices = [_Choice() for _ in range(answering.question.sampling.n)]
        self._tools: list[ShownTool] = []

    def add(self, item: StreamItem) -> None:
        """Takes one item that is not terminal."""
        match item:
            case TextDelta():
                self._choices[item.choice].text.append(item.text)
                self._choices[item.choice].logprobs += _positions(item.logprobs)
            case ToolCallDelta():
                self._choices[item.choice].call(item)
            case ChoiceFinished():
                self._choices[item.choice].finished = item
            case ToolRan():
                self._tools.append(self.ran(item))
            case _:
                pass

    def ran(self, item: ToolRan) -> ShownTool:
        """What one of Octant's own tools did, with what it was given and gave."""
        shown = shown_tool(item.answer.outcome, self._answering.request_id)
        return replace(shown, arguments=item.arguments, result=item.answer.content)

    def body(self, end: Completed) -> bytes:
        """The `run` object."""
        return encode_json(self.response(end))

    def failure(self, end: Broken) -> bytes:
        """The `run` object of a run that failed."""
        return encode_json(self.response(end))

    def response(self, end: Completed | Broken) -> RunResponse:
        """The run as it ended."""
        answering = self._answering
        report = self._report(end)
        return RunResponse(
            **{name: getattr(report, name) for name in RunReport.__struct_fields__},
            created=answering.created_unix_s,
            model=answering.question.model.name,
            output=self._output(valid=bool(report.output_valid)),
            error=self._error(end.failure) if isinstance(end, Broken) else None,
            metadata=answering.question.metadata,
        )

    def _report(self, end: Completed | Broken) -> RunReport:
        if end.summary is None:
            return self._unsummarised(end)
        report = report_of(end.summary)
        # Ids of calls are a model's own and can repeat; both are in the order of the calls.
        return replace(report, tools=[*self._tools, *report.tools[len(self._tools) :]])

    def _unsummarised(self, end: Completed | Broken) -> RunReport:
        """What the edge knows by itself of a run that it ended."""
        return RunReport(
            id=self._answering.request_id,
            trace_id=self._answering.trace_id,
            status=self._status(end),
            tools=self._tools,
            usage=shown_usage(end.usage),
        )

    def _status(self, end: Completed | Broken) -> OutcomeStatus:
        if isinstance(end, Completed):
            return OutcomeStatus.COMPLETED
        said = self._tools or any(choice.text or choice.calls for choice in self._choices)
        return OutcomeStatus.PARTIAL if said else OutcomeStatus.FAILED

    def _error(self, failure: Failure) -> ErrorObject:
        # The path names fields as the OpenAI endpoints spell them.
        param = failure.param and failure.param.removeprefix(IN_OCTANT)
        return error_object(replace(failure, param=param), self._answering.request_id)

    def _output(self, *, valid: bool) -> RunOutput:
        wanted = self._answering.question.sampling.top_logprobs is not None
        first, *_ = shown = [choice.shown(wanted, valid) for choice in self._choices]
        return RunOutput(
            text=first.text,
            structured=first.structured,
            tool_calls=first.tool_calls,
            finish_reason=first.finish_reason,
            stop=first.stop,
            logprobs=first.logprobs,
            choices=shown if len(shown) > 1 else [],
        )


class _Choice:
    """What one choice has said so far."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.logprobs: list[ShownPosition] = []
        self.calls: dict[int, ProposedCall] = {}
        self.finished: ChoiceFinished | None = None

    def call(self, item: ToolCallDelta) -> None:
        """Adds to the call of that index; its first delta brings id and name."""
        known = self.calls.get(item.call)
        if known is None:
            known = ProposedCall(id=item.id, name=item.name, arguments="")
        self.calls[item.call] = replace(known, arguments=known.arguments + item.arguments)

    def shown(self, logprobs: bool, valid: bool) -> RunChoice:
        """The choice as it is written."""
        text = "".join(self.text)
        return RunChoice(
            text=text,
            structured=_structured(text) if valid else None,
            tool_calls=[self.calls[index] for index in sorted(self.calls)],
            finish_reason=self.finished.reason if self.finished else None,
            stop=self.finished.stop if self.finished else None,
            logprobs=self.logprobs if logprobs else None,
        )


class RunStream:
    """One request's events. Call `events` in the order of the items, then `end` or `failure`."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._whole = WholeRun(answering)
        self._begun = False
        self._number = 0

    def events(self, item: StreamItem) -> bytes:
        """The event of one item, empty when it shows nothing."""
        self._whole.add(item)
        match item:
            case TextDelta() if item.text or item.logprobs:
                return self._write(self._text(item))
            case ToolCallDelta():
                return self._write(self._tool_call(item))
            case ToolRan():
                shown = self._whole.ran(item)
                return self._write(RunToolFinished(sequence_number=self._number, tool=shown))
            case Started() if not self._begun:
                self._begun = True
                return self._write(self._started(item))
            case _:
                return b""

    def end(self, end: Completed) -> bytes:
        """The last event, with the whole run."""
        run = self._whole.response(end)
        return self._write(RunCompleted(sequence_number=self._number, run=run))

    def failure(self, end: Broken) -> bytes:
        """The last event, with the whole run as far as it came."""
        run = self._whole.response(end)
        return self._write(RunFailed(sequence_number=self._number, run=run))

    def _started(self, item: Started) -> RunStarted:
        answering = self._answering
        return RunStarted(
            sequence_number=self._number,
            id=answering.request_id,
            trace_id=answering.trace_id,
            created=answering.created_unix_s,
            model=answering.question.model.name,
            route=item.route,
            prompt_tokens=item.prompt_tokens,
        )

    def _text(self, item: TextDelta) -> RunTextDelta:
        return RunTextDelta(
            sequence_number=self._number,
            choice=item.choice,
            text=item.text,
            logprobs=_positions(item.logprobs) or None,
        )

    def _tool_call(self, item: ToolCallDelta) -> RunToolCallDelta:
        return RunToolCallDelta(
            sequence_number=self._number,
            choice=item.choice,
            call=item.call,
            id=item.id,
            name=item.name,
            arguments=item.arguments,
        )

    def _write(self, said: RunEvent) -> bytes:
        self._number += 1
        return typed_event(str(said.__struct_config__.tag), encode_json(said))


def _structured(text: str) -> Any:
    try:
        return read_json(text)
    except ValueError:
        # The path checks what the model wrote; where more was sent than that, there is no value.
        return None


def _positions(positions: tuple[PositionLogprobs, ...]) -> list[ShownPosition]:
    return [
        ShownPosition(
            text=position.chosen.text,
            bytes=list(position.chosen.utf8),
            logprob=position.chosen.logprob,
            top=[_token(token) for token in position.top],
        )
        for position in positions
    ]


def _token(token: TokenLogprob) -> ShownToken:
    return ShownToken(text=token.text, bytes=list(token.utf8), logprob=token.logprob)
