"""Benchmarks: what is counted, over which window, from which bytes."""

import json

import pytest

from octant.cli.gateway_benchmark import Comparison, Side
from octant.cli.load_generator import (
    Arrival,
    StreamTimes,
    completion_body,
    summarise,
)
from octant.cli.serve_benchmark import Level, Measured, percentile
from octant.core.units import NS_PER_MS


def _stream(sent_ms: int, first_ms: int, step_ms: int, events: int, tokens: int) -> StreamTimes:
    arrivals = tuple(
        Arrival((first_ms + number * step_ms) * NS_PER_MS, 1) for number in range(events)
    )
    return StreamTimes(sent_ms * NS_PER_MS, arrivals, tokens)


def test_one_steady_stream_decodes_at_its_step() -> None:
    load = summarise([_stream(0, 50, 10, events=101, tokens=101)])

    assert load.decode_tokens_per_s == pytest.approx(100)
    assert load.ttft_ms == [50]
    assert set(load.itl_ms) == {10}
    assert load.tokens == 101


def test_events_of_several_tokens_count_as_such() -> None:
    load = summarise([_stream(0, 50, 20, events=51, tokens=102)])

    assert load.decode_tokens_per_s == pytest.approx(100)


def test_speed_is_taken_while_all_decode() -> None:
    early = _stream(0, 10, 10, events=50, tokens=50)
    late = _stream(0, 310, 10, events=50, tokens=50)

    # Both decode from 310 to 500 ms: 19 tokens each in 190 ms.
    assert summarise([early, late]).decode_tokens_per_s == pytest.approx(200)


def test_streams_that_never_overlap_have_no_common_speed() -> None:
    early = _stream(0, 10, 1, events=5, tokens=5)
    late = _stream(0, 310, 1, events=5, tokens=5)

    assert summarise([early, late]).decode_tokens_per_s == 0


def test_prompts_share_no_prefix_and_repeat_for_a_seed() -> None:
    question = {"model": "m", "prompt_tokens": 8, "max_tokens": 4, "seed": 3}

    prompts = [json.loads(completion_body(question, number))["prompt"] for number in range(32)]

    assert len({tuple(prompt[:3]) for prompt in prompts}) == 32
    assert prompts[5] == json.loads(completion_body(question, 5))["prompt"]
    assert all(10 <= token < 410 for prompt in prompts for token in prompt)


def test_a_level_compares_medians() -> None:
    level = Level(8, Measured((90, 95, 10)), Measured((100, 400, 100)), (1.0,), (1.0,))

    assert level.ratio == pytest.approx(0.9)


def test_percentiles_of_few_values() -> None:
    assert percentile([], 99) == 0
    assert percentile([7], 99) == 7
    assert percentile([1, 2, 3], 50) == 2


def test_a_side_of_the_gateway_benchmark_tells_medians_and_every_round() -> None:
    side = Side((100.0, 300.0, 200.0), (3.0, 1.0, 2.0), (9.0, 9.0, 9.5), cpu_ms=(0.5, 0.7, 0.6))
    assert side.told() == {
        "requests_per_s": 200.0,
        "p50_ms": 2.0,
        "p99_ms": 9.0,
        "cpu_ms": 0.6,
        "requests_per_s_rounds": [100.0, 300.0, 200.0],
        "p50_ms_rounds": [3.0, 1.0, 2.0],
        "p99_ms_rounds": [9.0, 9.0, 9.5],
        "cpu_ms_rounds": [0.5, 0.7, 0.6],
    }
    alone = Side((1_000.0,), (0.5,), (1.0,))
    assert "cpu_ms" not in alone.told()
    assert Comparison(stream=True, served=side, alone=alone).added_ms == 1.5
