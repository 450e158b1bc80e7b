"""`octant policy`: show, check, explain; what they print is what is enforced."""

from pathlib import Path

import pytest

from octant.cli.output import ExitCode
from octant.governance.document_reader import parse_policy
from octant.governance.pii.kinds import PiiKind, Where
from tests.support.cli import run_cli
from tests.support.policies import PERMIT_ALL, built_in

RULES = f"""
[pii.input]
email = "block"
[tenants.acme]
denied_models = ["large"]
[authorization]
policies = '''{PERMIT_ALL}
@id("no-mail") @reason("Mail is sent by people.")
forbid (principal, action == Action::"UseTool", resource == Tool::"send_mail")
unless {{ resource.side_effect == "read" }};'''
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(RULES, encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration of the machine takes part."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OCTANT_SERVER__DATA_DIR", str(tmp_path / "data"))


def test_the_policy_in_force_is_shown_with_its_version() -> None:
    shown = run_cli("policy", "show", "--json").json
    assert shown["version"] == built_in().version
    assert shown["path"] is None
    assert set(shown["pii"]) == {where.value for where in Where}
    assert shown["pii"]["input"]["card"] == "pseudonymise"
    assert "default.models" in shown["policies"]
    told = run_cli("policy", "show").out
    assert built_in().version in told
    assert all(kind.value in told for kind in PiiKind)


def test_the_setting_puts_a_file_in_force(policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCTANT_POLICY__PATH", str(policy))
    shown = run_cli("policy", "show", "--tenant", "acme", "--json").json
    assert shown["path"] == str(policy)
    assert shown["version"] == parse_policy(RULES, "x").version
    assert shown["denied_models"] == ["large"]
    assert shown["pii"]["input"]["email"] == "block"


def test_the_text_can_be_written_to_a_file_and_checked(tmp_path: Path) -> None:
    text = run_cli("policy", "show", "--text").out
    copy = tmp_path / "copy.toml"
    copy.write_text(text, encoding="utf-8")
    assert run_cli("policy", "check", str(copy), "--json").json == {
        "ok": True,
        "path": str(copy),
        "version": built_in().version,
    }
    assert built_in().version in run_cli("policy", "check", str(copy)).out


def test_a_bad_file_is_told_with_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text('[pii.input]\ncart = "redact"\n', encoding="utf-8")
    result = run_cli("policy", "check", str(path))
    assert result.code == ExitCode.USAGE
    assert f"{path}:2: there is no 'pii.input.cart'. Did you mean 'card'?" in result.err
    missing = run_cli("policy", "check", str(tmp_path / "none.toml"))
    assert missing.code == ExitCode.USAGE
    assert "no such policy file" in missing.err


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in run_cli("policy", "check", str(path)).err
    assert "cannot be read" in run_cli("policy", "check", str(tmp_path)).err


@pytest.mark.parametrize(
    ("arguments", "decision", "rule"),
    [
        (("UseModel", "m"), "allow", "authorise.cedar.all"),
        (("usetool", "send_mail", "--with", "side_effect=privileged"), "block", "no-mail"),
        (("UseTool", "send_mail", "--with", "side_effect=read"), "allow", "authorise.cedar.all"),
        (("ManageDeployments", "d", "--scope", "inference"), "block", "authorise.scope"),
    ],
)
def test_a_decision_is_explained(
    policy: Path, arguments: tuple[str, ...], decision: str, rule: str
) -> None:
    told = run_cli("policy", "explain", *arguments, "--file", str(policy), "--json").json
    assert told["decision"] == decision
    assert told["rule"].endswith(rule)
    assert told["policy_version"] == parse_policy(RULES, "x").version
    plain = run_cli("policy", "explain", *arguments, "--file", str(policy)).out
    assert told["reason"] in plain


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("UseModl", "m"), "UseModel"),
        (("UseTool", "t", "--with", "colour=red"), "side_effect"),
        (("UseTool", "t", "--with", "side_effect"), "NAME=VALUE"),
    ],
)
def test_a_question_that_makes_no_sense_is_a_usage_error(
    arguments: tuple[str, ...], told: str
) -> None:
    result = run_cli("policy", "explain", *arguments)
    assert result.code == ExitCode.USAGE
    assert told in result.err
