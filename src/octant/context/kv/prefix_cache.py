"""Prefix cache: which block holds which content, and which cached blocks nobody uses now.

Law: a digest names a whole prefix: the salt, every token before the block and the block's own
tokens. Equal digests therefore mean equal keys and values, and content under one salt is
unreachable from another. Only full blocks get here: a partly filled block of a quantised cache
changes when it is appended to, so it is never shared. One block per digest, one digest per block.
"""

import struct
from collections.abc import Sequence
from hashlib import blake2b

DIGEST_BYTES = 16


def root_digest(salt: str) -> bytes:
    """The parent of the first block of every prefix under `salt`."""
    # `person` keeps roots apart from chain digests, so no salt can spell another's prefix.
    data = salt.encode("utf-8", "surrogatepass")
    return blake2b(data, digest_size=DIGEST_BYTES, person=b"octant-kv-root").digest()


def chain_digest(parent: bytes, tokens: Sequence[int]) -> bytes:
    """The digest of a full block of `tokens` that continues the prefix `parent`."""
    data = struct.pack(f"<{len(tokens)}q", *tokens)
    return blake2b(parent + data, digest_size=DIGEST_BYTES).digest()


class PrefixCache:
    """Digest to block and back, with the idle blocks in the order in which to evict them."""

    def __init__(self) -> None:
        self._block_of: dict[bytes, int] = {}
        self._digest_of: dict[int, bytes] = {}
        self._idle: dict[int, None] = {}

    @property
    def idle_count(self) -> int:
        """Cached blocks that no sequence holds."""
        return len(self._idle)

    def idle(self) -> tuple[int, ...]:
        """Those blocks, the one to evict next first."""
        return tuple(self._idle)

    def find(self, digest: bytes) -> int | None:
        """The block that holds this prefix's last block, if any does."""
        return self._block_of.get(digest)

    def holds(self, block: int) -> bool:
        """Whether the block's content can be found."""
        return block in self._digest_of

    def is_idle(self, block: int) -> bool:
        """Whether the block is cached and held by nobody."""
        return block in self._idle

    def insert(self, digest: bytes, block: int) -> bool:
        """Makes a live block's content findable; False when the digest already has a block.

        Two sequences that compute one prefix at once end there: the second keeps its copy private.
        Raises ValueError when the block is already known under another digest.
        """
        if digest in self._block_of:
            return False
        if block in self._digest_of:
            raise ValueError(f"block {block} already holds other cached content")
        self._block_of[digest] = block
        self._digest_of[block] = digest
        return True

    def withdraw(self, block: int) -> None:
        """Makes a live block's content unfindable; nothing to do when it is not cached."""
        digest = self._digest_of.pop(block, None)
        if digest is not None:
            del self._block_of[digest]

    def rest(self, block: int) -> None:
        """The last holder let go of a cached block: it is the last to be evicted from now on."""
        self._idle[block] = None

    def wake(self, block: int) -> None:
        """An idle block is held again."""
        del self._idle[block]

    def evict(self) -> int:
        """Forgets the block that has been idle longest and returns it. KeyError when none is."""
        block = next(iter(self._idle), None)
        if block is None:
            raise KeyError("no cached block is idle")
        del self._idle[block]
        del self._block_of[self._digest_of.pop(block)]
        return block

    def check_integrity(self) -> None:
        """Raises AssertionError with the fact that is wrong."""
        inverse = {block: digest for digest, block in self._block_of.items()}
        assert inverse == self._digest_of, "digests and blocks of the prefix cache disagree"
        strangers = self._idle.keys() - self._digest_of.keys()
        assert not strangers, f"idle blocks {sorted(strangers)} hold nothing cached"
