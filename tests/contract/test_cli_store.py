"""Keys, tenants, traces and configuration: real commands on a real store, no server."""

import asyncio
import json
from pathlib import Path

import pytest

from octant.app import wiring
from octant.app.settings import Settings, load_settings
from octant.cli.output import ExitCode
from octant.core.failure import Failure, FailureKind
from octant.core.ids import RequestId, TenantId
from octant.core.outcome import Outcome, OutcomeStatus
from octant.core.stage import Stage
from octant.gateway.api_keys import key_digest, parse_key
from octant.ports.store import Settlement, Tenant
from tests.support import happenings
from tests.support.cli import CliResult, run_cli


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def _octant(data_dir: Path, *arguments: str) -> CliResult:
    return run_cli(*arguments, "--data-dir", str(data_dir))


def _settings(data_dir: Path) -> Settings:
    return load_settings(None, {"server.data_dir": str(data_dir)}).settings


async def _stored_digest(settings: Settings, prefix: str) -> bytes:
    async with wiring.open_store(settings) as store:
        key = await store.key_by_prefix(prefix)
    assert key is not None
    return key.digest


def _settle(data_dir: Path, *outcomes: Outcome, traced: bool = True) -> None:
    settings = _settings(data_dir)

    async def settle() -> None:
        async with wiring.open_store(settings) as store:
            await store.put_tenant(
                Tenant(id=TenantId("default"), name="Default", created_unix_ns=1)
            )
            for outcome in outcomes:
                events = tuple(happenings.whole_request(outcome.request_id)[:-1])
                await store.settle(
                    Settlement(
                        outcome=outcome,
                        manifest=None,
                        audit=(),
                        events=events if traced else (),
                        month="2023-11",
                    )
                )

    asyncio.run(settle())


def test_a_key_is_shown_once_and_stored_as_a_digest(data_dir: Path) -> None:
    _octant(data_dir, "tenants", "create", "research")

    created = _octant(
        data_dir, "keys", "create", "--tenant", "research", "--name", "laptop", "--json"
    ).json

    presented = parse_key(created["key"])
    assert presented is not None
    assert created["tenant"] == "research"
    assert created["scopes"] == ["inference", "models:read"]
    (listed,) = _octant(data_dir, "keys", "list", "--json").json
    assert listed["state"] == "active"
    assert presented.secret not in json.dumps(listed)
    stored = b"".join(path.read_bytes() for path in data_dir.iterdir() if path.is_file())
    assert presented.secret.encode() not in stored
    settings = _settings(data_dir)
    digest = asyncio.run(_stored_digest(settings, presented.prefix))
    assert digest == key_digest(presented.secret, wiring.key_pepper(settings))


def test_a_revoked_key_leaves_the_list_but_not_the_record(data_dir: Path) -> None:
    _octant(data_dir, "tenants", "create", "research")
    created = _octant(data_dir, "keys", "create", "--tenant", "research", "--json").json

    by_text = _octant(data_dir, "keys", "revoke", created["key"], "--json").json
    again = _octant(data_dir, "keys", "revoke", created["id"], "--json").json

    assert by_text["revoked_unix_ns"] == again["revoked_unix_ns"] is not None
    assert _octant(data_dir, "keys", "list", "--json").json == []
    (kept,) = _octant(data_dir, "keys", "list", "--all", "--json").json
    assert kept["state"] == "revoked"


def test_a_key_for_nobody_says_how_to_make_the_tenant(data_dir: Path) -> None:
    _octant(data_dir, "tenants", "create", "research")

    result = _octant(data_dir, "keys", "create", "--tenant", "ghost")

    assert result.code == ExitCode.USAGE
    assert "octant tenants create ghost --data-dir data" in " ".join(result.err.split())
    assert result.out == ""


def test_what_a_key_says_of_itself_works_where_it_was_made(data_dir: Path) -> None:
    _octant(data_dir, "tenants", "create", "research")

    created = _octant(data_dir, "keys", "create", "--tenant", "research").out

    _, program, *arguments = created.splitlines()[-1].rpartition("octant ")
    assert program == "octant "
    assert run_cli(*arguments[0].split()).code == ExitCode.OK


@pytest.mark.parametrize(
    "arguments",
    [
        ("trace", "list"),
        ("trace", "show", "req_1"),
        ("tenants", "list"),
        ("keys", "list"),
        ("keys", "create"),
        ("keys", "revoke", "key_1"),
        ("chat", "hello"),
    ],
)
def test_a_directory_without_a_store_is_refused_and_left_alone(
    data_dir: Path, arguments: tuple[str, ...]
) -> None:
    result = _octant(data_dir, *arguments)

    assert result.code == ExitCode.UNAVAILABLE
    assert "octant serve --data-dir data" in result.err
    assert not data_dir.exists()


def test_json_failures_are_json_on_standard_error(data_dir: Path) -> None:
    _octant(data_dir, "tenants", "create", "research")

    result = _octant(data_dir, "keys", "revoke", "key_nope", "--json")

    assert result.code == ExitCode.USAGE
    assert json.loads(result.err)["error"]["kind"] == "not_found"


def test_limits_change_one_by_one(data_dir: Path) -> None:
    _octant(data_dir, "tenants", "create", "research")
    _octant(data_dir, "tenants", "set-limits", "research", "--requests-per-minute", "60")

    changed = _octant(
        data_dir,
        *("tenants", "set-limits", "research", "--budget-usd", "25.5", "--json"),
    ).json

    assert changed["limits"]["requests_per_minute"] == 60
    assert changed["budget_nano_usd"] == 25_500_000_000
    lifted = _octant(
        data_dir,
        *("tenants", "set-limits", "research", "--requests-per-minute", "unlimited", "--json"),
    ).json
    assert lifted["limits"]["requests_per_minute"] is None
    assert (lifted["budget_nano_usd"], lifted["risk"]) == (25_500_000_000, "low")
    riskier = _octant(data_dir, "tenants", "set-limits", "research", "--risk", "high", "--json")
    assert riskier.json["risk"] == "high"


@pytest.mark.parametrize(
    "arguments",
    [
        ("tenants", "set-limits", "research"),
        ("tenants", "set-limits", "research", "--max-concurrent", "many"),
        ("tenants", "set-limits", "research", "--budget-usd", "-1"),
        ("tenants", "set-limits", "research", "--budget-usd", "nan"),
        ("tenants", "create", "Bad Name"),
        ("tenants", "create", "research"),
    ],
)
def test_bad_tenants_and_limits_are_usage_errors(
    data_dir: Path, arguments: tuple[str, ...]
) -> None:
    _octant(data_dir, "tenants", "create", "research")

    assert _octant(data_dir, *arguments).code == ExitCode.USAGE


def test_a_settled_request_is_listed_and_drawn(data_dir: Path) -> None:
    _settle(data_dir, happenings.outcome())

    (listed,) = _octant(data_dir, "trace", "list", "--json").json
    shown = _octant(data_dir, "trace", "show", happenings.REQUEST, "--json").json
    drawn = _octant(data_dir, "trace", "show", happenings.REQUEST[:8]).out

    assert listed["status"] == "completed"
    assert listed["usage"]["completion_tokens"] == 11
    assert shown["complete"] is True
    assert [span["name"] for span in shown["spans"]] == [
        "chat octant-mini",
        *("boundary", "admission", "step 1", "context", "route"),
        *("attempt 1", "queue", "prefill", "decode"),
        "response",
    ]
    assert "█" in drawn and "decode" in drawn


def test_traces_are_filtered_by_status(data_dir: Path) -> None:
    failure = Failure(kind=FailureKind.ENGINE_LOST, stage=Stage.DECODE, message="Gone.")
    failed = happenings.outcome(
        RequestId("req_" + "7" * 32), status=OutcomeStatus.FAILED, failure=failure
    )
    _settle(data_dir, happenings.outcome(), failed)

    (listed,) = _octant(data_dir, "trace", "list", "--status", "failed", "--json").json

    assert listed["request_id"] == failed.request_id


@pytest.mark.parametrize("named", ["req_9", "req_"])
def test_an_unknown_or_ambiguous_trace_is_refused(data_dir: Path, named: str) -> None:
    _settle(data_dir, happenings.outcome(), happenings.outcome(RequestId("req_" + "7" * 32)))

    result = _octant(data_dir, "trace", "show", named)

    assert result.code == ExitCode.USAGE
    assert "octant trace list" in result.err


def test_a_trace_without_events_says_so(data_dir: Path) -> None:
    _settle(data_dir, happenings.outcome(), traced=False)

    result = _octant(data_dir, "trace", "show", happenings.REQUEST)

    assert result.code == ExitCode.USAGE
    assert "no longer kept" in result.err


def test_commands_for_a_server_say_how_to_start_one(data_dir: Path) -> None:
    for arguments in (("models", "list"), ("chat", "hello")):
        result = _octant(data_dir, *arguments)

        assert result.code == ExitCode.UNAVAILABLE
        assert "octant serve" in result.err


def test_every_setting_is_shown_with_its_origin(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir.mkdir()
    (data_dir / "octant.toml").write_text("[server]\nport = 9000\n")
    monkeypatch.setenv("OCTANT_SERVER__HOST", "::1")

    shown = _octant(data_dir, "config", "show", "--json").json

    assert shown["server.port"] == {
        "value": 9000,
        "origin": "file",
        "where": shown["server.port"]["where"],
    }
    assert "octant.toml" in shown["server.port"]["where"]
    assert shown["server.host"]["where"] == "OCTANT_SERVER__HOST"
    assert shown["server.data_dir"]["where"] == "--data-dir"
    assert shown["engine.threads"]["origin"] == "default"
    changed = _octant(data_dir, "config", "show", "--changed", "--json").json
    assert set(changed) == {"server.port", "server.host", "server.data_dir"}
    assert _octant(data_dir, "config", "path").out.strip() == str(data_dir / "octant.toml")


def test_a_bad_configuration_fails_its_check_with_a_suggestion(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "octant.toml").write_text("[server]\nprot = 9000\n")

    result = _octant(data_dir, "config", "check")

    assert result.code == ExitCode.USAGE
    assert "server.port" in result.err


def test_a_good_configuration_passes_its_check(data_dir: Path) -> None:
    assert _octant(data_dir, "config", "check", "--json").json["ok"] is True


def test_doctor_finds_a_store_that_is_none(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "octant.db").write_bytes(b"this is no database, whatever its name says" * 100)

    result = _octant(data_dir, "doctor", "--json")

    assert result.code == ExitCode.FAILED_CHECK
    (store,) = (f for f in result.json["findings"] if f["subject"] == "store")
    assert store["state"] == "fail"
    assert store["remedy"]


def test_doctor_finds_a_data_directory_that_is_a_file(data_dir: Path) -> None:
    data_dir.write_text("")

    result = _octant(data_dir, "doctor", "--json")

    (found,) = (f for f in result.json["findings"] if f["subject"] == "data directory")
    assert found["state"] == "fail"
    assert result.code == ExitCode.FAILED_CHECK
