"""The block pool: each block in one region, charged to one tenant, evicted by last use."""

import pytest

from octant.context.kv.block_pool import BlockPool
from octant.core.ids import TenantId

ANN, BOB = TenantId("ann"), TenantId("bob")


def digest(number: int) -> bytes:
    return number.to_bytes(16, "big")


def published(pool: BlockPool, number: int) -> int:
    block = pool.take(ANN)
    pool.publish(block, digest(number))
    return block


def test_gives_every_block_once_and_then_none() -> None:
    pool = BlockPool(3, 2)
    blocks = [pool.take(ANN) for _ in range(3)]
    assert sorted(blocks) == [0, 1, 2]
    assert (pool.available, pool.live) == (0, 3)
    with pytest.raises(KeyError):
        pool.take(ANN)
    pool.check_integrity([blocks])


def test_a_released_block_can_be_taken_again() -> None:
    pool = BlockPool(1, 2)
    block = pool.take(ANN)
    assert pool.release(block)
    assert pool.take(BOB) == block


def test_content_outlives_its_last_holder_until_the_space_is_needed() -> None:
    pool = BlockPool(2, 2)
    block = published(pool, 1)
    pool.release(block)
    assert pool.available == 2
    assert pool.take(ANN) != block, "an empty block is taken before a cached one"
    assert pool.find(digest(1)) == block
    assert pool.take(ANN) == block
    assert pool.find(digest(1)) is None


def test_the_longest_idle_content_is_evicted_first() -> None:
    pool = BlockPool(3, 2)
    old, newer, newest = (published(pool, n) for n in range(3))
    for block in (newer, old, newest):
        pool.release(block)
    pool.share(newer, ANN)
    pool.release(newer)
    assert [pool.take(ANN) for _ in range(3)] == [old, newest, newer]


def test_a_shared_block_is_free_only_after_its_last_holder() -> None:
    pool = BlockPool(1, 2)
    block = published(pool, 1)
    pool.share(block, ANN)
    assert not pool.release(block)
    assert pool.available == 0
    assert pool.release(block)
    assert pool.available == 1


def test_only_its_one_holder_may_write_into_a_block() -> None:
    pool = BlockPool(2, 2)
    private, shared = pool.take(ANN), published(pool, 1)
    assert pool.is_private(private)
    assert not pool.is_private(shared)
    pool.release(private)
    assert not pool.is_private(private)


def test_the_first_of_two_equal_contents_is_kept() -> None:
    pool = BlockPool(2, 2)
    first, second = published(pool, 1), published(pool, 1)
    assert pool.find(digest(1)) == first
    assert pool.is_private(second)
    pool.release(second)
    assert pool.find(digest(1)) == first
    pool.check_integrity([[first]])


def test_withdrawn_content_is_found_by_nobody_and_held_by_its_holders() -> None:
    pool = BlockPool(2, 2)
    block = published(pool, 1)
    pool.share(block, BOB)
    pool.withdraw(block)
    assert pool.find(digest(1)) is None
    pool.check_integrity([[block], [block]])
    pool.release(block)
    pool.release(block)
    assert pool.available == 2
    pool.check_integrity([])


def test_a_block_is_charged_once_to_whoever_made_it_live() -> None:
    pool = BlockPool(3, 2)
    block = published(pool, 1)
    pool.share(block, BOB)
    pool.take(BOB)
    assert (pool.charged(ANN), pool.charged(BOB)) == (1, 1)
    pool.release(block)
    assert pool.charged(ANN) == 1
    pool.release(block)
    pool.share(block, BOB)
    assert (pool.charged(ANN), pool.charged(BOB)) == (0, 2)


def test_blocks_for_counts_a_begun_block() -> None:
    pool = BlockPool(9, 4)
    assert [pool.blocks_for(n) for n in (0, 1, 4, 5, 8)] == [0, 1, 1, 2, 2]


def test_refuses_what_would_corrupt_the_books() -> None:
    pool = BlockPool(2, 2)
    block = pool.take(ANN)
    with pytest.raises(ValueError, match="no cached content"):
        pool.share(block, BOB)
    pool.publish(block, digest(1))
    with pytest.raises(ValueError, match="other cached content"):
        pool.publish(block, digest(2))
    pool.release(block)
    for broken in (
        lambda: pool.release(block),
        lambda: pool.publish(block, digest(3)),
        lambda: pool.withdraw(block),
    ):
        with pytest.raises(ValueError, match=f"block {block}"):
            broken()
    pool.check_integrity([])


@pytest.mark.parametrize(("count", "size"), [(0, 4), (4, 0), (-1, 1)])
def test_an_impossible_pool_is_refused(count: int, size: int) -> None:
    with pytest.raises(ValueError, match="holds nothing"):
        BlockPool(count, size)


def test_integrity_finds_a_leak_and_a_holder_without_a_reference() -> None:
    pool = BlockPool(2, 2)
    block = pool.take(ANN)
    with pytest.raises(AssertionError, match="references"):
        pool.check_integrity([])
    with pytest.raises(AssertionError, match="references"):
        pool.check_integrity([[block], [block]])
