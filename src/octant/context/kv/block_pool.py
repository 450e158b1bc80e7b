"""Block pool: who holds which KV block. The executor owns the memory behind the numbers.

Law: every block is in exactly one region, and content is written only while it is private.

    references  cached  region
    0           no      empty    holds nothing; taken first
    0           yes     idle     holds a findable prefix; evicted, longest idle first, when no
                                 block is empty
    >= 1        no      private  its one holder writes into it; several only after `withdraw`
    >= 1        yes     shared   full and immutable, readable by every holder of the same prefix

A block is charged to the tenant that made it live, until it is live no longer.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain

from octant.context.kv.prefix_cache import PrefixCache
from octant.core.ids import TenantId


class BlockPool:
    """A fixed number of blocks of `block_size` token positions each."""

    def __init__(self, block_count: int, block_size: int) -> None:
        """Raises ValueError unless both are positive."""
        if block_count < 1 or block_size < 1:
            raise ValueError(f"a pool of {block_count} blocks of {block_size} holds nothing")
        self.block_count = block_count
        self.block_size = block_size
        self._cache = PrefixCache()
        # Taken from the end: low numbers first, and a block just given back is still warm.
        self._empty = list(range(block_count - 1, -1, -1))
        self._references = [0] * block_count
        self._payer: list[TenantId | None] = [None] * block_count
        self._charged: dict[TenantId, int] = {}

    @property
    def available(self) -> int:
        """Blocks that `take` can still give: empty and idle ones."""
        return len(self._empty) + self._cache.idle_count

    @property
    def live(self) -> int:
        """Blocks held by at least one sequence."""
        return self.block_count - self.available

    def charged(self, tenant: TenantId) -> int:
        """Live blocks charged to a tenant; they add up to `live` over all tenants."""
        return self._charged.get(tenant, 0)

    def references(self, block: int) -> int:
        """How many holders a block has."""
        return self._references[block]

    def blocks_for(self, positions: int) -> int:
        """Blocks that hold this many token positions."""
        return -(-positions // self.block_size)

    def find(self, digest: bytes) -> int | None:
        """The block whose content is this prefix's last full block; `share` it before use."""
        return self._cache.find(digest)

    def is_idle(self, block: int) -> bool:
        """Whether sharing the block takes it out of what is available."""
        return self._cache.is_idle(block)

    def is_private(self, block: int) -> bool:
        """Whether its one holder may write into the block."""
        return self._references[block] == 1 and not self._cache.holds(block)

    def take(self, tenant: TenantId) -> int:
        """A private block for new content. Raises KeyError unless one is `available`."""
        block = self._empty.pop() if self._empty else self._cache.evict()
        self._hold(block, tenant)
        return block

    def share(self, block: int, tenant: TenantId) -> None:
        """One more holder of a cached block. Raises ValueError when it is not cached."""
        if not self._cache.holds(block):
            raise ValueError(f"block {block} holds no cached content to share")
        if self._cache.is_idle(block):
            self._cache.wake(block)
            self._hold(block, tenant)
        else:
            self._references[block] += 1

    def publish(self, block: int, digest: bytes) -> None:
        """A live block is full and computed: others may find it. Keeps the first of two equals."""
        if not self._references[block]:
            raise ValueError(f"block {block} belongs to nobody, so its content is not known")
        self._cache.insert(digest, block)

    def withdraw(self, block: int) -> None:
        """What the block holds is not to be trusted: nobody finds it again, holders keep it."""
        if not self._references[block]:
            raise ValueError(f"block {block} belongs to nobody; only a holder withdraws content")
        self._cache.withdraw(block)

    def release(self, block: int) -> bool:
        """One holder fewer; True when the block became available. ValueError when it had none."""
        if not self._references[block]:
            raise ValueError(f"block {block} was released more often than it was taken")
        self._references[block] -= 1
        if self._references[block]:
            return False
        self._settle(block)
        if self._cache.holds(block):
            self._cache.rest(block)
        else:
            self._empty.append(block)
        return True

    def _hold(self, block: int, tenant: TenantId) -> None:
        self._references[block] = 1
        self._payer[block] = tenant
        self._charged[tenant] = self._charged.get(tenant, 0) + 1

    def _settle(self, block: int) -> None:
        tenant = self._payer[block]
        if tenant is None:
            raise ValueError(f"block {block} was live without a tenant to charge")
        self._payer[block] = None
        self._charged[tenant] -= 1
        if not self._charged[tenant]:
            del self._charged[tenant]

    def check_integrity(self, holders: Iterable[Sequence[int]]) -> None:
        """Raises AssertionError with the fact that is wrong, given what every holder holds."""
        self._cache.check_integrity()
        held = Counter(chain.from_iterable(holders))
        references = [held[block] for block in range(self.block_count)]
        assert references == self._references, (
            f"the pool counts {self._references} references, its blocks have {references} holders"
        )
        live = [block for block, count in enumerate(references) if count]
        regions = sorted([*live, *self._empty, *self._cache.idle()])
        assert regions == list(range(self.block_count)), "a block is in no region, or in several"
        assert not any(map(self._cache.holds, self._empty)), "content of an empty block is found"
        payers = [payer for payer in self._payer if payer is not None]
        assert len(payers) == len(live), f"{len(live)} blocks are live, {len(payers)} are charged"
        assert all(self._payer[block] is not None for block in live), "a live block is not charged"
        assert Counter(payers) == self._charged, "the charges of tenants are not their live blocks"
