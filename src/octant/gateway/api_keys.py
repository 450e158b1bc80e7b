"""API keys: `oct_<public prefix>_<secret>`, minted here, shown once, stored as a keyed digest.

Law: the secret exists in the caller's hands only; the store holds HMAC-SHA256 of it under the
server's pepper, found by the public prefix. A stolen store without the pepper opens nothing.
"""

import base64
import hashlib
import hmac
import re
from typing import NamedTuple

from octant.core.identity import PrincipalRole, Scope
from octant.core.ids import ActorId, KeyId, TenantId
from octant.core.limits import TenantLimits
from octant.ports.entropy import Entropy
from octant.ports.store import ApiKey

PREFIX_LENGTH = 12
SECRET_LENGTH = 52
DEFAULT_SCOPES = (Scope.INFERENCE, Scope.MODELS_READ)

_PREFIX_ENTROPY_BYTES = 10
_SECRET_ENTROPY_BYTES = 32
_SHAPE = re.compile(rf"oct_([a-z2-7]{{{PREFIX_LENGTH}}})_([a-z2-7]{{{SECRET_LENGTH}}})")


class PresentedKey(NamedTuple):
    """A key as a caller sent it, well formed and not yet verified."""

    prefix: str
    secret: str


class MintedKey(NamedTuple):
    """A new key: the record to store, and the text that is shown once and never again."""

    record: ApiKey
    plaintext: str


class KeyGrant(NamedTuple):
    """What a new key may do. `expires_unix_ns` None means that it does not expire."""

    tenant: TenantId
    actor: ActorId
    name: str
    role: PrincipalRole = PrincipalRole.SERVICE
    scopes: tuple[Scope, ...] = DEFAULT_SCOPES
    models: tuple[str, ...] = ()
    limits: TenantLimits = TenantLimits()
    expires_unix_ns: int | None = None


def mint_key(grant: KeyGrant, entropy: Entropy, pepper: bytes, now_unix_ns: int) -> MintedKey:
    """A fresh key of 256 random bits."""
    prefix = _text(entropy.bytes(_PREFIX_ENTROPY_BYTES))[:PREFIX_LENGTH]
    secret = _text(entropy.bytes(_SECRET_ENTROPY_BYTES))
    record = ApiKey(
        id=KeyId(f"key_{prefix}"),
        tenant=grant.tenant,
        actor=grant.actor,
        prefix=prefix,
        digest=key_digest(secret, pepper),
        name=grant.name,
        role=grant.role,
        scopes=grant.scopes,
        models=grant.models,
        limits=grant.limits,
        created_unix_ns=now_unix_ns,
        expires_unix_ns=grant.expires_unix_ns,
    )
    return MintedKey(record, f"oct_{prefix}_{secret}")


def parse_key(text: str) -> PresentedKey | None:
    """The parts of a well-formed key, or None; a malformed one never reaches the store."""
    shape = _SHAPE.fullmatch(text)
    return PresentedKey(*shape.groups()) if shape else None


def key_digest(secret: str, pepper: bytes) -> bytes:
    """HMAC-SHA256, 32 bytes."""
    return hmac.digest(pepper, secret.encode(), hashlib.sha256)


def _text(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=").lower()
