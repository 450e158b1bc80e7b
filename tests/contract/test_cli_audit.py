"""The audit log, usage and sessions: real commands on a real store, no server."""

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from octant.app import wiring
from octant.app.settings import load_settings
from octant.cli.output import ExitCode
from octant.core.audit import GENESIS
from octant.core.units import NanoUsd
from octant.ports.store import Store
from tests.support.cli import CliResult, run_cli
from tests.support.settlements import (
    ACME,
    MONTH,
    UMBRELLA,
    session,
    session_id,
    settlement,
    whole_settlement,
)

NOBODYS_HEAD = "sha256:" + "9" * 64


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory whose store has settled requests of two tenants and a session."""
    monkeypatch.chdir(tmp_path)
    data_dir = tmp_path / "data"
    on_store(data_dir, _fill)
    return data_dir


async def _fill(store: Store) -> None:
    await store.put_tenant(ACME)
    await store.put_tenant(UMBRELLA)
    await store.put_session(session(1))
    for number in range(3):
        await store.settle(whole_settlement(number, session=1, version=number))
    await store.settle(settlement(7, model="big", cost_nano_usd=NanoUsd(1_500_000_000)))
    await store.settle(settlement(8, tenant=UMBRELLA.id))


def on_store(data_dir: Path, work: Callable[[Store], Awaitable[None]]) -> None:
    settings = load_settings(None, {"server.data_dir": str(data_dir)}).settings

    async def run() -> None:
        async with wiring.open_store(settings) as store:
            await work(store)

    asyncio.run(run())


def octant(data_dir: Path, *arguments: str) -> CliResult:
    return run_cli(*arguments, "--data-dir", str(data_dir))


def vandalise(data_dir: Path, *statements: str) -> None:
    file = sqlite3.connect(data_dir / "octant.db")
    with file:
        for statement in statements:
            file.execute(statement)
    file.close()


def test_audit_records_are_listed_newest_first(data_dir: Path) -> None:
    listed = octant(data_dir, "audit", "list", "--json").json
    assert [record["tenant"] for record in listed] == ["umbrella", *["acme"] * 4]
    (mine, _) = octant(data_dir, "audit", "list", "--tenant", "acme", "--limit", "2", "--json").json
    assert mine["request_id"] == listed[1]["request_id"]
    shown = octant(data_dir, "audit", "list").out
    assert "input.allowed" in shown and "total_tokens=15" in shown


def test_a_sound_chain_is_verified_and_its_head_can_be_kept(data_dir: Path) -> None:
    first = octant(data_dir, "audit", "verify", "--json")
    assert first.code == ExitCode.OK
    assert first.json["ok"] is True
    assert first.json["records"] == 5
    head = first.json["head"]
    assert head in octant(data_dir, "audit", "verify").out

    on_store(data_dir, lambda store: store.settle(settlement(50)))
    again = octant(data_dir, "audit", "verify", "--head", head, "--json").json
    assert (again["ok"], again["records"], again["head_found"]) == (True, 6, True)
    assert again["head"] != head


def test_an_empty_log_is_sound(tmp_path: Path) -> None:
    on_store(tmp_path, lambda store: store.put_tenant(ACME))
    found = octant(tmp_path, "audit", "verify", "--json").json
    assert (found["ok"], found["records"], found["head"]) == (True, 0, GENESIS)


@pytest.mark.parametrize(
    ("statements", "what", "seq", "told"),
    [
        (
            ["UPDATE audit SET record = replace(record, 'k1', 'k2') WHERE seq = 3"],
            "changed",
            3,
            "Record 3 was changed",
        ),
        (["UPDATE audit SET tenant = 'acme' WHERE seq = 5"], "changed", 5, "Record 5 was changed"),
        (["DELETE FROM audit WHERE seq = 2"], "missing", 2, "Record 2 is missing"),
        (
            [
                "UPDATE audit SET seq = 99 WHERE seq = 2",
                "UPDATE audit SET seq = 2 WHERE seq = 4",
                "UPDATE audit SET seq = 4 WHERE seq = 99",
            ],
            "swapped",
            2,
            "belongs at 4",
        ),
        (
            ["UPDATE audit SET previous = digest WHERE seq = 4"],
            "changed",
            4,
            "Record 4 was changed",
        ),
    ],
)
def test_a_broken_chain_is_named_and_fails(
    data_dir: Path, statements: list[str], what: str, seq: int, told: str
) -> None:
    vandalise(data_dir, *statements)

    found = octant(data_dir, "audit", "verify", "--json")

    assert found.code == ExitCode.FAILED_CHECK
    assert (found.json["ok"], found.json["records"]) == (False, seq - 1)
    assert (found.json["problem"]["what"], found.json["problem"]["seq"]) == (what, seq)
    told_again = octant(data_dir, "audit", "verify")
    assert told_again.code == ExitCode.FAILED_CHECK
    assert told in told_again.out


def test_a_head_that_is_no_text_any_more_is_named_and_hinders_nobody(data_dir: Path) -> None:
    vandalise(data_dir, "UPDATE audit SET digest = CAST(x'ff00fe' AS TEXT) WHERE seq = 5")

    on_store(data_dir, lambda store: store.settle(settlement(50)))
    found = octant(data_dir, "audit", "verify", "--json")

    assert found.code == ExitCode.FAILED_CHECK
    assert (found.json["problem"]["what"], found.json["problem"]["seq"]) == ("changed", 5)


def test_a_log_that_was_cut_off_shows_by_the_head_only(data_dir: Path) -> None:
    head = octant(data_dir, "audit", "verify", "--json").json["head"]
    vandalise(data_dir, "DELETE FROM audit WHERE seq > 3")

    assert octant(data_dir, "audit", "verify").code == ExitCode.OK
    found = octant(data_dir, "audit", "verify", "--head", head, "--json")

    assert found.code == ExitCode.FAILED_CHECK
    assert found.json["problem"]["what"] == "cut_off"
    assert octant(data_dir, "audit", "verify", "--head", NOBODYS_HEAD).code == (
        ExitCode.FAILED_CHECK
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("audit", "verify", "--head", "sha256:abc"),
        ("audit", "list", "--tenant", "ghost"),
        ("usage", "--month", "2026-13"),
        ("usage", "--tenant", "ghost"),
        ("sessions", "list", "--tenant", "ghost"),
        ("sessions", "show", "ses_nope", "--tenant", "acme"),
        ("sessions", "delete", "ses_nope", "--tenant", "acme"),
        ("sessions", "show", session_id(1), "--tenant", "umbrella"),
        ("sessions", "delete", session_id(1), "--tenant", "umbrella"),
    ],
)
def test_what_does_not_exist_is_a_usage_error(data_dir: Path, arguments: tuple[str, ...]) -> None:
    assert octant(data_dir, *arguments).code == ExitCode.USAGE


@pytest.mark.parametrize(
    "arguments",
    [
        ("audit", "list"),
        ("audit", "verify"),
        ("usage",),
        ("sessions", "list"),
        ("sessions", "show", "ses_1"),
        ("sessions", "delete", "ses_1"),
    ],
)
def test_a_directory_without_a_store_is_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    result = octant(tmp_path / "none", *arguments)
    assert result.code == ExitCode.UNAVAILABLE
    assert not (tmp_path / "none").exists()


def test_usage_adds_up(data_dir: Path) -> None:
    found = octant(data_dir, "usage", "--month", MONTH, "--json").json

    assert [(line["tenant"], line["model"]) for line in found["usage"]] == [
        ("acme", "big"),
        ("acme", "m"),
        ("umbrella", "m"),
    ]
    assert found["usage"][1] | {"requests": 3, "prompt_tokens": 30} == found["usage"][1]
    assert found["total"]["cost_nano_usd"] == 1_500_000_000 + 4 * 7
    assert found["total"]["cost_usd"] == "1.500000028"
    shown = octant(data_dir, "usage", "--month", MONTH).out
    assert "1500000028" in shown and "$1.500000028" in shown


def test_usage_is_of_one_tenant_and_of_this_month_unless_named(data_dir: Path) -> None:
    mine = octant(data_dir, "usage", "--month", MONTH, "--tenant", "umbrella", "--json").json
    assert [line["cost_nano_usd"] for line in mine["usage"]] == [7]
    empty = octant(data_dir, "usage", "--month", "2020-01")
    assert empty.code == ExitCode.OK
    assert "Nothing was used in 2020-01" in empty.out
    assert len(octant(data_dir, "usage", "--json").json["month"]) == len(MONTH)


def test_sessions_are_listed_and_shown_without_personal_data(data_dir: Path) -> None:
    (listed,) = octant(data_dir, "sessions", "list", "--tenant", "acme", "--json").json
    assert (listed["id"], listed["version"]) == (session_id(1), 3)
    whose = ("--tenant", "acme")
    shown = octant(data_dir, "sessions", "show", session_id(1), *whose)
    told = octant(data_dir, "sessions", "show", session_id(1), *whose, "--json")
    assert "user: question 0" in shown.out and "assistant: answer 2" in shown.out
    assert [turn["version"] for turn in told.json["turns"]] == [1, 2, 3]
    assert told.json["placeholders"] == ["<EMAIL_1>", "<EMAIL_2>", "<EMAIL_3>"]
    assert "example.org" not in shown.out + told.out


def test_a_deleted_session_leaves_nothing_but_its_audit_record(data_dir: Path) -> None:
    def in_the_file(text: str) -> bool:
        return text.encode() in (data_dir / "octant.db").read_bytes()

    assert in_the_file("question 1") and in_the_file("person1@example.org")

    deleted = octant(data_dir, "sessions", "delete", session_id(1), "--tenant", "acme", "--json")

    assert deleted.json == {"id": session_id(1), "deleted": True}
    assert octant(data_dir, "sessions", "list", "--tenant", "acme", "--json").json == []
    (record, *_) = octant(data_dir, "audit", "list", "--json").json
    assert (record["action"], record["detail"]) == ("session.delete", {"session": session_id(1)})
    assert octant(data_dir, "audit", "verify").code == ExitCode.OK
    assert not in_the_file("question 1") and not in_the_file("person1@example.org")


def test_failures_are_json_for_programs(data_dir: Path) -> None:
    result = octant(data_dir, "sessions", "show", "ses_nope", "--tenant", "acme", "--json")
    assert json.loads(result.err)["error"]["kind"] == "not_found"
    assert "octant sessions list --tenant acme" in result.err
