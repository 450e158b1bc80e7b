"""Rerun: one recorded model call once more, alone, token by token against what was recorded.

    recorded prompt, sampling, seed -> executor, sampler, stops as the engine has them -> tokens

Law: the sampler, the seeds of choices and the ends of answers are the engine's own; only the
scheduler is missing, because nothing else runs. A choice is compared until its first difference,
for what follows one answers another prompt.
"""

from collections.abc import Iterator
from typing import NamedTuple

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.ids import SequenceId, TenantId
from octant.core.limits import Profile
from octant.core.recording import RecordedStep, Recording
from octant.core.stage import Stage
from octant.core.step import SequenceSlice, StepPlan
from octant.core.usage import FinishReason
from octant.ports.executor import Executor
from octant.serving.logits import Floats
from octant.serving.messages.to_engine import Generate
from octant.serving.sampler import Sampler
from octant.serving.sequences import LiveChoice, LiveWork, Vocabulary, ends


class Divergence(NamedTuple):
    """The first place where a choice went another way; a token of None is the end of the answer.

    `margin` is by how much the logit of what came exceeded that of what was recorded; with the two
    nearly equal, rounding decides. None where one of them has no logit to compare.
    """

    position: int
    recorded: int | None
    got: int | None
    margin: float | None


class RerunChoice(NamedTuple):
    """One answer: how many tokens were the same, and where it went another way, if it did."""

    choice: int
    same_tokens: int
    divergence: Divergence | None


def rerun_step(
    executor: Executor, words: Vocabulary, recording: Recording, step: RecordedStep, chunk: int
) -> tuple[RerunChoice, ...]:
    """Every choice of one recorded call; the prompt is computed `chunk` tokens at a time.

    Raises Failed(CAPACITY_EXHAUSTED) when the KV cache cannot hold the call, and what the executor
    raises.
    """
    max_tokens = step.sampling.max_tokens
    assert max_tokens is not None, "a recorded step names the maximum that was enforced"
    generate = _generate(recording, step)
    work = LiveWork(generate, range(step.sampling.n), max_tokens, words)
    sampler = Sampler(executor.facts.vocab_size)
    last_words = ends(step.sampling, words.eos)
    return tuple(
        _rerun(_Lane(executor, step, chunk), sampler, choice, _Expected(step, index), last_words)
        for index, choice in enumerate(work.choices)
    )


def _generate(recording: Recording, step: RecordedStep) -> Generate:
    return Generate(
        request_id=recording.request_id,
        attempt=step.attempt,
        tenant=TenantId(""),
        profile=Profile.INTERACTIVE,
        cache_salt="",
        prompt_tokens=step.prompt_tokens,
        sampling=step.sampling,
        seed=step.seed,
        received_ns=0,
        deadline_ns=0,
    )


class _Expected:
    """What was recorded of one choice. `reason` is None where it was broken off."""

    def __init__(self, step: RecordedStep, index: int) -> None:
        self.tokens = step.outputs[index]
        told = len(step.finish_reasons) == len(step.outputs)
        self.reason: FinishReason | None = step.finish_reasons[index] if told else None

    def at(self, position: int) -> int | None:
        """The token there, None where the answer had ended."""
        return self.tokens[position] if position < len(self.tokens) else None

    def exhausted(self, position: int) -> bool:
        """Whether nothing is known any more, because it was broken off here."""
        return self.reason is None and position >= len(self.tokens)


def _rerun(
    lane: "_Lane",
    sampler: Sampler,
    choice: LiveChoice,
    expected: _Expected,
    last_words: frozenset[int],
) -> RerunChoice:
    for position, logits in enumerate(lane.steps()):
        if expected.exhausted(position):
            return RerunChoice(choice.index, position, None)
        sampled = sampler.sample(logits, [choice.row])[0]
        if sampled.fault:
            raise Failed(_not_finite(position))
        taken = choice.take(sampled)
        said = taken.delta is not None and len(taken.delta.tokens) > 0
        got, recorded = sampled.token if said else None, expected.at(position)
        if got != recorded:
            margin = _margin(logits[0], sampled.token, recorded, last_words)
            return RerunChoice(choice.index, position, Divergence(position, recorded, got, margin))
        if taken.finished is not None:
            after = position + (1 if said else 0)
            return RerunChoice(choice.index, after, _ended(expected, after))
        lane.append(sampled.token)
    raise AssertionError("a choice ends at its maximum at the latest")


def _ended(expected: _Expected, after: int) -> Divergence | None:
    """An answer that ended where more had been recorded."""
    more = expected.at(after)
    return None if more is None else Divergence(after, more, None, None)


def _margin(
    row: Floats, got: int, recorded: int | None, last_words: frozenset[int]
) -> float | None:
    if recorded is not None:
        return float(row[got] - row[recorded])
    known = [token for token in last_words if token < len(row)]
    return float(row[got] - max(row[token] for token in known)) if known else None


class _Lane:
    """The one sequence that an executor computes, on blocks that nobody else wants."""

    def __init__(self, executor: Executor, step: RecordedStep, chunk: int) -> None:
        facts = executor.facts
        longest = len(step.prompt_tokens) + (step.sampling.max_tokens or 0)
        recorded = len(step.prompt_tokens) + max(map(len, step.outputs), default=0) + 1
        needed = -(-min(longest, recorded) // facts.block_size)
        if needed > facts.block_count:
            raise Failed(_too_long(recorded, facts.block_count * facts.block_size))
        self._executor = executor
        self._table = tuple(range(needed))
        self._pending = step.prompt_tokens
        self._chunk = max(1, chunk)
        self._past = 0
        self._number = 0

    def append(self, token: int) -> None:
        """What the next step computes."""
        self._pending = (token,)

    def steps(self) -> Iterator[Floats]:
        """Logits [1, vocabulary] after the prompt, then after each token appended."""
        while self._pending:
            piece, rest = self._pending[: self._chunk], self._pending[self._chunk :]
            self._pending = ()
            logits = self._compute(piece, samples=not rest)
            if rest:
                self._pending = rest
            else:
                yield logits

    def _compute(self, piece: tuple[int, ...], *, samples: bool) -> Floats:
        facts = self._executor.facts
        blocks = -(-(self._past + len(piece)) // facts.block_size)
        self._number += 1
        plan = StepPlan(
            self._number,
            (SequenceSlice(SequenceId(0), piece, self._past, self._table[:blocks], samples),),
        )
        self._past += len(piece)
        return self._executor.execute(plan)


def _too_long(tokens: int, room: int) -> Failure:
    return Failure(
        kind=FailureKind.CAPACITY_EXHAUSTED,
        stage=Stage.LOAD,
        message=f"The recorded call takes {tokens} tokens, the KV cache has room for {room}. Free "
        "memory, or raise engine.kv_bytes for the replay.",
    )


def _not_finite(position: int) -> Failure:
    return Failure(
        kind=FailureKind.MODEL_FAILURE,
        stage=Stage.DECODE,
        message=f"The model computed no finite logits at token {position} of the replay.",
    )
