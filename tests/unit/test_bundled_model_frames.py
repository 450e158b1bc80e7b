"""What the bundled model is tested on is absent from its training: frames and values."""

import random
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

TRAINING = Path(__file__).parents[2] / "training"


@pytest.fixture
def values(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(TRAINING))
    yield import_module("bundled_model.tasks.values")


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(TRAINING))
    yield import_module("bundled_model.tasks.core")


def test_no_held_out_frame_is_trained_and_all_its_words_are() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "bundled_model.tasks.check_frames"],
        cwd=TRAINING,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_pool_of_facts_keeps_three_frames_for_the_end(core: ModuleType) -> None:
    for section in core.load_sections("facts"):
        for kind in ("s", "q"):
            assert len(section.of(kind, "final")) >= 3, (section.name, kind)
            assert len(section.of(kind, "train")) > len(section.of(kind, "final"))


def test_a_value_is_drawn_for_one_split_only(values: ModuleType) -> None:
    rng = random.Random(1)
    for kind in values.MAKERS:
        for split in ("train", "validation", "final"):
            drawn = {values.draw(rng, kind, split) for _ in range(40)}
            real = {value for value in drawn if not value.startswith("<")}
            assert {values.split_of(value) for value in real} == {split}, kind
