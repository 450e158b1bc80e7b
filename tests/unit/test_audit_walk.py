"""The walk along the audit chain names the first place that is wrong, and what is wrong with it."""

from collections.abc import Sequence

import msgspec
import pytest

from octant.core.audit import (
    GENESIS,
    AuditRecord,
    ChainedAudit,
    ChainFlaw,
    ChainHead,
    chain_digest,
    next_head,
)
from octant.core.audit_walk import Break, Walk, walk
from octant.core.record import encode
from tests.support.settlements import audited

LENGTH = 10


def chained(length: int = LENGTH, *, first: int = 0) -> list[ChainedAudit]:
    """A sound chain of records that differ."""
    head, links = ChainHead(), list[ChainedAudit]()
    for number in range(length):
        encoded = encode(audited("keys.create", at_unix_ns=first + number))
        previous, head = head, next_head(head, encoded)
        links.append(
            ChainedAudit(
                seq=head.seq, encoded=encoded, previous=previous.digest, digest=head.digest
            )
        )
    return links


async def follow(links: list[ChainedAudit], *, page: int = 3, noted: str | None = None) -> Walk:
    async def read(after_seq: int, limit: int) -> Sequence[ChainedAudit]:
        return [link for link in links if after_seq < 0 or link.seq > after_seq][:limit]

    return await walk(read, page, noted)


def changed(links: list[ChainedAudit], seq: int, **changes: object) -> list[ChainedAudit]:
    return [msgspec.structs.replace(e, **changes) if e.seq == seq else e for e in links]


@pytest.mark.parametrize("page", [1, 3, 10, 11])
async def test_a_sound_chain_is_followed_to_its_end(page: int) -> None:
    links = chained()
    found = await follow(links, page=page)
    assert found == Walk(LENGTH, ChainHead(LENGTH, links[-1].digest), None, None)


async def test_no_record_is_a_sound_chain() -> None:
    assert await follow([]) == Walk(0, ChainHead(), None, None)


async def test_the_rule_of_the_digest_is_fixed() -> None:
    assert chain_digest(GENESIS, 1, b"{}") == (
        "sha256:b7866c581c50ea550e046e5f465eb46b834d48d8d8caaad4e273fc2775aa73c0"
    )


async def test_a_changed_record_is_named() -> None:
    links = chained()
    forged = links[4].encoded.replace(b"alice", b"mallory").replace(b"allowed", b"refused")
    found = await follow(changed(links, 5, encoded=forged))
    assert found.broken == Break(5, ChainFlaw.CHANGED)
    assert found.head == ChainHead(4, links[3].digest)


async def test_a_record_that_is_found_under_another_name_is_changed() -> None:
    found = await follow(changed(chained(), 5, filed=False))
    assert found.broken == Break(5, ChainFlaw.CHANGED)


async def test_a_missing_record_is_named() -> None:
    links = chained()
    assert (await follow(links[1:])).broken == Break(1, ChainFlaw.MISSING)
    assert (await follow(links[:4] + links[6:])).broken == Break(5, ChainFlaw.MISSING)


async def test_a_record_in_a_place_that_was_never_given_out_is_named() -> None:
    links = chained()
    for seq in (0, -3):
        added = msgspec.structs.replace(links[0], seq=seq)
        assert (await follow([added, *links])).broken == Break(seq, ChainFlaw.ADDED)


async def test_swapped_records_are_named_with_their_places() -> None:
    links = chained()
    whole = [*links]
    whole[2], whole[7] = (
        msgspec.structs.replace(links[7], seq=3),
        msgspec.structs.replace(links[2], seq=8),
    )
    assert (await follow(whole)).broken == Break(3, ChainFlaw.SWAPPED, 8)
    records = changed(changed(links, 3, encoded=links[7].encoded), 8, encoded=links[2].encoded)
    assert (await follow(records)).broken == Break(3, ChainFlaw.SWAPPED, 8)


async def test_a_record_that_was_replaced_with_its_digest_shows_at_the_next_one() -> None:
    links = chained()
    forged = encode(audited("keys.create", decision="refused"))
    digest = chain_digest(links[4].previous, 5, forged)
    found = await follow(changed(links, 5, encoded=forged, digest=digest))
    assert found.broken == Break(6, ChainFlaw.UNLINKED)


async def test_a_head_noted_earlier_shows_a_missing_end() -> None:
    links = chained()
    noted = links[6].digest
    assert (await follow(links, noted=noted)).noted is True
    assert (await follow(links[:7], noted=noted)).noted is True
    cut = await follow(links[:6], noted=noted)
    assert (cut.broken, cut.noted) == (None, False)


async def test_a_history_written_anew_does_not_have_the_noted_head() -> None:
    found = await follow(chained(first=100), noted=chained()[-1].digest)
    assert (found.broken, found.noted) == (None, False)


async def test_the_head_of_an_empty_chain_can_be_noted() -> None:
    assert (await follow([], noted=GENESIS)).noted is True
    assert (await follow(chained(), noted=GENESIS)).noted is True


def test_a_link_gives_its_record_back() -> None:
    assert chained()[3].record == audited("keys.create", at_unix_ns=3)
    with pytest.raises(msgspec.MsgspecError):
        _ = msgspec.structs.replace(chained()[3], encoded=b"{").record
    assert isinstance(chained()[0].record, AuditRecord)
