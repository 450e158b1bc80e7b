"""Recommended sampling: taken where a publisher states it, and only where a caller does not."""

import json
from pathlib import Path
from typing import Any

import pytest

from octant.adapters.huggingface.generation_config import load_sampling
from octant.core.failure import Failed, FailureKind
from octant.core.sampling import Sampling
from octant.gateway.dialects.chat_completions import ChatCompletions
from octant.gateway.settings import GatewaySettings


def recommended(directory: Path, **said: Any) -> Sampling:
    (directory / "generation_config.json").write_text(json.dumps(said))
    return load_sampling(directory)


def test_without_a_file_openais_defaults_apply(tmp_path: Path) -> None:
    assert load_sampling(tmp_path) == Sampling()


def test_what_the_file_says_is_taken_and_nothing_else(tmp_path: Path) -> None:
    said = recommended(
        tmp_path, temperature=0.6, top_k=20, top_p=None, max_length=20, eos_token_id=2
    )
    assert said == Sampling(temperature=0.6, top_k=20)


def test_no_sampling_is_greedy(tmp_path: Path) -> None:
    assert recommended(tmp_path, do_sample=False, temperature=0.7).temperature == 0


def test_a_value_of_the_wrong_type_is_named(tmp_path: Path) -> None:
    with pytest.raises(Failed) as caught:
        recommended(tmp_path, temperature="warm")
    assert caught.value.failure.kind is FailureKind.CORRUPT_ARTIFACT
    assert "temperature" in caught.value.failure.message


def test_a_caller_overrides_what_is_recommended() -> None:
    def ask(**fields: Any) -> Sampling:
        body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]} | fields
        read = ChatCompletions().read(
            json.dumps(body).encode(),
            GatewaySettings(),
            lambda model: Sampling(temperature=0.0, top_k=20),
        )
        return read.sampling

    assert (ask().temperature, ask().top_k) == (0.0, 20)
    assert (ask(temperature=1).temperature, ask(top_k=0).top_k) == (1.0, 0)
