"""Traffic split: which release of a model a request belongs to, by weight (LC3). Pure.

Law: the draw depends on the key and the weights alone, so that a session stays on its release for
as long as the weights do; when they change, only the share that they changed by moves.
"""

import hashlib
from collections.abc import Mapping

from octant.core.envelope import RequestEnvelope
from octant.core.ids import ReleaseId

_HASH_BYTES = 8


def sticky_key(envelope: RequestEnvelope) -> str:
    """What the draw is made from: the session where there is one, else the request itself.

    Sessions of two tenants may have one name, and two models should not be drawn alike.
    """
    last = envelope.session.id if envelope.session is not None else envelope.request_id
    return "/".join((envelope.model.name, envelope.principal.tenant, last))


def draw(weights: Mapping[ReleaseId, int], key: str) -> ReleaseId | None:
    """A release by its weight; None where no release has any, so that all are equal."""
    drawable = sorted((release, weight) for release, weight in weights.items() if weight > 0)
    total = sum(weight for _, weight in drawable)
    if not total:
        return None
    hashed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:_HASH_BYTES], "big")
    point = hashed * total >> 8 * _HASH_BYTES
    for release, weight in drawable:
        if point < weight:
            return release
        point -= weight
    raise AssertionError("the point lies within the total")
