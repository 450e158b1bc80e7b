"""CostModel: what a request will take, learnt from those that finished.

Law: predicts nothing before it has seen enough, and never asks for the time. All figures are
exponentially weighted means; the model is one per admission control, its queue figures one per
profile. A later, calibrated model takes this one's place behind the same three questions.
"""

from typing import NamedTuple

from octant.core.limits import Profile
from octant.core.route import RouteLoad


class Observation(NamedTuple):
    """Where the time of one finished request went. Token counts are of work done, not of reuse."""

    profile: Profile
    queue_ns: int
    prefill_tokens: int
    prefill_ns: int
    decode_tokens: int
    decode_ns: int


class Prediction(NamedTuple):
    """From now on: until the first step, until the first token, until the last expected token."""

    queue_ns: int
    ttft_ns: int
    total_ns: int


class _Mean:
    """An exponentially weighted mean that starts as a plain one."""

    def __init__(self, smoothing: float) -> None:
        self._smoothing = smoothing
        self.value = 0.0
        self.count = 0

    def add(self, sample: float) -> None:
        self.count += 1
        self.value += (sample - self.value) * max(self._smoothing, 1 / self.count)


class CostModel:
    """Rates of prefill and decode, and how long each profile has lately waited."""

    def __init__(self, smoothing: float, min_observations: int) -> None:
        self._min = min_observations
        self._prefill_ns = _Mean(smoothing)
        self._decode_ns = _Mean(smoothing)
        self._output_tokens = _Mean(smoothing)
        self._queue_ns = {profile: _Mean(smoothing) for profile in Profile}
        self._busy_ns = {profile: _Mean(smoothing) for profile in Profile}

    def observe(self, seen: Observation) -> None:
        """Learns from one finished request; parts that did no work teach nothing."""
        self._queue_ns[seen.profile].add(seen.queue_ns)
        self._busy_ns[seen.profile].add(seen.queue_ns + seen.prefill_ns + seen.decode_ns)
        if seen.prefill_tokens > 0:
            self._prefill_ns.add(seen.prefill_ns / seen.prefill_tokens)
        if seen.decode_tokens > 0:
            self._decode_ns.add(seen.decode_ns / seen.decode_tokens)
            self._output_tokens.add(seen.decode_tokens)

    def predict(self, profile: Profile, prompt_tokens: int, load: RouteLoad) -> Prediction | None:
        """For a request that comes now, or None without enough data.

        What waits ahead costs at least its own prefill, and, once there is a queue, about what the
        profile has lately waited.
        """
        if self._prefill_ns.count < self._min:
            return None
        queue_ns = 0.0
        if load.waiting > 0:
            backlog_ns = load.waiting_tokens * self._prefill_ns.value
            queue_ns = max(backlog_ns, self._queue_ns[profile].value)
        return self._prediction(queue_ns, prompt_tokens)

    def expect(self, profile: Profile, prompt_tokens: int) -> Prediction | None:
        """What is usual for such a request at present, or None without enough data."""
        if min(self._prefill_ns.count, self._queue_ns[profile].count) < self._min:
            return None
        return self._prediction(self._queue_ns[profile].value, prompt_tokens)

    def next_release_ns(self, profile: Profile, in_flight: int) -> int | None:
        """The mean time until one of `in_flight` requests ends, or None without enough data."""
        busy = self._busy_ns[profile]
        if busy.count < self._min or in_flight <= 0:
            return None
        return round(busy.value / in_flight)

    def _prediction(self, queue_ns: float, prompt_tokens: int) -> Prediction:
        ttft_ns = queue_ns + prompt_tokens * self._prefill_ns.value
        total_ns = ttft_ns + self._output_tokens.value * self._decode_ns.value
        return Prediction(round(queue_ns), round(ttft_ns), round(total_ns))
