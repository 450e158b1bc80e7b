"""Quantities: integers whose name carries their unit.

Money is nano-USD, memory is bytes, time is nanoseconds. Two kinds of instant exist and never mix:
`*_ns` counts on the monotonic clock (durations, deadlines, ordering), `*_unix_ns` is wall-clock
time for people and records.
"""

from typing import NewType

NanoUsd = NewType("NanoUsd", int)

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
NANO_USD_PER_USD = 1_000_000_000


def ns_from_s(seconds: float) -> int:
    """Nanoseconds, rounded to the nearest; `seconds` may be negative."""
    return round(seconds * NS_PER_S)


def s_from_ns(duration_ns: int) -> float:
    """Seconds as a float, for display and for histograms."""
    return duration_ns / NS_PER_S


def ms_from_ns(duration_ns: int) -> float:
    """Milliseconds as a float, for display and headers."""
    return duration_ns / NS_PER_MS
