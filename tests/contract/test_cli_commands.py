"""Every command: --json, examples, fixed exit codes, a quick start."""

import subprocess
import sys
from typing import Any

import pytest
from typer.main import get_command

from octant.cli.main import app
from octant.cli.output import ExitCode, exit_code
from octant.cli.reference import commands
from octant.core.failure import Failure, FailureKind
from octant.core.stage import Stage
from tests.support.cli import run_cli

COMMANDS: dict[str, Any] = dict(commands(get_command(app), "octant"))

HEAVY = ("openvino", "numpy", "sqlalchemy", "pydantic", "uvicorn", "zmq", "tokenizers", "starlette")


def test_the_promised_commands_exist() -> None:
    assert set(COMMANDS) == {
        "octant serve",
        "octant chat",
        "octant usage",
        "octant replay",
        "octant doctor",
        "octant eval",
        "octant models list",
        "octant models routes",
        "octant recipes list",
        "octant recipes show",
        "octant recipes check",
        "octant recipes measure",
        "octant deployments list",
        "octant deployments add",
        "octant deployments drain",
        "octant deployments remove",
        "octant traffic show",
        "octant traffic set",
        "octant keys create",
        "octant keys list",
        "octant keys revoke",
        "octant tenants create",
        "octant tenants list",
        "octant tenants set-limits",
        "octant trace list",
        "octant trace show",
        "octant route explain",
        "octant sessions list",
        "octant sessions show",
        "octant sessions delete",
        "octant audit list",
        "octant audit verify",
        "octant policy show",
        "octant policy check",
        "octant policy explain",
        "octant config show",
        "octant config path",
        "octant config check",
        "octant bench serve",
        "octant bench gateway",
    }


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_has_json_help_and_examples_of_itself(path: str) -> None:
    command = COMMANDS[path]

    assert any("--json" in parameter.opts for parameter in command.params)
    assert all(parameter.help for parameter in command.params)
    _, _, examples = command.help.partition("Example")
    shown = [line.strip() for line in examples.splitlines()[1:] if line.strip()]
    assert shown
    assert all(path in line for line in shown)
    assert run_cli(*path.split()[1:], "--help").code == ExitCode.OK


@pytest.mark.parametrize("path", COMMANDS)
def test_an_unknown_option_is_a_usage_error(path: str) -> None:
    result = run_cli(*path.split()[1:], "--no-such-option")

    assert result.code == ExitCode.USAGE
    assert result.out == ""


def test_help_loads_nothing_heavy() -> None:
    check = (
        "import sys; import octant.cli.main; "
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )

    loaded = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True
    )

    assert loaded.stdout.strip() == "[]"


def test_the_version_is_told() -> None:
    assert run_cli("--version").out.startswith("octant ")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (FailureKind.NOT_FOUND, ExitCode.USAGE),
        (FailureKind.INVALID_VALUE, ExitCode.USAGE),
        (FailureKind.INVALID_API_KEY, ExitCode.USAGE),
        (FailureKind.POLICY_BLOCKED, ExitCode.FAILED_CHECK),
        (FailureKind.OVERLOADED, ExitCode.UNAVAILABLE),
        (FailureKind.INSUFFICIENT_QUOTA, ExitCode.UNAVAILABLE),
        (FailureKind.ENGINE_UNAVAILABLE, ExitCode.UNAVAILABLE),
        (FailureKind.RECORD_NOT_STORED, ExitCode.UNAVAILABLE),
        (FailureKind.CORRUPT_ARTIFACT, ExitCode.UNAVAILABLE),
        (FailureKind.CANCELLED, ExitCode.UNAVAILABLE),
    ],
)
def test_exit_codes_follow_from_the_failure_table(kind: FailureKind, expected: ExitCode) -> None:
    assert exit_code(Failure(kind=kind, stage=Stage.BOUNDARY, message="")) is expected


def test_every_kind_of_failure_has_an_exit_code_that_is_not_success() -> None:
    codes = {
        exit_code(Failure(kind=kind, stage=Stage.BOUNDARY, message="")) for kind in FailureKind
    }

    assert codes == {ExitCode.FAILED_CHECK, ExitCode.USAGE, ExitCode.UNAVAILABLE}
