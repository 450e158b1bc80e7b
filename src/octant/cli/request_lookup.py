"""Request lookup: the settled request that an id, or a unique start of one, names."""

from typing import TYPE_CHECKING

from octant.cli.hints import hint
from octant.cli.local_store import LocalStore, not_found
from octant.core.ids import RequestId
from octant.ports.store import RequestFilter

if TYPE_CHECKING:
    from octant.core.outcome import Outcome

# A start of an id is looked for among the newest requests only.
_RECENT = 1_000


async def find_outcome(local: LocalStore, named: str) -> "Outcome":
    """Raises Failed(NOT_FOUND) when nothing, or more than one request, is named so."""
    outcome = await local.store.outcome(RequestId(named))
    if outcome is not None:
        return outcome
    recent = await local.store.outcomes(RequestFilter(limit=_RECENT))
    matches = [each for each in recent if each.request_id.startswith(named)]
    if len(matches) == 1:
        return matches[0]
    found = "several requests" if matches else "no request"
    listing = hint("trace list", local.data_dir)
    raise not_found(f"`{named}` names {found}. `{listing}` shows their ids.")
