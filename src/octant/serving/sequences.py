"""The works an engine holds: each request's choices while they are generated.

Law: a choice speaks until it is closed and never again; a work leaves the table with its last
choice. Here it is decided when a choice ends and which text and log-probabilities go out, purely;
the engine loop does the rest.

    LiveWork 1 - n LiveChoice 1 - 1 sequence of the scheduler
"""

import codecs
import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from octant.core.ids import SequenceId
from octant.core.sampling import Sampling
from octant.core.stage import Stage
from octant.core.stream import ChoiceFinished, PositionLogprobs, TextDelta, TokenLogprob
from octant.core.usage import FinishReason, Usage
from octant.ports.tokenizer import Tokenizer
from octant.serving.detokenizer import TextStream
from octant.serving.messages.to_engine import AttemptId, Generate
from octant.serving.sampler import Sampled, SamplingRow

_SEED_BYTES = 7


class Vocabulary(NamedTuple):
    """A model's tokens and those of them that end an answer."""

    tokenizer: Tokenizer
    eos: frozenset[int]


class Taken(NamedTuple):
    """What one token made of a choice."""

    delta: TextDelta | None
    finished: ChoiceFinished | None


class LogprobLine:
    """Log-probabilities waiting for their text, so that both reach the caller together.

    Text lags behind its tokens (a split character, the possible start of a stop string), and what
    a stop string swallows never goes out; its tokens must not either. Counted in characters.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[int, PositionLogprobs]] = []
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._spelled = 0
        self._sent = 0
        self._opening = ""

    def add(self, position: PositionLogprobs) -> None:
        """Queues a token behind the text of those before it."""
        self._waiting.append((self._spelled, position))
        text = self._decoder.decode(position.chosen.utf8)
        self._spelled += len(text)
        if not self._sent:
            self._opening += text

    def release(self, text: str, *, everything: bool) -> tuple[PositionLogprobs, ...]:
        """Positions whose first character has now been sent, or all that wait."""
        if text and not self._sent and not self._opening.startswith(text):
            # The tokenizer drops the space before its first word; that counts as sent.
            self._sent = 1
        self._sent += len(text)
        count = len(self._waiting)
        if not everything:
            count = sum(start < self._sent for start, _ in self._waiting)
        released = tuple(position for _, position in self._waiting[:count])
        del self._waiting[:count]
        return released


class LiveChoice:
    """One answer being generated."""

    def __init__(
        self, index: int, sequence: SequenceId, work: Generate, max_tokens: int, words: Vocabulary
    ) -> None:
        """`work` has passed `acceptance`."""
        sampling = work.sampling
        self.index = index
        self.sequence = sequence
        self.open = True
        self.scheduled = False
        self.max_batch = 0
        self.row = SamplingRow(
            sampling, choice_seed(work.seed, index), work.prompt_tokens, words.eos
        )
        self._tokenizer = words.tokenizer
        self._ends = ends(sampling, words.eos)
        self._stop_token_ids = frozenset(sampling.stop_token_ids)
        self._max_tokens = max_tokens
        self._text = TextStream(
            words.tokenizer, sampling.stop, sampling.min_tokens, work.prompt_tokens
        )
        self._logprobs = None if sampling.top_logprobs is None else LogprobLine()

    @property
    def generated(self) -> int:
        """Tokens sampled so far, the one that ended it included."""
        return self.row.generated

    @property
    def stage(self) -> Stage:
        """How far it has come."""
        if not self.scheduled:
            return Stage.QUEUE
        return Stage.DECODE if self.generated else Stage.PREFILL

    def take(self, sampled: Sampled) -> Taken:
        """Appends a token. The one that ends the answer by itself (EOS, stop id) has no text.

        The sampler gives none of those before `min_tokens`.
        """
        token = sampled.token
        self.row.append(token)
        ended = token in self._ends
        last = ended or self.generated >= self._max_tokens
        tokens = () if ended else (token,)
        if self._logprobs is not None and not ended:
            self._logprobs.add(position_logprobs(sampled, self._tokenizer))
        chunk = self._text.feed(tokens, last)
        delta = self._delta(chunk.text, tokens, everything=last and chunk.stop_matched is None)
        if chunk.stop_matched is not None:
            return Taken(delta, ChoiceFinished(self.index, FinishReason.STOP, chunk.stop_matched))
        if ended:
            stop = token if token in self._stop_token_ids else None
            return Taken(delta, ChoiceFinished(self.index, FinishReason.STOP, stop))
        finished = ChoiceFinished(self.index, FinishReason.LENGTH) if last else None
        return Taken(delta, finished)

    def _delta(self, text: str, tokens: tuple[int, ...], *, everything: bool) -> TextDelta | None:
        positions: tuple[PositionLogprobs, ...] = ()
        if self._logprobs is not None:
            positions = self._logprobs.release(text, everything=everything)
        if not text and not tokens and not positions:
            return None
        return TextDelta(self.index, text, tokens, positions)


class LiveWork:
    """One attempt at one request, from acceptance to its last output."""

    def __init__(
        self, generate: Generate, sequences: range, max_tokens: int, words: Vocabulary
    ) -> None:
        """One choice for each of `sequences`; `generate` has passed `acceptance`."""
        self.generate = generate
        self.max_tokens = max_tokens
        self.cached_tokens = 0
        self.choices = tuple(
            LiveChoice(index, SequenceId(sequence), generate, max_tokens, words)
            for index, sequence in enumerate(sequences)
        )

    @property
    def id(self) -> AttemptId:
        """What its outputs are addressed to."""
        return self.generate.id

    @property
    def finished(self) -> bool:
        """Whether no choice is open any more."""
        return not any(choice.open for choice in self.choices)

    def usage(self) -> Usage:
        """Tokens so far, all choices together; the prompt once one of them was scheduled."""
        was_scheduled = any(choice.scheduled for choice in self.choices)
        return Usage(
            prompt_tokens=len(self.generate.prompt_tokens) if was_scheduled else 0,
            cached_tokens=self.cached_tokens,
            completion_tokens=sum(choice.generated for choice in self.choices),
        )


class WorkTable:
    """All works in the engine, found by attempt and by sequence."""

    def __init__(self) -> None:
        self._works: dict[AttemptId, LiveWork] = {}
        self._by_sequence: dict[SequenceId, tuple[LiveWork, LiveChoice]] = {}

    def __iter__(self) -> Iterator[LiveWork]:
        return iter(self._works.values())

    def add(self, work: LiveWork) -> None:
        """Takes on a work whose attempt is not here yet."""
        assert work.id not in self._works, f"attempt {work.id} would run twice"
        self._works[work.id] = work
        for choice in work.choices:
            self._by_sequence[choice.sequence] = (work, choice)

    def work(self, attempt: AttemptId) -> LiveWork | None:
        """The work of an attempt, None when it has left or never came."""
        return self._works.get(attempt)

    def owner(self, sequence: SequenceId) -> tuple[LiveWork, LiveChoice]:
        """The work and choice of an open sequence. Raises KeyError for any other."""
        return self._by_sequence[sequence]

    def is_open(self, sequence: SequenceId) -> bool:
        """Whether the sequence still speaks."""
        return sequence in self._by_sequence

    def close(self, work: LiveWork, choice: LiveChoice) -> None:
        """Ends a choice; its work leaves with the last one."""
        choice.open = False
        del self._by_sequence[choice.sequence]
        if work.finished:
            del self._works[work.id]

    def check_integrity(self) -> None:
        """Raises AssertionError when the two views disagree."""
        open_choices = {choice.sequence for work in self for choice in work.choices if choice.open}
        assert open_choices == self._by_sequence.keys(), "sequences without a work, or the reverse"
        assert not any(work.finished for work in self), "a finished work is still held"


def ends(sampling: Sampling, eos: frozenset[int]) -> frozenset[int]:
    """The tokens that end an answer."""
    stops = frozenset(sampling.stop_token_ids)
    return stops if sampling.ignore_eos else stops | eos


def choice_seed(seed: int, index: int) -> int:
    """Choice 0 draws as a request with n = 1 would; the others draw independently of it."""
    if index == 0:
        return seed
    digest = hashlib.blake2b(f"{seed}/{index}".encode(), digest_size=_SEED_BYTES).digest()
    return int.from_bytes(digest, "little")


def position_logprobs(sampled: Sampled, tokenizer: Tokenizer) -> PositionLogprobs:
    """Log-probabilities of one position with the text of each token."""
    assert sampled.logprobs is not None, "the sampler returns what the row asked for"
    chosen, ids, values = sampled.logprobs
    return PositionLogprobs(
        _token_logprob(sampled.token, chosen, tokenizer),
        tuple(
            _token_logprob(token, value, tokenizer)
            for token, value in zip(ids, values, strict=True)
        ),
    )


def _token_logprob(token: int, logprob: float, tokenizer: Tokenizer) -> TokenLogprob:
    utf8 = tokenizer.token_bytes(token)
    return TokenLogprob(token, utf8.decode(errors="replace"), utf8, logprob)
