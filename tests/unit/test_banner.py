"""The first thing a user sees: what it says, and that it can be pasted."""

import io
import json
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from rich.console import Console

from octant.app.settings import default_data_dir
from octant.cli.serve import banner, started_json


class Info(NamedTuple):
    """A server that has started."""

    address: str = "http://127.0.0.1:8000"
    model: str = "octant-mini"
    config_path: Path | None = Path("/data/octant.toml")
    data_dir: Path = Path("/data")
    first_key: str | None = None
    seconds: float = 1.25


KEY = "oct_abcdefghijkl_" + "s" * 52


def _drawn(info: Info) -> str:
    written = io.StringIO()
    Console(file=written, width=60).print(banner(info), soft_wrap=True)
    return written.getvalue()


def test_the_first_start_shows_the_key_and_ready_snippets() -> None:
    drawn = _drawn(Info(first_key=KEY))

    assert "shown only now" in drawn
    assert drawn.count(KEY) == 3
    for said in ("http://127.0.0.1:8000/v1", "octant-mini", "/data/octant.toml", "1.2 s"):
        assert said in drawn


def test_later_starts_say_how_to_make_another_key() -> None:
    drawn = _drawn(Info())

    assert "octant keys create --data-dir /data" in drawn
    assert "$OCTANT_API_KEY" in drawn


@pytest.mark.parametrize("key", [KEY, None])
def test_the_snippets_are_valid(key: str | None) -> None:
    drawn = _drawn(Info(first_key=key))

    shell = drawn[drawn.index("curl ") :].partition("\n\n")[0]
    words = shlex.split(shell.replace("\\\n", " "))
    assert words[:2] == ["curl", "http://127.0.0.1:8000/v1/chat/completions"]
    assert json.loads(words[words.index("-d") + 1])["model"] == "octant-mini"
    start = drawn.index("from openai") if key else drawn.index("import os")
    compile(drawn[start:].partition("\nCtrl-C")[0], "snippet", "exec")


def test_commands_of_the_banner_work_where_it_was_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [".venv/bin/octant", "serve"])

    beside = _drawn(Info(data_dir=tmp_path / ".octant"))
    default = _drawn(Info(data_dir=default_data_dir().absolute()))

    for command in ("keys create", "chat", "doctor"):
        assert f".venv/bin/octant {command} --data-dir .octant" in beside
        assert f".venv/bin/octant {command}" in default
    assert "--data-dir" not in default


def test_the_line_for_programs_has_the_same_facts() -> None:
    assert started_json(Info(first_key=KEY)) == {
        "event": "started",
        "address": "http://127.0.0.1:8000",
        "model": "octant-mini",
        "config_path": "/data/octant.toml",
        "data_dir": "/data",
        "first_key": KEY,
        "seconds": 1.25,
    }
