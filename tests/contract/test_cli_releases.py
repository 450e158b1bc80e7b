"""Recipes, deployments and traffic from the command line, on files and on a real server."""

import json
from pathlib import Path
from typing import Any

import pytest

from octant.cli.output import ExitCode
from tests.support.cli import run_cli
from tests.support.server import RunningServer, octant

MODEL = "octant-mini"
FAST = "octant-mini-fast"


def told(server: RunningServer, *arguments: str) -> Any:
    """What a command says of the server, which must go well."""
    ran = server.octant(*arguments, "--json")
    assert ran.returncode == ExitCode.OK, ran.stderr
    return json.loads(ran.stdout)


def test_a_bundled_recipe_is_shown_short_and_long() -> None:
    short = run_cli("recipes", "show", FAST)
    long = run_cli("recipes", "show", FAST, "--long")
    whole = json.loads(run_cli("recipes", "show", FAST, "--json").out)
    assert whole["digest"] in short.out and whole["digest"] in long.out
    assert "probe.user" in long.out and "probe.user" not in short.out
    assert whole["artifact_digest"].startswith("sha256:")


def test_a_file_is_checked_and_its_mistake_named(tmp_path: Path) -> None:
    mistaken = tmp_path / "mine.toml"
    mistaken.write_text('name = "mine"\nmodel = "m"\nlabell = "x"\n')
    refused = run_cli("recipes", "check", str(mistaken))
    assert refused.code == ExitCode.USAGE
    assert "Did you mean `label`?" in refused.err
    assert run_cli("recipes", "check", "no-such-recipe").code == ExitCode.USAGE


def test_what_was_never_measured_is_a_failed_check(tmp_path: Path) -> None:
    new = tmp_path / "new.toml"
    new.write_text(
        f'name = "new"\nmodel = "{MODEL}"\nlabel = "x"\ndescription = ""\n'
        'artifact = "bundled:octant-mini"\n'
    )
    checked = run_cli("recipes", "check", str(new), "--json")
    assert checked.code == ExitCode.FAILED_CHECK
    problems = json.loads(checked.out)["problems"]
    assert any("was not measured" in problem for problem in problems)
    assert any("no probe" in problem for problem in problems)


def test_weights_that_are_none_are_a_usage_error() -> None:
    refused = run_cli("traffic", "set", MODEL, "octant-mini-1")
    assert refused.code == ExitCode.USAGE
    assert "RELEASE=WEIGHT" in refused.err


@pytest.mark.server
def test_a_release_comes_and_goes_from_the_command_line(server: RunningServer) -> None:
    before = told(server, "deployments", "list")
    (added,) = told(server, "deployments", "add", FAST, "--release", "octant-mini-9", "--wait")
    assert (added["id"], added["state"]) == ("fast@octant-mini-9", "ready")
    split = told(server, "traffic", "set", MODEL, "octant-mini-1=1", "octant-mini-9=1")
    back = told(
        server,
        *("traffic", "set", MODEL, "octant-mini-1=100"),
        *("--expect", str(split["current"]["version"])),
    )
    assert told(server, "traffic", "show", MODEL) == back
    (gone,) = told(server, "deployments", "remove", "fast@octant-mini-9", "--wait")
    assert gone["state"] == "stopped"
    assert [d["id"] for d in told(server, "deployments", "list")] == [d["id"] for d in before]
    assert FAST in {recipe["name"] for recipe in told(server, "recipes", "list")}
    routes = told(server, "models", "routes")[MODEL]["routes"]
    assert "fast@octant-mini-1" in routes


@pytest.mark.server
def test_a_recipe_is_measured_and_then_passes_its_check(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(
        f'name = "mine"\nmodel = "{MODEL}"\nlabel = "x"\ndescription = ""\n'
        'artifact = "bundled:octant-mini"\n[probe]\nuser = "Who are you?"\nmax_tokens = 96\n'
    )
    measured = octant("recipes", "measure", str(mine), "--rounds", "1", "--limit", "1", "--json")
    assert measured.returncode == ExitCode.OK, measured.stderr
    figures = json.loads(measured.stdout)["figures"]
    assert figures["load_ms"] > 0 and figures["resident_bytes"] > 0
    assert figures["decode_tokens_per_s"].keys() == {"1", "8"}
    assert run_cli("recipes", "check", str(mine)).code == ExitCode.OK
    whole = json.loads(run_cli("recipes", "show", str(mine), "--json").out)
    assert whole["probe"]["expect"] == json.loads(measured.stdout)["answer"]
    assert whole["measured"] == figures
