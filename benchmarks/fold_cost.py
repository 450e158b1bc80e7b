"""What observing costs: microseconds of one core for each request and each engine step.

    python -m benchmarks.fold_cost [--json]

Folds recorded-shape events into metrics through the recorder, as the server does, and folds one
request's events into a trace. Medians of 7 rounds.
"""

import argparse
import json
import time
from collections.abc import Callable
from statistics import median

from tests.support import happenings

from octant.cli import machine
from octant.core.events import EngineLoadChanged, StepExecuted
from octant.core.ids import RequestId
from octant.observability import trace
from octant.observability.metrics import Metrics
from octant.observability.recorder import EventRecorder

ROUNDS = 7
REPEATS = 2_000


def microseconds(work: Callable[[int], object]) -> float:
    """Median time of one call."""
    rounds: list[float] = []
    for _ in range(ROUNDS):
        started_s = time.perf_counter()
        for number in range(REPEATS):
            work(number)
        rounds.append((time.perf_counter() - started_s) / REPEATS * 1e6)
    return median(rounds)


def figures() -> dict[str, float]:
    """Costs by what is observed."""
    metrics = Metrics(version="bench")
    recorder = EventRecorder(metrics, max_requests=1_000, max_events_per_request=1_000)
    ids = [RequestId(f"req_{number:032x}") for number in range(64)]
    requests = {request_id: happenings.whole_request(request_id) for request_id in ids}

    def request(number: int) -> None:
        request_id = ids[number % len(ids)]
        events = requests[request_id]
        for event in events[:-1]:
            recorder.emit(event)
        recorder.take(request_id)
        recorder.emit(events[-1])

    def step(number: int) -> None:
        recorder.emit(
            StepExecuted(
                at_ns=number * 10_000_000,
                route=happenings.ROUTE.id,
                duration_ns=9_000_000,
                executor_ns=8_000_000,
                sequences=32,
                prefill_tokens=0,
                decode_tokens=32,
            )
        )
        recorder.emit(
            EngineLoadChanged(
                at_ns=number * 10_000_000,
                route=happenings.ROUTE.id,
                running=32,
                waiting=number % 7,
                kv_blocks_used=100,
                kv_blocks_total=200,
            )
        )

    return {
        "request_us": microseconds(request),
        "step_of_32_us": microseconds(step),
        "trace_us": microseconds(lambda _: trace.fold(requests[ids[0]])),
    }


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    measured = {name: round(value, 2) for name, value in figures().items()}
    record = {
        "benchmark": "fold_cost",
        "figures": measured,
        "machine": machine.facts(),
        "versions": machine.versions(),
        "commit": machine.commit(),
    }
    if parser.parse_args().json:
        print(json.dumps(record))
    else:
        for name, value in measured.items():
            print(f"{name:<16}{value:10.2f}")


if __name__ == "__main__":
    main()
