"""Block table: the blocks of one sequence, in the order of its positions.

Law: a table holds one reference to each of its blocks and gives all of them back in `release`, the
only way out. What was computed is published block by block, after it was computed and only when
the block is full; what is found published is shared, never recomputed and never written again.
"""

from collections.abc import Sequence
from typing import NamedTuple

from octant.context.kv.block_pool import BlockPool
from octant.context.kv.prefix_cache import chain_digest, root_digest
from octant.core.ids import TenantId


class Fit(NamedTuple):
    """What it takes to hold a sequence: blocks to share, and blocks that must be available.

    `needed` counts fresh blocks and those shared ones that are idle, hence available, now.
    """

    shared: tuple[int, ...]
    fresh: int
    needed: int


class BlockTable:
    """The blocks of one sequence; empty until `attach` and after `release`."""

    def __init__(self, pool: BlockPool, tenant: TenantId, salt: str) -> None:
        self.blocks: tuple[int, ...] = ()
        self._pool = pool
        self._tenant = tenant
        self._chain = [root_digest(salt)]
        self._published = 0

    def fit(self, tokens: Sequence[int]) -> Fit:
        """How the pool could hold `tokens` now, with as much of their prefix shared as is cached.

        The last token is never shared, so there is always one to compute the next one from.
        """
        shared: list[int] = []
        for index in range((len(tokens) - 1) // self._pool.block_size):
            block = self._pool.find(self._digest(index, tokens))
            if block is None:
                break
            shared.append(block)
        fresh = self._pool.blocks_for(len(tokens)) - len(shared)
        idle = sum(map(self._pool.is_idle, shared))
        return Fit(tuple(shared), fresh, fresh + idle)

    def attach(self, fit: Fit) -> int:
        """Takes the blocks of a fit found just now; returns the token positions they spare."""
        # Sharing comes first: a fresh block may evict an idle one, which must not be one of these.
        for block in fit.shared:
            self._pool.share(block, self._tenant)
        fresh = tuple(self._pool.take(self._tenant) for _ in range(fit.fresh))
        self.blocks = fit.shared + fresh
        self._published = len(fit.shared)
        return len(fit.shared) * self._pool.block_size

    def exclusive_count(self, kept: frozenset[int]) -> int:
        """Blocks that `release` would make available, those in `kept` not counted."""
        return sum(self._pool.references(b) == 1 and b not in kept for b in self.blocks)

    def holds(self, positions: int) -> bool:
        """Whether the blocks reach that far."""
        return positions <= len(self.blocks) * self._pool.block_size

    def grow(self) -> None:
        """One more block. Raises KeyError unless the pool has one available."""
        self.blocks += (self._pool.take(self._tenant),)

    def publish(self, tokens: Sequence[int], computed: int) -> None:
        """Makes every full block among the first `computed` positions findable."""
        full = computed // self._pool.block_size
        for index in range(self._published, full):
            self._pool.publish(self.blocks[index], self._digest(index, tokens))
        self._published = max(self._published, full)

    def withdraw(self) -> None:
        """Nobody is to find what these blocks hold, wherever it came from."""
        for block in self.blocks:
            self._pool.withdraw(block)

    def release(self) -> int:
        """Gives every block back; returns how many became available. Idempotent."""
        # Tail first, so that of one prefix the end is evicted before the beginning it needs.
        freed = 0
        for block in reversed(self.blocks):
            freed += self._pool.release(block)
        self.blocks = ()
        self._published = 0
        return freed

    def check_integrity(self, computed: int) -> None:
        """Raises AssertionError unless the next token would be written into a private block."""
        assert self.holds(computed), f"{computed} tokens are computed, {self.blocks} hold fewer"
        for block in self.blocks[computed // self._pool.block_size :]:
            assert self._pool.is_private(block), f"block {block} is to be written but is shared"

    def _digest(self, index: int, tokens: Sequence[int]) -> bytes:
        """Of full block `index`. Tokens only ever grow at the end, so digests are kept."""
        size = self._pool.block_size
        while len(self._chain) <= index + 1:
            begin = (len(self._chain) - 1) * size
            self._chain.append(chain_digest(self._chain[-1], tokens[begin : begin + size]))
        return self._chain[index + 1]
