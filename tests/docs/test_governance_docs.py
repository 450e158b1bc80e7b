"""docs/governance.md does what it says: commands, files, tables and figures."""

import re
import shlex
from pathlib import Path

import pytest

from octant.core.verdict import Decision
from octant.governance.authorization import Action, Rule, attribute_names, scope_of
from octant.governance.document_reader import parse_policy
from octant.governance.governor import INPUT_BYTES
from octant.governance.pii.kinds import PiiAction, PiiKind, Where
from octant.governance.pii.recognise import Recogniser
from tests.support.cli import run_cli
from tests.support.pii_corpus import negatives, positives, score
from tests.support.policies import built_in

PAGE = (Path(__file__).parents[2] / "docs" / "governance.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


def policy_file() -> str:
    (text,) = [block for block in blocks("toml") if block.startswith("# policy.toml")]
    return text


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's own policy file, where its commands look for it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OCTANT_SERVER__DATA_DIR", str(tmp_path / "data"))
    path = tmp_path / "policy.toml"
    path.write_text(policy_file(), encoding="utf-8")
    return path


def run(command: str) -> str:
    """The command's output; `> FILE` is done as a shell does."""
    command, _, target = command.partition(" > ")
    result = run_cli(*shlex.split(command)[1:])
    assert result.code == 0, result.err
    if target:
        Path(target).write_text(result.out, encoding="utf-8")
    return result.out


def test_the_commands_of_the_file_in_force_run(policy: Path) -> None:
    for line in blocks("sh")[0].splitlines():
        run(line)
    assert parse_policy(policy.read_text("utf-8"), "x").version == built_in().version


def test_the_decisions_are_those_that_are_shown(policy: Path) -> None:
    shown = blocks("text")[0].strip().split("\n\n")
    for command, expected in zip(blocks("sh")[1].splitlines(), shown, strict=True):
        assert run(command).startswith(expected)


def test_the_settings_put_the_file_in_force(policy: Path) -> None:
    (settings,) = [block for block in blocks("toml") if block.startswith("# octant.toml")]
    Path("octant.toml").write_text(settings, encoding="utf-8")
    version = parse_policy(policy_file(), "x").version
    assert run_cli("policy", "show", "--json").json["version"] == version


def test_every_action_rule_kind_and_choice_is_on_the_page() -> None:
    for action in Action:
        (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{action.value}` |")]
        assert f"`{scope_of(action).value}`" in row
        assert all(f"`{name}`" in row for name in attribute_names(action))
    for rule in (*(rule.value for rule in Rule), INPUT_BYTES):
        assert f"`{rule}`" in PAGE
    for name in (*PiiKind, *PiiAction):
        assert f"| `{name.value}` |" in PAGE
    for where in Where:
        assert f"`{where.value}`" in PAGE
    assert Decision.BLOCK.value in PAGE


def test_the_figures_are_those_that_are_measured() -> None:
    result = score(Recogniser(frozenset(PiiKind), built_in().phone_regions))
    for kind in PiiKind:
        values = result.right[kind] + result.missed[kind]
        recall, precision = result.recall(kind), result.precision(kind)
        row = f"| {kind.value} | {values} | {recall:.2f} | {precision:.2f} |"
        assert row in PAGE, row
    assert f"({len(positives())} lines with values,\n{len(negatives())} that only look so" in PAGE
