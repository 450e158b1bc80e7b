"""Block pool and prefix cache under every order of events, against a model of what is written."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)

from octant.context.kv.block_pool import BlockPool
from octant.context.kv.block_table import BlockTable
from octant.core.ids import TenantId

BLOCKS, SIZE = 6, 2
TOKENS = st.integers(0, 1)


class Holder:
    """A sequence as the scheduler would drive it."""

    def __init__(self, pool: BlockPool, salt: str, tokens: list[int]) -> None:
        self.salt = salt
        self.tokens = tokens
        self.tenant = TenantId(salt)
        self.table = BlockTable(pool, self.tenant, salt)
        self.computed = 0


class PoolMachine(RuleBasedStateMachine):
    holders = Bundle("holders")

    def __init__(self) -> None:
        super().__init__()
        self.pool = BlockPool(BLOCKS, SIZE)
        self.held: list[Holder] = []
        # What was really computed into each block: the salt and every token up to there.
        self.written: dict[int, tuple[str, list[int]]] = {}
        self.distrusted: set[int] = set()

    @rule(
        target=holders, salt=st.sampled_from("ab"), tokens=st.lists(TOKENS, min_size=1, max_size=8)
    )
    def attach(self, salt: str, tokens: list[int]) -> object:
        holder = Holder(self.pool, salt, tokens)
        fit = holder.table.fit(tokens)
        before = self.pool.available
        if fit.needed > before:
            return multiple()
        holder.computed = holder.table.attach(fit)
        assert before - self.pool.available == fit.needed
        assert holder.computed < len(tokens), "nothing would be left to compute"
        for index, block in enumerate(fit.shared):
            past = (salt, tokens[: (index + 1) * SIZE])
            assert self.written[block] == past, f"block {block} holds {self.written[block]}"
            assert block not in self.distrusted, f"block {block} was withdrawn, yet is found"
        self.held.append(holder)
        return holder

    @rule(holder=holders, count=st.integers(1, 4))
    def compute(self, holder: Holder, count: int) -> None:
        end = min(holder.computed + count, len(holder.tokens))
        for index in range(holder.computed // SIZE, -(-end // SIZE)):
            block = holder.table.blocks[index]
            assert self.pool.is_private(block), f"block {block} is written while others read it"
            self.written[block] = (holder.salt, holder.tokens[: (index + 1) * SIZE])
            self.distrusted.discard(block)
        holder.computed = end
        holder.table.publish(holder.tokens, end)

    @rule(holder=holders, token=TOKENS)
    def extend(self, holder: Holder, token: int) -> None:
        if holder.computed < len(holder.tokens):
            return
        if holder.table.holds(len(holder.tokens) + 1):
            holder.tokens.append(token)
        elif self.pool.available:
            holder.table.grow()
            holder.tokens.append(token)

    @rule(holder=consumes(holders))
    def release(self, holder: Holder) -> None:
        exclusive = holder.table.exclusive_count(frozenset())
        before = self.pool.available
        assert holder.table.release() == exclusive
        assert self.pool.available == before + exclusive
        self.held.remove(holder)

    @rule(holder=consumes(holders))
    def distrust(self, holder: Holder) -> None:
        holder.table.withdraw()
        self.distrusted.update(holder.table.blocks)
        holder.table.release()
        self.held.remove(holder)

    @invariant()
    def the_books_are_right(self) -> None:
        self.pool.check_integrity([holder.table.blocks for holder in self.held])
        for holder in self.held:
            holder.table.check_integrity(holder.computed)

    @invariant()
    def every_holder_still_has_its_past(self) -> None:
        for holder in self.held:
            for index in range(holder.computed // SIZE):
                block = holder.table.blocks[index]
                assert self.written[block] == (holder.salt, holder.tokens[: (index + 1) * SIZE])


TestPool = PoolMachine.TestCase
TestPool.settings = settings(
    max_examples=200,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
