"""OpenAI shapes: what chat completions and completions write alike, above all how they end.

Law: a stream that completed ends with at most one chunk without choices and `[DONE]`, one that
failed with one error event and nothing after it. `octant` stands in an answer exactly when the
request brought it and the run has a report.
"""

import hashlib
from collections.abc import Mapping

import msgspec

import octant
from octant.core.ids import RouteId
from octant.core.stream import Broken, Completed
from octant.core.summary import RunSummary
from octant.core.usage import Usage
from octant.gateway.dialects.dialect import Answering, encode_json
from octant.gateway.dialects.run_report import report_of
from octant.gateway.failures import error_body, error_object
from octant.gateway.sse import DONE, event


def fingerprint(route: RouteId | None) -> str:
    """`system_fingerprint`: changes when another route or another release of Octant answers."""
    return "fp_" + hashlib.sha256(f"{octant.__version__}/{route or ''}".encode()).hexdigest()[:12]


def report_beside(answering: Answering, summary: RunSummary | None) -> dict[str, object]:
    """`octant` of an answer: the run's report, where it was asked for and is known."""
    if summary is None or not answering.question.include_report:
        return {}
    return {"octant": report_of(summary)}


def stream_end(answering: Answering, opening: bytes, end: Completed) -> bytes:
    """`opening`, an unclosed chunk without choices, with usage and report where they are wanted;
    and `[DONE]`."""
    more = report_beside(answering, end.summary)
    if answering.question.include_usage:
        more = {"usage": usage_object(end.usage), **more}
    return event(opening + b"," + encode_json(more)[1:]) + DONE if more else DONE


def failed_body(answering: Answering, end: Broken) -> bytes:
    """The body of an answer that failed."""
    more = report_beside(answering, end.summary)
    return error_body(end.failure, answering.request_id, **more)


def failed_event(answering: Answering, end: Broken) -> bytes:
    """The last event of a stream that failed; what came before is partial."""
    error = error_object(end.failure, answering.request_id)
    own: dict[str, object] = {"partial": True, "completion_tokens": end.usage.completion_tokens}
    if end.summary is not None and answering.question.include_report:
        own |= msgspec.to_builtins(report_of(end.summary))
    return event(encode_json({"error": error, "octant": own}))


def usage_object(usage: Usage) -> Mapping[str, object]:
    """`usage`, in a body and in the last chunk."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }
