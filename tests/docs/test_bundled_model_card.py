"""The card of the bundled model says what was measured of these weights, and nothing more."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import octant

MODEL = Path(octant.__file__).parent / "bundled" / "octant-mini"
LEAST = 0.75


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return json.loads((MODEL / "accuracy.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def card() -> str:
    return (MODEL / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_the_record_is_of_the_weights_that_ship(record: dict[str, Any], card: str) -> None:
    digest = hashlib.sha256((MODEL / "openvino_model.bin").read_bytes()).hexdigest()
    assert record["model_sha256"] == digest
    assert digest in card


def test_only_what_was_measured_well_is_claimed(record: dict[str, Any]) -> None:
    for claimed in record["tasks"].values():
        assert claimed["accuracy"] >= LEAST
        assert claimed["accuracy"] == round(claimed["correct"] / claimed["n"], 3)
    assert all(weak["accuracy"] < LEAST for weak in record["not_claimed"].values())


def test_the_card_has_the_figures_of_the_record(record: dict[str, Any], card: str) -> None:
    claims, _, rest = card.partition("Measured below")
    for task, figures in record["tasks"].items():
        (row,) = [line for line in claims.splitlines() if line.startswith(f"| `{task}`")]
        assert f"| {figures['correct']} of {figures['n']} |" in row
    for task, figures in record["not_claimed"].items():
        (row,) = [line for line in rest.splitlines() if line.startswith(f"| `{task}`")]
        assert f"| {figures['correct']} of {figures['n']} |" in row


def test_the_suite_that_ships_asks_what_is_claimed(record: dict[str, Any]) -> None:
    lines = (MODEL / "eval" / record["suite"]).read_text(encoding="utf-8").splitlines()
    asked = Counter(json.loads(line)["task"] for line in lines)
    assert asked == {task: figures["n"] for task, figures in record["tasks"].items()}
