"""Breaker: whether what went wrong on a route lately keeps further requests from it (OR2). Pure.

    closed -> open -> half-open -> closed      open again where the probe fails, for twice as long

Law: a breaker is a value, every move gives the next one, and only attempts begun since its last
move can move it: what was under way when it opened says nothing about the route as it is now. A
half-open breaker lets one request through for each pause.
"""

from enum import Enum, auto
from typing import NamedTuple

from octant.core.route import BreakerState
from octant.core.units import NS_PER_S


class BreakerSettings(NamedTuple):
    """Opens after `failures_in_row`, or when at least `failure_share` of the last `window`
    attempts failed, all of them within `window_ns`. A pause doubles until `longest_pause_ns`.
    """

    failures_in_row: int = 5
    window: int = 20
    window_ns: int = 60 * NS_PER_S
    failure_share: float = 0.5
    first_pause_ns: int = NS_PER_S
    longest_pause_ns: int = 60 * NS_PER_S


class AttemptEnd(Enum):
    """What an attempt says about its route: NOTHING where somebody else ended it."""

    GOOD = auto()
    BAD = auto()
    NOTHING = auto()


class _Result(NamedTuple):
    at_ns: int
    bad: bool


class Breaker(NamedTuple):
    """One route's breaker. `until_ns` ends the pause of an open one and the turn of a probe.

    `pause_ns` is how long it paused last, 0 when nothing is held against the route; `epoch` counts
    its moves, and an attempt carries the one it was begun in.
    """

    state: BreakerState = BreakerState.CLOSED
    results: tuple[_Result, ...] = ()
    bad_in_row: int = 0
    pause_ns: int = 0
    until_ns: int = 0
    probing: bool = False
    epoch: int = 0
    reason: str = ""

    def admits(self, now_ns: int) -> bool:
        """Whether a request may be sent now."""
        match self.state:
            case BreakerState.CLOSED:
                return True
            case BreakerState.OPEN:
                return now_ns >= self.until_ns
            case BreakerState.HALF_OPEN:
                return not self.probing or now_ns >= self.until_ns

    def begin(self, now_ns: int) -> "Breaker":
        """An attempt begins that `admits` let through; it carries the epoch of the result."""
        if self.state is BreakerState.CLOSED:
            return self
        return self._replace(
            state=BreakerState.HALF_OPEN,
            probing=True,
            until_ns=now_ns + self.pause_ns,
            epoch=self.epoch + 1,
        )

    def answered(self, epoch: int, settings: BreakerSettings) -> "Breaker":
        """An attempt has brought its first output. A probe closes the breaker on trial: the next
        failure opens it again, unless a whole answer comes first.
        """
        if epoch != self.epoch or self.state is not BreakerState.HALF_OPEN:
            return self
        return Breaker(
            bad_in_row=settings.failures_in_row - 1,
            pause_ns=self.pause_ns,
            epoch=self.epoch + 1,
            reason="its probe is being answered",
        )

    def end(
        self, epoch: int, how: AttemptEnd, now_ns: int, settings: BreakerSettings, hold_ns: int = 0
    ) -> "Breaker":
        """An attempt has ended. `hold_ns` is for how long the route itself asks to be left alone:
        then it is, at once, as far as the longest pause allows.
        """
        if epoch != self.epoch or self.state is BreakerState.OPEN:
            return self
        if self.state is BreakerState.CLOSED:
            return self._counted(how, now_ns, settings, hold_ns)
        match how:
            case AttemptEnd.GOOD:
                return Breaker(epoch=self.epoch + 1, reason="its probe was answered")
            case AttemptEnd.BAD:
                return self._opened("its probe failed", now_ns, settings, hold_ns)
            case AttemptEnd.NOTHING:
                return self._replace(probing=False, epoch=self.epoch + 1)

    def _counted(
        self, how: AttemptEnd, now_ns: int, settings: BreakerSettings, hold_ns: int
    ) -> "Breaker":
        if how is AttemptEnd.NOTHING:
            return self
        bad = how is AttemptEnd.BAD
        recent = (*self.results, _Result(now_ns, bad))[-settings.window :]
        counted = self._replace(
            results=tuple(r for r in recent if now_ns - r.at_ns <= settings.window_ns),
            bad_in_row=self.bad_in_row + 1 if bad else 0,
            pause_ns=self.pause_ns if bad else 0,
        )
        reason = counted._too_many(settings) if bad else ""
        if bad and not reason and hold_ns:
            reason = "it asked to be left alone"
        return counted._opened(reason, now_ns, settings, hold_ns) if reason else counted

    def _too_many(self, settings: BreakerSettings) -> str:
        """Why it has to open, or nothing."""
        if self.bad_in_row >= settings.failures_in_row:
            return f"{self.bad_in_row} failures in a row"
        failures = sum(result.bad for result in self.results)
        full = len(self.results) == settings.window
        if full and failures >= settings.failure_share * settings.window:
            return f"{failures} of the last {settings.window} attempts failed"
        return ""

    def _opened(
        self, reason: str, now_ns: int, settings: BreakerSettings, hold_ns: int
    ) -> "Breaker":
        doubled = 2 * self.pause_ns or settings.first_pause_ns
        pause_ns = min(max(doubled, hold_ns), settings.longest_pause_ns)
        return Breaker(
            state=BreakerState.OPEN,
            pause_ns=pause_ns,
            until_ns=now_ns + pause_ns,
            epoch=self.epoch + 1,
            reason=reason,
        )

    def check_integrity(self, settings: BreakerSettings) -> None:
        """Raises AssertionError when the state contradicts itself."""
        assert len(self.results) <= settings.window
        assert self.pause_ns <= settings.longest_pause_ns
        if self.state is BreakerState.CLOSED:
            assert self.bad_in_row < settings.failures_in_row
            assert not self.probing
        else:
            assert self.pause_ns > 0
            assert not self.results
        assert self.state is BreakerState.HALF_OPEN or not self.probing
