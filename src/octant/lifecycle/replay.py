"""Replay: what running a request again showed, and what differs between then and now (OB4).

    manifest then, facts now -> changes      reruns of its steps -> first difference, cause, verdict

Law: pure. IDENTICAL means that every token of every recorded call came out the same; a difference
is told with its place and with everything pinned that is another now, the most telling first. What
nobody pinned is never offered as a cause.
"""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from octant.core.manifest import ExecutedStep, ExecutionManifest, Hardware
from octant.core.record import Record
from octant.serving.rerun import RerunChoice

# Kernels for another batch shape add in another order: differences of this size are theirs.
_ROUNDING_MARGIN = 0.25
_BATCH, _CACHE, _PREEMPTION = "batch", "prefix cache", "preemption"
_COMPANY = (_BATCH, _CACHE, _PREEMPTION)


class ReplayVerdict(StrEnum):
    """What a replay found."""

    IDENTICAL = "identical"
    DIFFERENT = "different"
    NOT_REPLAYABLE = "not_replayable"


class RunFacts(NamedTuple):
    """What computes now."""

    artifact_digest: str
    tokenizer_digest: str
    engine: str
    engine_version: str
    octant_version: str
    weight_precision: str
    kv_precision: str
    device: str
    hardware: Hardware
    flags: dict[str, str]


class Change(Record, frozen=True, kw_only=True):
    """Something pinned that was another then."""

    what: str
    then: str
    now: str


class Difference(Record, frozen=True, kw_only=True):
    """The first place where a step went another way. Token None and text "" are an answer's end."""

    choice: int
    position: int
    recorded_token: int | None
    recorded_text: str
    got_token: int | None
    got_text: str
    margin: float | None


class StepReplay(Record, frozen=True, kw_only=True):
    """One model call run again. `why` says what kept it from being run."""

    step: int
    attempt: int
    route: str
    verdict: ReplayVerdict
    tokens: int
    difference: Difference | None = None
    changes: tuple[Change, ...] = ()
    cause: str = ""
    why: str = ""


class ReplayReport(Record, frozen=True, kw_only=True):
    """The whole request: different if any step is, identical only if every step is."""

    request_id: str
    verdict: ReplayVerdict
    tokens: int
    steps: tuple[StepReplay, ...]


def report(request_id: str, steps: Sequence[StepReplay]) -> ReplayReport:
    """The verdict over all steps."""
    found = {step.verdict for step in steps}
    verdict = ReplayVerdict.IDENTICAL
    if ReplayVerdict.DIFFERENT in found:
        verdict = ReplayVerdict.DIFFERENT
    elif found != {ReplayVerdict.IDENTICAL}:
        verdict = ReplayVerdict.NOT_REPLAYABLE
    return ReplayReport(
        request_id=request_id,
        verdict=verdict,
        tokens=sum(step.tokens for step in steps),
        steps=tuple(steps),
    )


def changes(
    manifest: ExecutionManifest, executed: ExecutedStep | None, now: RunFacts
) -> tuple[Change, ...]:
    """What was another then, the most telling first; what nobody pinned is no change.

    Artifact and engine come before the company that a call had, and versions of Octant itself
    last: they change no arithmetic.
    """
    found = [*_pinned(manifest, now), *_scheduling(executed)]
    found += _change("octant version", manifest.octant_version, now.octant_version)
    return tuple(found)


def cause_of(changes: Sequence[Change], difference: Difference | None, *, sampled: bool) -> str:
    """Why a step came out differently, as far as what was pinned can tell."""
    if difference is None:
        return ""
    if not changes:
        return "nothing that the manifest pins differs"
    first = changes[0]
    told = f"{first.what}: {first.then} then, {first.now} now"
    if first.what not in _COMPANY:
        return told
    if sampled:
        return f"rounding, {told}; the draw fell on the border between two tokens"
    close = difference.margin is not None and abs(difference.margin) <= _ROUNDING_MARGIN
    return f"rounding, {told}; the two tokens were nearly as likely" if close else told


def first_difference(
    choices: Sequence[RerunChoice], texts: dict[int | None, str]
) -> Difference | None:
    """The first choice that went another way; `texts` spells the tokens in question."""
    for choice in choices:
        found = choice.divergence
        if found is not None:
            return Difference(
                choice=choice.choice,
                position=found.position,
                recorded_token=found.recorded,
                recorded_text=texts.get(found.recorded, ""),
                got_token=found.got,
                got_text=texts.get(found.got, ""),
                margin=found.margin,
            )
    return None


def _pinned(manifest: ExecutionManifest, now: RunFacts) -> Iterator[Change]:
    for what, then, present in (
        ("artifact", manifest.artifact_digest, now.artifact_digest),
        ("tokenizer", manifest.tokenizer_digest, now.tokenizer_digest),
        ("weight precision", manifest.weight_precision, now.weight_precision),
        ("kv precision", manifest.kv_precision, now.kv_precision),
        ("engine", manifest.engine, now.engine),
        ("engine version", manifest.engine_version, now.engine_version),
    ):
        yield from _change(what, then, present)
    flags = manifest.engine_flags
    for name in sorted(flags):
        yield from _change(f"flag {name}", flags[name], now.flags.get(name, "unset"))
    yield from _change("device", manifest.device, now.device)
    yield from _hardware_changes(manifest.hardware, now.hardware)


def _hardware_changes(then: Hardware, now: Hardware) -> Iterator[Change]:
    yield from _change("cpu", then.cpu, now.cpu)
    yield from _change("cpu features", " ".join(then.features), " ".join(now.features))
    if then.cores:
        yield from _change("cores", str(then.cores), str(now.cores))


def _change(what: str, then: str, now: str) -> Iterator[Change]:
    if then and then != now:
        yield Change(what=what, then=then, now=now)


def _scheduling(executed: ExecutedStep | None) -> Iterator[Change]:
    """What running alone changes for a call that had company, a warm cache or had to wait."""
    if executed is None:
        return
    if executed.max_batch > 1:
        yield Change(what=_BATCH, then=f"{executed.max_batch} sequences in a step", now="alone")
    if executed.cached_tokens:
        then = f"{executed.cached_tokens} prompt tokens from the cache"
        yield Change(what=_CACHE, then=then, now="computed")
    if executed.preemptions:
        yield Change(what=_PREEMPTION, then=f"{executed.preemptions} times", now="never")
