"""docs/guarantees.md: every promise names tests, and every test it names exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")


def test_every_promise_names_a_test() -> None:
    rows = re.findall(r"^\| (?!promise|---)(.+?) \| (.+?) \|$", PAGE, re.M)
    assert len(rows) > 20
    assert [promise for promise, kept_by in rows if "`tests/" not in kept_by] == []


def test_every_named_test_exists() -> None:
    named = set(re.findall(r"`(tests/[^`]+)`", PAGE))
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
