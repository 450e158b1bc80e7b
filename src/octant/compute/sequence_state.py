"""Sequence state: one sequence inside the scheduler, from submission until it is freed.

Law: `tokens` is the prompt and everything sampled since; keys and values of the first `computed`
of them stand in the blocks of `table`. A sequence runs while it holds blocks and waits otherwise.
"""

from octant.compute.ranking import Rank
from octant.compute.schedule import SequenceRequest
from octant.context.kv.block_pool import BlockPool
from octant.context.kv.block_table import BlockTable, Fit
from octant.core.step import SequenceSlice


class SequenceState:
    """Mutable; the scheduler is its only owner."""

    __slots__ = ("computed", "is_long", "rank", "request", "table", "tokens", "was_scheduled")

    def __init__(self, request: SequenceRequest, rank: Rank, pool: BlockPool) -> None:
        self.request = request
        self.rank = rank
        self.tokens = list(request.prompt)
        self.table = BlockTable(pool, request.tenant, request.cache_salt)
        self.computed = 0
        self.is_long = False
        self.was_scheduled = False

    @property
    def pending(self) -> int:
        """Tokens still to compute before the next one can be sampled; 1 while decoding."""
        return len(self.tokens) - self.computed

    @property
    def expected_tokens(self) -> int:
        """Tokens to compute when it starts; siblings find their prompt in the cache."""
        return self.pending if self.request.leader is None else 1

    @property
    def runs(self) -> bool:
        """Whether it holds blocks."""
        return bool(self.table.blocks)

    @property
    def generated(self) -> int:
        """Tokens sampled so far."""
        return len(self.tokens) - len(self.request.prompt)

    def start(self, fit: Fit) -> None:
        """From waiting to running, with what the prefix cache spares already computed."""
        self.computed = self.table.attach(fit)

    def stop(self) -> int:
        """From running to waiting, or to nothing; returns the blocks that became available."""
        self.computed = 0
        return self.table.release()

    def advance(self, count: int) -> None:
        """`count` more tokens have been computed."""
        self.computed += count
        self.table.publish(self.tokens, self.computed)

    def slice(self, count: int, block_size: int) -> SequenceSlice:
        """The next `count` pending tokens as the executor wants them."""
        past, end = self.computed, self.computed + count
        blocks = self.table.blocks
        reach = -(-end // block_size)
        return SequenceSlice(
            sequence=self.request.sequence,
            tokens=tuple(self.tokens[past:end]),
            past=past,
            blocks=blocks if reach == len(blocks) else blocks[:reach],
            samples=end == len(self.tokens),
        )
