"""RestartPolicy: when a failed engine is started again.

Law: the first restart is quick, each further one within the window waits twice as long, and an
engine that keeps failing is tried only rarely, as is a model that cannot be loaded: neither its
files nor the memory mend by themselves. No engine is ever given up for good.
"""

from collections import deque
from typing import NamedTuple

from octant.core.failure import Failure, FailureClass, FailureKind
from octant.core.record import Record
from octant.core.units import NS_PER_MS, NS_PER_S
from octant.ports.entropy import Entropy

_JITTER_BYTES = 4


class RestartSettings(Record, frozen=True, kw_only=True):
    """`loop_count` failures within `window_ns` are a crash loop, retried every `slow_ns`."""

    first_ns: int = 100 * NS_PER_MS
    longest_ns: int = 10 * NS_PER_S
    window_ns: int = 60 * NS_PER_S
    loop_count: int = 5
    slow_ns: int = 60 * NS_PER_S


class Restart(NamedTuple):
    """Start again after `delay_ns`; `failed` means that quick restarts are over."""

    delay_ns: int
    failed: bool


class RestartPolicy:
    """Remembers the failures of one window."""

    def __init__(self, settings: RestartSettings, entropy: Entropy) -> None:
        self._settings = settings
        self._entropy = entropy
        self._failures_ns: deque[int] = deque(maxlen=settings.loop_count)

    def after(self, failure: Failure, now_ns: int) -> Restart:
        """What to do about an engine that failed at `now_ns`."""
        settings = self._settings
        while self._failures_ns and now_ns - self._failures_ns[0] > settings.window_ns:
            self._failures_ns.popleft()
        self._failures_ns.append(now_ns)
        count = len(self._failures_ns)
        if _lasts(failure) or count >= settings.loop_count:
            return Restart(settings.slow_ns, True)
        delay_ns = min(settings.first_ns << (count - 1), settings.longest_ns)
        return Restart(self._jittered(delay_ns), False)

    def _jittered(self, delay_ns: int) -> int:
        """From half of the delay to all of it, so that engines lost together return apart."""
        draw = int.from_bytes(self._entropy.bytes(_JITTER_BYTES), "little")
        return delay_ns // 2 + (delay_ns // 2) * draw // (1 << 8 * _JITTER_BYTES)


def _lasts(failure: Failure) -> bool:
    """Whether nothing but a change from outside can mend it."""
    artifact = failure.rule.failure_class is FailureClass.ARTIFACT
    return artifact or failure.kind is FailureKind.INSUFFICIENT_MEMORY
