"""Exported spans and metrics follow the pinned GenAI registry: names, kinds, attributes, buckets.

The rules are those of OpenTelemetry's own conformance runner: span name format, kind, known
operation, expected required and recommended attributes. The names are held against two sources that
are not ours: the pinned list, and the constants of OpenTelemetry's packages.
"""

import importlib
import json
import pkgutil
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.util import genai
from opentelemetry.util.genai import _instruments

from octant.core.events import AnyEvent, AttemptFailed, RequestSettled, RouteDecided
from octant.core.failure import Failure, FailureKind
from octant.core.ids import SessionId
from octant.core.outcome import OutcomeStatus
from octant.core.sampling import Sampling
from octant.core.stage import Stage
from octant.core.tools import ToolStatus
from octant.observability import semconv
from octant.observability.catalogue import CATALOGUE
from octant.observability.series import MetricKind, MetricSpec
from octant.observability.stages import ENGINE_EVENTS
from octant.observability.trace import fold
from octant.ports.telemetry import ExportedSpan, SettledTrace, SpanKind
from tests.support import happenings, settlements

REGISTRY: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "data" / "genai_registry.json").read_text(encoding="utf-8")
)

# What the registry recommends and Octant has not: engines report no writes to a cache and no
# reasoning tokens, an embedded engine has no address, and descriptions of tools are prompt text.
ABSENT = {
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.reasoning.output_tokens",
    "server.address",
    "gen_ai.tool.description",
}

MANIFEST = replace(
    settlements.manifest(1),
    sampling=Sampling(
        max_tokens=64, temperature=0.5, top_p=0.9, top_k=40, seed=7, n=2, stop=("END",)
    ),
    session=SessionId("ses_1"),
    output_schema_digest="sha256:00",
)


def _exported(events: list[AnyEvent]) -> tuple[ExportedSpan, ...]:
    outcome = next(e.outcome for e in events if isinstance(e, RequestSettled))
    return semconv.spans_of(SettledTrace(events, outcome, MANIFEST), lambda _, text: text)


def _failed_tool() -> list[AnyEvent]:
    failure = Failure(kind=FailureKind.TOOL_FAILURE, stage=Stage.TOOL, message="It broke.")
    failed = happenings.tool_outcome(ToolStatus.FAILED, failure)
    ended = happenings.outcome(status=OutcomeStatus.PARTIAL, failure=failure, attempts=1)
    return [
        happenings.received(),
        *happenings.model_call(1, 0),
        *happenings.tool_use(133)[:2],
        replace(happenings.tool_use(133)[2], outcome=failed),
        happenings.settled(ended),
    ]


def _refused() -> list[AnyEvent]:
    failure = Failure(
        kind=FailureKind.RATE_LIMIT_EXCEEDED, stage=Stage.ADMISSION, message="Too many requests."
    )
    ended = happenings.outcome(status=OutcomeStatus.FAILED, failure=failure, attempts=0)
    return [happenings.received(), happenings.settled(ended)]


def _failed_call() -> list[AnyEvent]:
    failure = Failure(kind=FailureKind.ENGINE_LOST, stage=Stage.DECODE, message="It died.")
    lost = AttemptFailed(
        at_ns=happenings.at(134),
        request_id=happenings.REQUEST,
        attempt=1,
        route=happenings.ROUTE.id,
        failure=failure,
    )
    ended = happenings.outcome(status=OutcomeStatus.PARTIAL, failure=failure, attempts=1)
    call = happenings.model_call(1, 0)[:-1]
    return [happenings.received(), *call, lost, happenings.settled(ended)]


def _upstream() -> list[AnyEvent]:
    """A route whose engine is not Octant's own reports no steps."""
    call = [e for e in happenings.model_call(1, 0) if not isinstance(e, ENGINE_EVENTS)]
    decided = next(event for event in call if isinstance(event, RouteDecided))
    chosen = replace(decided.decision.chosen, engine="openai_upstream")
    elsewhere = replace(decided, decision=replace(decided.decision, chosen=chosen))
    call[call.index(decided)] = elsewhere
    return [happenings.received(), *call, happenings.settled(happenings.outcome())]


SHAPES = {
    "one call": happenings.whole_request(),
    "several calls and a tool": happenings.whole_run(),
    "a failed tool": _failed_tool(),
    "a failed call": _failed_call(),
    "an upstream": _upstream(),
    "a refusal": _refused(),
}


def _rule(span: ExportedSpan) -> dict[str, Any]:
    operation = span.attributes["gen_ai.operation.name"]
    rules = [rule for rule in REGISTRY["spans"].values() if operation in rule["operations"]]
    assert len(rules) == 1, f"{operation} is no operation of the registry"
    return rules[0]


def _packaged_names() -> set[str]:
    """Every attribute that OpenTelemetry's own packages name."""
    modules = [gen_ai_attributes] + [
        importlib.import_module(f"{genai.__name__}.{found.name}")
        for found in pkgutil.iter_modules(genai.__path__)
    ]
    values = (value for module in modules for value in vars(module).values())
    return {value for value in values if isinstance(value, str) and value.startswith("gen_ai.")}


@pytest.mark.parametrize("shape", SHAPES)
def test_spans_of_operations_follow_their_rules(shape: str) -> None:
    spans = [s for s in _exported(SHAPES[shape]) if "gen_ai.operation.name" in s.attributes]

    for span in spans:
        rule, present = _rule(span), set(span.attributes)
        fields = {name.replace(".", "_"): str(value) for name, value in span.attributes.items()}
        pattern = str(rule["name"])
        for name in span.attributes:
            pattern = pattern.replace("{" + name + "}", "{" + name.replace(".", "_") + "}")
        assert span.name == pattern.format(**fields)
        assert span.kind.value in rule["kinds"]
        assert present >= set(rule["required"])
        assert not present & set(rule["content"]), "content leaves only where somebody asked"
        known = {*rule["required"], *rule["conditionally_required"], *rule["recommended"]}
        assert {name for name in present if name.startswith("gen_ai.")} <= known
        if span.error is not None:
            assert "error.type" in present
    assert bool(spans) is (shape != "a refusal")


@pytest.mark.parametrize("shape", ["one call", "several calls and a tool", "an upstream"])
def test_all_that_is_recommended_and_known_is_told(shape: str) -> None:
    for span in _exported(SHAPES[shape]):
        if "gen_ai.operation.name" in span.attributes:
            assert set(_rule(span)["recommended"]) - set(span.attributes) <= ABSENT, span.name


@pytest.mark.parametrize("shape", SHAPES)
def test_every_name_is_the_registrys_or_octants_own(shape: str) -> None:
    packaged, renamed = _packaged_names(), set(REGISTRY["renamed"])

    for span in _exported(SHAPES[shape]):
        for name in span.attributes:
            if name.startswith("gen_ai."):
                assert name in packaged and name not in renamed, name
            else:
                assert name == "error.type" or name.startswith("octant."), name


def test_operations_are_those_of_the_registry() -> None:
    known = {value.value for value in gen_ai_attributes.GenAiOperationNameValues}

    for rule in REGISTRY["spans"].values():
        assert set(rule["operations"]) <= known


def test_several_calls_stand_under_an_agent_with_the_tools_between_them() -> None:
    spans = _exported(SHAPES["several calls and a tool"])

    by_id = {span.span_id: span for span in spans}
    (root,) = (span for span in spans if span.kind is SpanKind.SERVER)
    (agent,) = (span for span in spans if span.name == "invoke_agent")
    below = [span.name for span in spans if span.parent_span_id == agent.span_id]
    assert agent.parent_span_id == root.span_id
    assert root.parent_span_id == "3" * 16
    assert below == [
        "chat octant-mini",
        "tool_authorization",
        "execute_tool calculator",
        "chat octant-mini",
    ]
    for span in spans:
        parent = by_id.get(span.parent_span_id or "")
        if parent is not None:
            assert parent.start_unix_ns <= span.start_unix_ns
            assert span.end_unix_ns <= parent.end_unix_ns


def test_usage_stands_once_with_each_call_and_never_with_the_request() -> None:
    spans = _exported(SHAPES["several calls and a tool"])

    calls = [span for span in spans if span.name == "chat octant-mini"]
    (root,) = (span for span in spans if span.kind is SpanKind.SERVER)
    assert [call.attributes["gen_ai.usage.input_tokens"] for call in calls] == [40, 80]
    assert [call.attributes["gen_ai.usage.output_tokens"] for call in calls] == [11, 11]
    assert not [name for name in root.attributes if name.startswith("gen_ai.")]
    assert root.attributes["octant.cost_nano_usd"] == 510
    assert root.attributes["octant.tenant.id"] == "default"


def test_the_provider_is_who_answered() -> None:
    for shape, provider in {"one call": "octant", "an upstream": "openai_upstream"}.items():
        (call,) = (span for span in _exported(SHAPES[shape]) if span.kind is SpanKind.CLIENT)
        assert call.attributes["gen_ai.provider.name"] == provider
        assert call.attributes["gen_ai.usage.output_tokens"] == 11


def test_span_ids_are_those_of_the_trace() -> None:
    folded = fold(SHAPES["several calls and a tool"])

    exported = {span.span_id for span in _exported(SHAPES["several calls and a tool"])}

    assert {span.span_id for span in folded.spans} < exported
    assert len(exported) == len(folded.spans) + 1


def _prometheus(name: str, unit: str) -> str:
    return name.replace(".", "_") + ("_seconds" if unit == "s" else "")


def test_metrics_have_the_names_and_buckets_of_the_registry() -> None:
    ours = {s.name: s for s in CATALOGUE if s.name.startswith("gen_ai_")}

    expected = {_prometheus(n, rule["unit"]): rule for n, rule in REGISTRY["metrics"].items()}

    assert set(ours) == set(expected)
    for name, rule in expected.items():
        spec: MetricSpec = ours[name]
        assert spec.kind is MetricKind.HISTOGRAM
        assert spec.buckets == pytest.approx(tuple(rule["buckets"]))


def test_the_pinned_metrics_are_those_of_opentelemetrys_packages() -> None:
    named = {v for v in vars(gen_ai_metrics).values() if isinstance(v, str)}
    named |= {v for v in vars(_instruments).values() if isinstance(v, str)}
    buckets = {
        "gen_ai.client.token.usage": _instruments._GEN_AI_CLIENT_TOKEN_USAGE_BUCKETS,
        "gen_ai.execute_tool.duration": _instruments._GEN_AI_EXECUTE_TOOL_DURATION_BUCKETS,
        "gen_ai.invoke_agent.duration": _instruments._GEN_AI_INVOKE_AGENT_DURATION_BUCKETS,
    }

    assert set(REGISTRY["metrics"]) <= named
    for name, bounds in buckets.items():
        assert REGISTRY["metrics"][name]["buckets"] == list(bounds)
