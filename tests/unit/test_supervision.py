"""The pure parts of supervision: when an engine hangs, and when it is started again."""

from octant.core.failure import Failure, FailureKind
from octant.core.stage import Stage
from octant.serving.restart_policy import RestartPolicy, RestartSettings
from octant.serving.stall_watch import StallWatch
from tests.support.engine_parts import FixedEntropy

LOST = Failure(kind=FailureKind.ENGINE_LOST, stage=Stage.DECODE, message="lost")
CORRUPT = Failure(kind=FailureKind.CORRUPT_ARTIFACT, stage=Stage.LOAD, message="corrupt")
SETTINGS = RestartSettings(first_ns=100, longest_ns=500, window_ns=10_000, loop_count=5, slow_ns=9)


def watch() -> StallWatch:
    return StallWatch(stall_ns=100, tick_ns=10, now_ns=0)


def test_silence_is_a_hang() -> None:
    stalls = watch()
    assert [stalls.tick(now, 0) is None for now in range(10, 110, 10)] == [True] * 9 + [False]


def test_steps_without_end_are_no_hang() -> None:
    stalls = watch()
    for now in range(10, 1000, 10):
        stalls.heard(now)
        assert stalls.tick(now, 3) is None


def test_words_without_a_step_are_a_hang_while_work_waits() -> None:
    stalls = watch()
    reasons = []
    for now in range(10, 110, 10):
        stalls.heard(0)
        reasons.append(stalls.tick(now, 1))
    assert reasons[:-1] == [None] * 9
    assert reasons[-1] is not None and "1 request" in reasons[-1]


def test_an_idle_engine_need_not_step() -> None:
    stalls = watch()
    for now in range(10, 500, 10):
        stalls.heard(0)
        assert stalls.tick(now, 0) is None
    stalls.heard(0)
    assert stalls.tick(510, 1) is None, "waiting begins when there is work"


def test_time_in_which_the_server_itself_stood_still_does_not_count() -> None:
    stalls = watch()
    assert stalls.tick(10, 1) is None
    assert stalls.tick(1_000_000, 1) is None


def test_restarts_wait_longer_each_time_and_become_rare() -> None:
    policy = RestartPolicy(SETTINGS, FixedEntropy())
    restarts = [policy.after(LOST, now) for now in range(6)]
    assert [restart.failed for restart in restarts] == [False] * 4 + [True] * 2
    delays = [restart.delay_ns for restart in restarts]
    assert delays == [75, 150, 300, 375, 9, 9]


def test_old_failures_are_forgotten() -> None:
    policy = RestartPolicy(SETTINGS, FixedEntropy())
    for index in range(20):
        assert not policy.after(LOST, index * 3000).failed


def test_files_that_cannot_be_loaded_are_not_tried_in_haste() -> None:
    assert RestartPolicy(SETTINGS, FixedEntropy()).after(CORRUPT, 0).failed
