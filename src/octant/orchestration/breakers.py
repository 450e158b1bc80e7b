"""Breakers: the breaker of every route, and the events that say when one moves.

Law: one attempt gives its breaker one result, through the `Turn` it was begun with. A route whose
provider says itself that it is not ready is not judged here: its breaker starts anew, because what
makes such a route ready again has tested it.
"""

from typing import NamedTuple

from octant.core.events import BreakerChanged
from octant.core.failure import Failure, FailureKind
from octant.core.ids import RouteId
from octant.core.route import BreakerState
from octant.core.stream import Broken, Completed, Started, StreamItem
from octant.orchestration.breaker import AttemptEnd, Breaker, BreakerSettings
from octant.ports.sink import EventSink

DEFAULT_SETTINGS = BreakerSettings()
_NEW = Breaker()


class Shut(NamedTuple):
    """Why a route takes nothing now, and for how much longer."""

    reason: str
    retry_after_ns: int


class Turn(NamedTuple):
    """What an attempt was begun with."""

    route: RouteId
    epoch: int


class Trial:
    """One attempt as its breaker sees it. Give it every item, and `close` it however it ended."""

    def __init__(self, breakers: "Breakers", route: RouteId, now_ns: int) -> None:
        self._breakers = breakers
        self._turn = breakers.begin(route, now_ns)
        self._answered = False
        self._over = False

    def see(self, item: StreamItem, now_ns: int) -> None:
        """Takes one more item of the provider into account."""
        match item:
            case Started():
                pass
            case Completed():
                self._over = True
                self._breakers.completed(self._turn, now_ns)
            case Broken():
                self._over = True
                self._breakers.failed(self._turn, item.failure, now_ns)
            case _ if not self._answered:
                self._answered = True
                self._turn = self._breakers.answered(self._turn, now_ns)
            case _:
                pass

    def close(self, now_ns: int) -> None:
        """Without a terminal item it was ended from outside, which says nothing of the route."""
        if not self._over:
            self._over = True
            self._breakers.abandoned(self._turn, now_ns)


class Breakers:
    """One breaker for each route that was ever sent anything, until it is forgotten."""

    def __init__(self, events: EventSink, settings: BreakerSettings = DEFAULT_SETTINGS) -> None:
        self._events = events
        self._settings = settings
        self._breakers: dict[RouteId, Breaker] = {}

    def state(self, route: RouteId) -> BreakerState:
        """Closed for a route of which nothing is known."""
        return self._of(route).state

    def shut(self, route: RouteId, now_ns: int) -> Shut | None:
        """Why nothing may be sent there now; None when it may."""
        breaker = self._of(route)
        if breaker.admits(now_ns):
            return None
        return Shut(breaker.reason, max(breaker.until_ns - now_ns, 0))

    def begin(self, route: RouteId, now_ns: int) -> Turn:
        """An attempt begins on a route that is not shut."""
        begun = self._of(route).begin(now_ns)
        self._put(route, begun, now_ns)
        return Turn(route, begun.epoch)

    def answered(self, turn: Turn, now_ns: int) -> Turn:
        """Its first output is here; the turn to end it with."""
        known = self._of(turn.route)
        breaker = known.answered(turn.epoch, self._settings)
        if breaker is known:
            return turn
        self._put(turn.route, breaker, now_ns)
        return Turn(turn.route, breaker.epoch)

    def completed(self, turn: Turn, now_ns: int) -> None:
        """The attempt was answered to its end."""
        self._move(turn, now_ns, AttemptEnd.GOOD)

    def failed(self, turn: Turn, failure: Failure, now_ns: int) -> None:
        """The attempt failed; the failure's rule says whether that is held against the route."""
        how = AttemptEnd.BAD if failure.rule.breaker else AttemptEnd.NOTHING
        hold_ns = failure.retry_after_ns if failure.kind is FailureKind.UPSTREAM_BUSY else None
        self._move(turn, now_ns, how, hold_ns or 0)

    def abandoned(self, turn: Turn, now_ns: int) -> None:
        """The attempt was ended from outside."""
        self._move(turn, now_ns, AttemptEnd.NOTHING)

    def renew(self, route: RouteId, now_ns: int) -> None:
        """The provider vouches for itself from here on."""
        if route in self._breakers and self._breakers[route] != _NEW:
            known = self._breakers[route]
            self._put(route, Breaker(epoch=known.epoch + 1, reason="the route was down"), now_ns)

    def forget(self, route: RouteId) -> None:
        """The route is served no more."""
        self._breakers.pop(route, None)

    def check_integrity(self) -> None:
        """Raises AssertionError when a breaker contradicts itself."""
        for breaker in self._breakers.values():
            breaker.check_integrity(self._settings)

    def _move(self, turn: Turn, now_ns: int, how: AttemptEnd, hold_ns: int = 0) -> None:
        if turn.route not in self._breakers:
            return
        ended = self._of(turn.route).end(turn.epoch, how, now_ns, self._settings, hold_ns)
        self._put(turn.route, ended, now_ns)

    def _of(self, route: RouteId) -> Breaker:
        return self._breakers.get(route, _NEW)

    def _put(self, route: RouteId, breaker: Breaker, now_ns: int) -> None:
        before = self._breakers.get(route)
        self._breakers[route] = breaker
        if before is None or before.state is not breaker.state:
            self._events.emit(
                BreakerChanged(
                    at_ns=now_ns,
                    route=route,
                    state=breaker.state,
                    reason=breaker.reason,
                    pause_ns=breaker.pause_ns,
                )
            )
