"""10,000 random workloads: no starvation, no block leaked or shared wrongly, deadlines honoured,
and the same seed gives the same decisions.

The scheduler and the block pool are the real ones; only time and the model are not. The modelled
executor checks every block before it is used, the run checks the books whenever they have changed
and that nothing is left at the end, and the promises are read off the log.
"""

import hashlib
import os
import subprocess
import sys
from collections import Counter

import pytest

from octant.compute.token_scheduler import Preempted, Scheduled
from octant.simulation.run import Ending, Report, simulate
from octant.simulation.workload import random_workload
from tests.support.scheduler_promises import check_promises

WORKLOADS = 10_000
SHARE = 500


@pytest.mark.parametrize("first_seed", range(0, WORKLOADS, SHARE))
def test_workloads_end_as_promised(first_seed: int) -> None:
    seen: Counter[str] = Counter()
    for seed in range(first_seed, first_seed + SHARE):
        workload = random_workload(seed)
        try:
            report = simulate(workload)
            check_promises(workload, report)
            again = simulate(random_workload(seed), audit=False)
        except AssertionError as error:
            raise AssertionError(f"workload {seed}: {error}") from error
        assert again == report, f"workload {seed} was decided differently the second time"
        seen += _what_happened(report)
    rare = {kind: seen[kind] for kind in _KINDS if seen[kind] < 20}
    assert not rare, f"the workloads hardly tested these, so they prove little: {rare}"


def test_decisions_do_not_depend_on_the_process() -> None:
    script = (
        "from tests.simulation.test_scheduler_workloads import digest_of_decisions;"
        "print(digest_of_decisions(100))"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for hash_seed in ("1", "2")
    }
    assert digests == {digest_of_decisions(100)}


def digest_of_decisions(workloads: int) -> str:
    digest = hashlib.sha256()
    for seed in range(workloads):
        digest.update(repr(simulate(random_workload(seed), audit=False)).encode())
    return digest.hexdigest()


_KINDS = (
    *Ending,
    "started from cache",
    "preempted by growth",
    "displaced by a newcomer",
    "several prefills in a step",
)


def _what_happened(report: Report) -> Counter[str]:
    seen: Counter[str] = Counter(report.endings.values())
    for decision in report.decisions:
        if decision.step is not None:
            prefills = sum(len(piece.tokens) > 1 for piece in decision.step.slices)
            seen["several prefills in a step"] += prefills > 1
        started = [event for event in decision.events if isinstance(event, Scheduled)]
        preempted = sum(isinstance(event, Preempted) for event in decision.events)
        seen["started from cache"] += sum(event.cached_tokens > 0 for event in started)
        seen["displaced by a newcomer" if started else "preempted by growth"] += preempted
    return seen
