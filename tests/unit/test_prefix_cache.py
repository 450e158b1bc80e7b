"""Prefix sharing: what one sequence computed, another of the same salt and beginning finds."""

import pytest

from octant.context.kv.block_pool import BlockPool
from octant.context.kv.block_table import BlockTable
from octant.context.kv.prefix_cache import DIGEST_BYTES, PrefixCache, chain_digest, root_digest
from octant.core.ids import TenantId

ANN, BOB = TenantId("ann"), TenantId("bob")
SIZE = 4
TEXT = list(range(100, 111))


def table_of(pool: BlockPool, salt: str = "ann/") -> BlockTable:
    return BlockTable(pool, ANN, salt)


def computed(pool: BlockPool, tokens: list[int], salt: str = "ann/") -> BlockTable:
    table = table_of(pool, salt)
    table.attach(table.fit(tokens))
    table.publish(tokens, len(tokens))
    return table


def shared_count(pool: BlockPool, tokens: list[int], salt: str = "ann/") -> int:
    return len(table_of(pool, salt).fit(tokens).shared)


def test_a_digest_names_salt_past_and_tokens() -> None:
    root = root_digest("ann/")
    first = chain_digest(root, (1, 2))
    digests = {
        root,
        root_digest("bob/"),
        first,
        chain_digest(root_digest("bob/"), (1, 2)),
        chain_digest(root, (2, 1)),
        chain_digest(first, (1, 2)),
        chain_digest(root, (1, 2 + (1 << 32))),
    }
    assert len(digests) == 7
    assert {len(digest) for digest in digests} == {DIGEST_BYTES}
    assert chain_digest(root_digest("ann/"), [1, 2]) == first


def test_no_salt_spells_another_ones_prefix() -> None:
    root = root_digest("ann/")
    tail = (1).to_bytes(8, "little").decode("latin-1")
    assert root_digest(root.decode("latin-1") + tail) != chain_digest(root, (1,))


def test_a_salt_need_not_be_valid_unicode() -> None:
    assert root_digest("\ud800") != root_digest("\ud801")


def test_full_blocks_are_shared_and_partial_ones_are_not() -> None:
    pool = BlockPool(8, SIZE)
    first = computed(pool, TEXT)
    second = table_of(pool)
    assert second.attach(second.fit(TEXT)) == 2 * SIZE
    assert second.blocks[:2] == first.blocks[:2]
    assert second.blocks[2] != first.blocks[2]
    second.check_integrity(2 * SIZE)
    pool.check_integrity([first.blocks, second.blocks])


@pytest.mark.parametrize(("length", "shared"), [(4, 0), (5, 1), (8, 1), (9, 2), (11, 2)])
def test_the_last_token_is_always_computed(length: int, shared: int) -> None:
    pool = BlockPool(8, SIZE)
    computed(pool, TEXT)
    assert shared_count(pool, TEXT[:length]) == shared


def test_sharing_ends_where_the_texts_part() -> None:
    pool = BlockPool(8, SIZE)
    computed(pool, TEXT)
    assert shared_count(pool, [*TEXT[:4], 7, *TEXT[5:]]) == 1
    assert shared_count(pool, [7, *TEXT[1:]]) == 0


def test_another_salt_finds_nothing() -> None:
    pool = BlockPool(8, SIZE)
    computed(pool, TEXT)
    assert shared_count(pool, TEXT, "bob/") == 0


def test_only_what_was_computed_is_found() -> None:
    pool = BlockPool(8, SIZE)
    table = table_of(pool)
    table.attach(table.fit(TEXT))
    assert shared_count(pool, TEXT) == 0
    table.publish(TEXT, 2 * SIZE - 1)
    assert shared_count(pool, TEXT) == 1
    table.publish(TEXT, 2 * SIZE)
    assert shared_count(pool, TEXT) == 2


def test_generated_blocks_are_found_by_the_next_turn() -> None:
    pool = BlockPool(8, SIZE)
    tokens = TEXT[:3]
    table = table_of(pool)
    table.attach(table.fit(tokens))
    for token in (1, 2, 3, 4, 5):
        tokens.append(token)
        if not table.holds(len(tokens)):
            table.grow()
        table.publish(tokens, len(tokens))
    table.release()
    assert shared_count(pool, [*tokens, 9, 9]) == 2


def test_the_end_of_a_prefix_is_evicted_before_its_beginning() -> None:
    pool = BlockPool(3, SIZE)
    computed(pool, TEXT).release()
    pool.take(BOB)
    pool.take(BOB)
    assert shared_count(pool, TEXT) == 1


def test_a_fit_counts_idle_blocks_as_needed() -> None:
    pool = BlockPool(4, SIZE)
    first = computed(pool, TEXT)
    assert table_of(pool).fit(TEXT).needed == 1
    first.release()
    fit = table_of(pool).fit(TEXT)
    assert (len(fit.shared), fit.fresh, fit.needed) == (2, 1, 3)


def test_attaching_never_evicts_what_it_shares() -> None:
    pool = BlockPool(3, SIZE)
    computed(pool, TEXT).release()
    table = table_of(pool)
    table.attach(table.fit(TEXT))
    assert len(set(table.blocks)) == 3
    pool.check_integrity([table.blocks])


def test_exclusive_blocks_are_what_a_release_makes_available() -> None:
    pool = BlockPool(8, SIZE)
    first = computed(pool, TEXT)
    second = table_of(pool)
    second.attach(second.fit(TEXT))
    assert second.exclusive_count(frozenset()) == 1
    assert second.exclusive_count(frozenset(second.blocks)) == 0
    assert second.release() == 1
    assert first.release() == 3
    assert first.release() == 0


def test_a_withdrawn_prefix_is_computed_anew() -> None:
    pool = BlockPool(8, SIZE)
    table = computed(pool, TEXT)
    table.withdraw()
    table.release()
    assert shared_count(pool, TEXT) == 0
    computed(pool, TEXT)
    assert shared_count(pool, TEXT) == 2


def test_the_cache_refuses_two_contents_in_one_block() -> None:
    cache = PrefixCache()
    assert cache.insert(b"one", 1)
    assert not cache.insert(b"one", 2)
    with pytest.raises(ValueError, match="block 1"):
        cache.insert(b"two", 1)
    with pytest.raises(KeyError):
        cache.evict()
    cache.check_integrity()
