"""CostModel: what a request will take, learnt from those that finished.

Law: predicts nothing before it has seen enough, and never asks for the time. Newer requests count
exponentially more; the model is one per admission control, its queue figures one per profile. A
later, calibrated model takes this one's place behind the same three questions.
"""

from typing import NamedTuple

from octant.compute.ranking import steps_below_critical
from octant.core.limits import Profile
from octant.core.route import RouteLoad

# So many tokens of a prompt take about as long as all else that shares their step: 71 to 326 ms at
# 2.1 ms a token.
_TOKENS_LIKE_A_STEP = 64


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


class _PrefillCost:
    """What a prefill takes: a part that its steps take anyway, and a part for each token.

    A sample corrects both parts by their shares in it (normalised least mean squares), so that a
    few tokens in a long step, as cached prompts leave, hardly change what a token costs.
    """

    def __init__(self, smoothing: float) -> None:
        self._smoothing = smoothing
        self._fixed_ns = 0.0
        self._step_like_ns = 0.0
        self.count = 0

    def add(self, tokens: int, spent_ns: int) -> None:
        self.count += 1
        size = tokens / _TOKENS_LIKE_A_STEP
        missed_ns = spent_ns - self.prompt_ns(tokens)
        correction_ns = max(self._smoothing, 1 / self.count) * missed_ns / (1 + size * size)
        self._fixed_ns = max(0.0, self._fixed_ns + correction_ns)
        self._step_like_ns = max(0.0, self._step_like_ns + correction_ns * size)

    def prompt_ns(self, tokens: int) -> float:
        """For one prompt on its own."""
        return self._fixed_ns + self.backlog_ns(tokens)

    def backlog_ns(self, tokens: int) -> float:
        """For tokens of many prompts, which share their steps."""
        return tokens / _TOKENS_LIKE_A_STEP * self._step_like_ns


class CostModel:
    """Costs of prefill and decode, and how long each profile has lately waited."""

    def __init__(self, smoothing: float, min_observations: int) -> None:
        self._min = min_observations
        self._prefill = _PrefillCost(smoothing)
        self._decode_ns = _Mean(smoothing)
        self._output_tokens = _Mean(smoothing)
        self._queue_ns = {profile: _Mean(smoothing) for profile in Profile}
        self._busy_ns = {profile: _Mean(smoothing) for profile in Profile}

    def observe(self, seen: Observation) -> None:
        """Learns from one finished request; parts that did no work teach nothing."""
        self._queue_ns[seen.profile].add(seen.queue_ns)
        self._busy_ns[seen.profile].add(seen.queue_ns + seen.prefill_ns + seen.decode_ns)
        if seen.prefill_tokens > 0:
            self._prefill.add(seen.prefill_tokens, seen.prefill_ns)
        if seen.decode_tokens > 0:
            self._decode_ns.add(seen.decode_ns / seen.decode_tokens)
            self._output_tokens.add(seen.decode_tokens)

    def predict(self, profile: Profile, prompt_tokens: int, load: RouteLoad) -> Prediction | None:
        """For a request that comes now, or None without enough data.

        What waits ahead, which lower profiles do not, costs at least its own prefill, and about
        what the profile has lately waited.
        """
        if self._prefill.count < self._min:
            return None
        queue_ns = 0.0
        ahead_tokens = _tokens_ahead(profile, load)
        if ahead_tokens > 0:
            queue_ns = max(self._prefill.backlog_ns(ahead_tokens), self._queue_ns[profile].value)
        return self._prediction(queue_ns, prompt_tokens)

    def expect(self, profile: Profile, prompt_tokens: int) -> Prediction | None:
        """What is usual for such a request at present, or None without enough data."""
        if min(self._prefill.count, self._queue_ns[profile].count) < self._min:
            return None
        return self._prediction(self._queue_ns[profile].value, prompt_tokens)

    def next_release_ns(self, profile: Profile, in_flight: int) -> int | None:
        """The mean time until one of `in_flight` requests ends, or None without enough data."""
        busy = self._busy_ns[profile]
        if busy.count < self._min or in_flight <= 0:
            return None
        return round(busy.value / in_flight)

    def _prediction(self, queue_ns: float, prompt_tokens: int) -> Prediction:
        ttft_ns = queue_ns + self._prefill.prompt_ns(prompt_tokens)
        total_ns = ttft_ns + self._output_tokens.value * self._decode_ns.value
        return Prediction(round(queue_ns), round(ttft_ns), round(total_ns))


def _tokens_ahead(profile: Profile, load: RouteLoad) -> int:
    steps = steps_below_critical(profile)
    waiting = load.waiting_tokens_by_profile.items()
    return sum(tokens for other, tokens in waiting if steps_below_critical(other) <= steps)
