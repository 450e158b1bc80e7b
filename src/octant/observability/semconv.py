"""Semantic conventions: a trace in the words of OpenTelemetry's GenAI registry, ready to export.

    request API                    SERVER    octant.*: tenant, profile, cost, how it ended
      admission, governance, ...   INTERNAL  octant.*
      invoke_agent                 INTERNAL  only where there were several model calls
        chat MODEL                 CLIENT    one model call with all its attempts
          route, attempt N ...     INTERNAL  octant.*
        execute_tool NAME          INTERNAL

Law: pure; span ids are those of the trace. `gen_ai.*` only where the registry has the name, and
everything it does not know is `octant.*`. No content: neither prompts nor answers, neither
arguments nor results of tools; what little of a caller's own words is left passes `redact`.
"""

from collections.abc import Callable, Iterator, Sequence

from octant.core.ids import TenantId
from octant.core.manifest import ExecutionManifest
from octant.core.outcome import Outcome
from octant.core.sampling import Sampling
from octant.core.stage import Stage
from octant.core.units import s_from_ns
from octant.core.usage import Usage
from octant.observability.naming import PROVIDER, provider_name
from octant.observability.span import Attributes, Span
from octant.observability.trace import Trace, fold, span_id
from octant.ports.telemetry import ExportedEvent, ExportedSpan, SettledTrace, SpanKind

SCHEMA_URL = "https://opentelemetry.io/schemas/gen-ai/1.42.0"

_OPERATION, _ERROR = "gen_ai.operation.name", "error.type"
_AGENT_PATH = "invoke_agent"
# Octant runs its tools itself, on the agent's side; `function` is what a client runs.
_TOOL_TYPE = "extension"


# Words that a caller or a model chose; every other text is Octant's or an operator's.
_FOREIGN = ("gen_ai.request.stop_sequences", "octant.model", "octant.tool.name")

Redact = Callable[[TenantId, str], str]


def spans_of(settled: SettledTrace, redact: Redact) -> tuple[ExportedSpan, ...]:
    """The spans of a settled request, the root first; `redact` is the tenant's telemetry policy."""
    outcome = settled.outcome
    spans = exported(fold(settled.events, outcome), outcome, settled.manifest)
    return tuple(_redacted(span, lambda text: redact(outcome.tenant, text)) for span in spans)


def exported(
    trace: Trace, outcome: Outcome | None = None, manifest: ExecutionManifest | None = None
) -> tuple[ExportedSpan, ...]:
    """The spans of a trace. Without `manifest` the request's sampling is not told."""
    return tuple(_Mapping(trace, outcome, manifest).spans())


class _Mapping:
    """One trace being put into the registry's words."""

    def __init__(
        self, trace: Trace, outcome: Outcome | None, manifest: ExecutionManifest | None
    ) -> None:
        self._trace = trace
        self._outcome = outcome
        self._manifest = manifest
        self._children: dict[str, list[Span]] = {}
        for span in trace.spans[1:]:
            self._children.setdefault(span.parent_span_id or "", []).append(span)
        self._operation = str(trace.root.attributes[_OPERATION])
        self._model = str(trace.root.attributes["gen_ai.request.model"])
        self._calls = [span for span in self._below(trace.root) if self._attempts(span)]
        self._call_ids = {call.span_id for call in self._calls}

    def spans(self) -> Iterator[ExportedSpan]:
        """Root, agent where there is one, then everything else in the trace's order."""
        trace = self._trace
        yield self._export(trace.root, f"request {self._api}", SpanKind.SERVER, self._of_root())
        agent = self._agent()
        if agent is not None:
            yield agent
        for span in trace.spans[1:]:
            made = self._mapped(span)
            if agent is not None and span.parent_span_id == trace.root.span_id:
                first, last = self._calls[0].start_ns, self._calls[-1].end_ns
                if first <= span.start_ns and span.end_ns <= last:
                    made = made._replace(parent_span_id=agent.span_id)
            yield made

    @property
    def _api(self) -> str:
        return str(self._trace.root.attributes["octant.api"])

    def _mapped(self, span: Span) -> ExportedSpan:
        if span.span_id in self._call_ids:
            name = f"{self._operation} {self._model}"
            return self._export(span, name, SpanKind.CLIENT, self._of_call(span))
        if span.stage == Stage.TOOL.value and "octant.tool.status" in span.attributes:
            tool = str(span.attributes["octant.tool.name"])
            told = self._of_tool(span, tool)
            return self._export(span, f"execute_tool {tool}", SpanKind.INTERNAL, told)
        return self._export(span, span.name, SpanKind.INTERNAL, span.attributes)

    def _of_root(self) -> Attributes:
        """The request as Octant's own; what the registry has words for stands with the calls."""
        told = {
            name: value
            for name, value in self._trace.root.attributes.items()
            if not name.startswith("gen_ai.")
        }
        return told | {"octant.model": self._model}

    def _agent(self) -> ExportedSpan | None:
        """The span around several model calls and the tools between them."""
        if len(self._calls) < 2:
            return None
        trace, outcome = self._trace, self._outcome
        asked = self._of_sampling()
        for of_calls_only in ("gen_ai.request.stream", "gen_ai.request.top_k"):
            asked.pop(of_calls_only, None)
        told = self._common(_AGENT_PATH, PROVIDER) | asked
        if outcome is not None:
            told |= _usage(outcome.usage) | _finish(outcome)
            if outcome.failure is not None:
                told[_ERROR] = outcome.failure.kind.value
        return ExportedSpan(
            trace_id=trace.trace_id,
            span_id=span_id(trace.trace_id, trace.request_id, _AGENT_PATH),
            parent_span_id=trace.root.span_id,
            name=_AGENT_PATH,
            kind=SpanKind.INTERNAL,
            start_unix_ns=self._unix_ns(self._calls[0].start_ns),
            end_unix_ns=self._unix_ns(self._calls[-1].end_ns),
            attributes=told,
            error=trace.root.error,
        )

    def _of_call(self, call: Span) -> Attributes:
        """One model call: what was asked, and what its last attempt amounted to."""
        route = next((s for s in self._below(call) if s.stage == Stage.ROUTE.value), None)
        engine = str(route.attributes.get("octant.route.engine", "")) if route else ""
        told = self._common(self._operation, provider_name(engine)) | self._of_sampling()
        told |= call.attributes
        told["gen_ai.response.id"] = str(self._trace.request_id)
        told["gen_ai.response.model"] = self._model
        parts = self._below(self._attempts(call)[-1])
        decoded = [part for part in parts if part.stage == Stage.DECODE.value]
        if decoded:
            told |= self._of_engine(call, parts, decoded)
        elif len(self._calls) == 1 and self._outcome is not None:
            told |= self._of_upstream(self._outcome)
        return told

    def _of_engine(self, call: Span, parts: Sequence[Span], decoded: Sequence[Span]) -> Attributes:
        """Usage as the embedded engine reported it, the prompt counted once for all choices."""
        prefill = next(part for part in parts if part.stage == Stage.PREFILL.value)
        produced = [_count(part, "octant.completion.tokens") for part in decoded]
        told = _usage(
            Usage(
                prompt_tokens=_count(prefill, "octant.prompt.tokens"),
                cached_tokens=_count(prefill, "octant.cached.tokens"),
                completion_tokens=sum(produced),
            )
        )
        finished = [str(part.attributes.get("octant.finish_reason", "none")) for part in decoded]
        if all(reason != "none" for reason in finished):
            told["gen_ai.response.finish_reasons"] = tuple(finished)
        if self._streams:
            first_ns = min(part.start_ns for part in decoded) - call.start_ns
            told["gen_ai.response.time_to_first_chunk"] = s_from_ns(first_ns)
        return told

    def _of_upstream(self, outcome: Outcome) -> Attributes:
        """Usage of the one call of a route that reports no steps."""
        told = _usage(outcome.usage) | _finish(outcome)
        if self._streams and outcome.time_to_first_token_ns is not None:
            first_s = s_from_ns(outcome.time_to_first_token_ns)
            told["gen_ai.response.time_to_first_chunk"] = first_s
        return told

    def _of_tool(self, span: Span, tool: str) -> Attributes:
        told: Attributes = {
            _OPERATION: "execute_tool",
            "gen_ai.tool.name": tool,
            "gen_ai.tool.type": _TOOL_TYPE,
        }
        if "octant.tool.call.id" in span.attributes:
            told["gen_ai.tool.call.id"] = span.attributes["octant.tool.call.id"]
        return told | span.attributes

    def _common(self, operation: str, provider: str) -> Attributes:
        told: Attributes = {
            _OPERATION: operation,
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": self._model,
        }
        manifest = self._manifest
        if manifest is not None and manifest.session is not None:
            told["gen_ai.conversation.id"] = str(manifest.session)
        return told

    def _of_sampling(self) -> Attributes:
        """What the caller asked of the model."""
        manifest = self._manifest
        told: Attributes = {"gen_ai.request.stream": True} if self._streams else {}
        if manifest is None:
            return told
        if manifest.output_schema_digest:
            told["gen_ai.output.type"] = "json"
        return told | _sampling(manifest.sampling)

    @property
    def _streams(self) -> bool:
        return "gen_ai.request.stream" in self._trace.root.attributes

    def _below(self, span: Span) -> list[Span]:
        return self._children.get(span.span_id, [])

    def _attempts(self, span: Span) -> list[Span]:
        return [child for child in self._below(span) if "octant.attempt" in child.attributes]

    def _unix_ns(self, at_ns: int) -> int:
        return self._trace.start_unix_ns + at_ns - self._trace.start_ns

    def _export(
        self, span: Span, name: str, kind: SpanKind, attributes: Attributes
    ) -> ExportedSpan:
        return ExportedSpan(
            trace_id=span.trace_id,
            span_id=span.span_id,
            parent_span_id=span.parent_span_id,
            name=name,
            kind=kind,
            start_unix_ns=self._unix_ns(span.start_ns),
            end_unix_ns=self._unix_ns(span.end_ns),
            attributes=attributes,
            events=tuple(
                ExportedEvent(event.name, self._unix_ns(event.at_ns), event.attributes)
                for event in span.events
            ),
            error=span.error,
        )


def _redacted(span: ExportedSpan, redact: Callable[[str], str]) -> ExportedSpan:
    changed: Attributes = {}
    for name in _FOREIGN:
        value = span.attributes.get(name)
        if isinstance(value, str):
            changed[name] = redact(value)
        elif isinstance(value, tuple):
            changed[name] = tuple(map(redact, value))
    error = None if span.error is None else redact(span.error)
    return span._replace(attributes={**span.attributes, **changed}, error=error)


def _usage(used: Usage) -> Attributes:
    return {
        "gen_ai.usage.input_tokens": used.prompt_tokens,
        "gen_ai.usage.output_tokens": used.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": used.cached_tokens,
    }


def _finish(outcome: Outcome) -> Attributes:
    reasons = tuple(reason.value for reason in outcome.finish_reasons)
    return {"gen_ai.response.finish_reasons": reasons} if reasons else {}


def _sampling(asked: Sampling) -> Attributes:
    told: Attributes = {
        "gen_ai.request.temperature": asked.temperature,
        "gen_ai.request.top_p": asked.top_p,
        "gen_ai.request.frequency_penalty": asked.frequency_penalty,
        "gen_ai.request.presence_penalty": asked.presence_penalty,
    }
    if asked.max_tokens is not None:
        told["gen_ai.request.max_tokens"] = asked.max_tokens
    if asked.n != 1:
        told["gen_ai.request.choice.count"] = asked.n
    if asked.top_k:
        told["gen_ai.request.top_k"] = asked.top_k
    if asked.seed is not None:
        told["gen_ai.request.seed"] = asked.seed
    if asked.stop:
        told["gen_ai.request.stop_sequences"] = asked.stop
    return told


def _count(span: Span, name: str) -> int:
    value = span.attributes.get(name, 0)
    return value if isinstance(value, int) else 0
