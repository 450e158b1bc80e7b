"""Accounts: money of one tenant in one month, reserved before work and charged after it.

Law: `reserved + spent + free == limit` at every instant, and reserving never takes more than is
free. An account that no running request holds may be forgotten; what it knew is in the store.
"""

from collections import OrderedDict
from typing import NamedTuple

from octant.core.ids import TenantId
from octant.core.units import NanoUsd

_EVICTION_PROBES = 16


class AccountKey(NamedTuple):
    """A tenant in a month written `YYYY-MM`."""

    tenant: TenantId
    month: str


class Account:
    """What a tenant has spent and what its running requests may still spend, in nano-USD."""

    def __init__(self, spent: int) -> None:
        self.spent = spent
        self.reserved = 0
        self.holders = 0

    def free(self, limit: int) -> int:
        """What can still be reserved; negative when more was charged than reserved."""
        return limit - self.reserved - self.spent


class Accounts:
    """The accounts in memory, at most `max_accounts` of them."""

    def __init__(self, max_accounts: int) -> None:
        self._max = max_accounts
        self._open: OrderedDict[AccountKey, Account] = OrderedDict()

    def __contains__(self, key: AccountKey) -> bool:
        return key in self._open

    def __len__(self) -> int:
        return len(self._open)

    def get(self, key: AccountKey) -> Account | None:
        """The open account, which becomes the last to be forgotten."""
        account = self._open.get(key)
        if account is not None:
            self._open.move_to_end(key)
        return account

    def open(self, key: AccountKey, spent: NanoUsd) -> bool:
        """Opens an account; one that is open already knows better and stays as it is.

        False when there is no room and the accounts longest unused are all held.
        """
        if key in self._open:
            return True
        if len(self._open) >= self._max and not self._forget_one():
            return False
        self._open[key] = Account(spent)
        return True

    def reserve(self, key: AccountKey, amount: int) -> None:
        """Sets `amount` aside; the caller has found that it is free."""
        account = self._open[key]
        account.reserved += amount
        account.holders += 1

    def charge(self, key: AccountKey, reserved: int, spent: int) -> None:
        """Releases what was reserved and charges what was spent instead."""
        account = self._open[key]
        account.reserved -= reserved
        account.spent += spent
        account.holders -= 1

    def check_integrity(self, held: dict[AccountKey, list[int]]) -> None:
        """Raises AssertionError unless exactly the reservations in `held` are set aside."""
        assert len(self._open) <= self._max, "more accounts than the bound"
        for key, account in self._open.items():
            amounts = held.get(key, [])
            assert account.spent >= 0, f"{key} has spent a negative amount"
            assert account.reserved == sum(amounts), f"{key} reserves what nobody holds"
            assert account.holders == len(amounts), f"{key} miscounts its holders"
        assert held.keys() <= self._open.keys(), "a reservation has lost its account"

    def _forget_one(self) -> bool:
        """Held accounts met on the way count as used, so they never hide idle ones for long."""
        for _ in range(min(_EVICTION_PROBES, len(self._open))):
            key = next(iter(self._open))
            if self._open[key].holders == 0:
                del self._open[key]
                return True
            self._open.move_to_end(key)
        return False
