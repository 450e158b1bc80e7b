"""The scheduler's vocabulary: what it is given, what it gives back, what it has to report.

Law: plain values. Instants are monotonic nanoseconds, handed in and never read here.
"""

from typing import NamedTuple

from octant.core.ids import RequestId, SequenceId, TenantId
from octant.core.limits import Profile
from octant.core.record import Record
from octant.core.step import StepPlan
from octant.core.units import NS_PER_S


class SchedulerSettings(Record, frozen=True, kw_only=True):
    """Every bound of the token scheduler, with what chose its default.

    The measurements are of a Qwen3-0.6B shape on 2 cores with 16 sequences decoding: a step takes
    71 ms alone, 326 ms with a chunk of 128 tokens, 597 ms with 256, 1,183 ms with 512.
    """

    max_batch_tokens: int = 512
    """Tokens computed in one step, all sequences together: the longest a running stream can wait
    for its next token. 512 keeps that near 1.2 s."""

    max_sequences: int = 32
    """Sequences that hold blocks, hence take part in a step. Decode throughput still rises from
    16 to 32 (214 to 244 tokens/s); more than 32 was not measured."""

    max_prefill_chunk: int = 128
    """Tokens of one prompt in one step while other sequences decode or other prompts want their
    share. A chunk of 128 holds running streams up for 255 ms; a token of prompt costs 2.0 to
    2.2 ms in chunks of any size, so small ones lose no throughput."""

    max_long_prefills: int = 2
    """Long prompts in prefill at once. Two chunks of 128 leave half a step's tokens to short
    prompts, which so never queue behind long ones."""

    long_prompt_tokens: int = 1_024
    """Prompts with more tokens than this, from the prefix cache or not, wait while
    `max_long_prefills` others fill; those with more to compute count as filling. 1,024 tokens are
    eight steps of prefill."""

    max_waiting: int = 16_896
    """Sequences of one profile in line, so that no profile shuts out another. A last resort, with
    room for all that admission lets in, which refuses earlier and with better reasons: 1,056 batch
    requests of 16 answers. One takes about 5 KB."""

    ageing_ns: int = 30 * NS_PER_S
    """How long a sequence waits before a newcomer of the next higher profile no longer passes it.
    30 s is far above the TTFT of interactive work, and lets batch wait 90 s at most behind it."""

    def __post_init__(self) -> None:
        """Raises ValueError for bounds under which some sequence could never run."""
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if name != "unknown" and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if self.max_batch_tokens <= self.max_sequences:
            raise ValueError(
                f"max_batch_tokens ({self.max_batch_tokens}) must exceed max_sequences"
                f" ({self.max_sequences}): prompts get what decoding sequences leave of a step"
            )


class SequenceRequest(NamedTuple):
    """One choice of one request, as submitted.

    `leader` is the sibling (n > 1) whose prefill this one waits for, so that it finds the prompt's
    full blocks in the prefix cache; a leader that is unknown or gone is not waited for.
    """

    sequence: SequenceId
    request_id: RequestId
    choice: int
    tenant: TenantId
    profile: Profile
    prompt: tuple[int, ...]
    cache_salt: str
    max_tokens: int
    arrived_ns: int
    deadline_ns: int
    leader: SequenceId | None


class Scheduled(NamedTuple):
    """First tokens of a sequence are in this step; `cached_tokens` of its prompt came from reuse.

    Reported once: a sequence that comes back after a preemption is not scheduled again.
    """

    sequence: SequenceId
    cached_tokens: int


class Preempted(NamedTuple):
    """A sequence gave its blocks back and waits to be recomputed; `freed_blocks` became free."""

    sequence: SequenceId
    freed_blocks: int


class Expired(NamedTuple):
    """A sequence's deadline has passed; everything it held is free."""

    sequence: SequenceId


SchedulerEvent = Scheduled | Preempted | Expired


class Planned(NamedTuple):
    """The next step, or None when there is nothing to compute, and what happened on the way."""

    step: StepPlan | None
    events: tuple[SchedulerEvent, ...]


class SchedulerCounts(NamedTuple):
    """The load: sequences, blocks of live ones, tokens still to compute for each profile's line."""

    running: int
    waiting: int
    blocks_used: int
    blocks_total: int
    waiting_tokens: dict[Profile, int]
