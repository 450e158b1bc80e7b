"""AdmissionSettings: the bounds that admission enforces on its own account.

Limits of keys and tenants are not here: they come with each envelope, from the store (GW3, GW4).
"""

from msgspec import field

from octant.core.limits import Profile, QueueLimit
from octant.core.record import Record
from octant.core.units import NS_PER_MS, NS_PER_S

DEFAULT_QUEUES = {
    Profile.INTERACTIVE: QueueLimit(max_inside=96),
    Profile.LONG_CONTEXT: QueueLimit(max_inside=20),
    Profile.BATCH: QueueLimit(max_inside=1_056),
    Profile.CRITICAL: QueueLimit(max_inside=32),
}


class AdmissionSettings(Record, frozen=True, kw_only=True):
    """Queue bounds, memory bounds and the cost model's habits.

    `smoothing` is the weight of a new observation (0 to 1), `min_observations` how many a profile
    must have before anything is predicted for it. `max_scopes` bounds the keys and tenants held in
    memory at once, `max_accounts` the money accounts; idle ones are forgotten first. A refusal that
    no limit dates tells the caller to come back within `retry_floor_ns` and `retry_ceiling_ns`.
    """

    queues: dict[Profile, QueueLimit] = field(default_factory=DEFAULT_QUEUES.copy)
    max_scopes: int = 20_000
    max_accounts: int = 10_000
    smoothing: float = 0.1
    min_observations: int = 3
    retry_floor_ns: int = 250 * NS_PER_MS
    retry_ceiling_ns: int = 60 * NS_PER_S
