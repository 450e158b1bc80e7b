"""`octant route explain`: from stored events, for people and for programs."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from octant.app import wiring
from octant.app.settings import load_settings
from octant.cli.output import ExitCode
from octant.core.events import AnyEvent, AttemptFailed, AttemptStarted, RouteDecided
from octant.core.failure import Failure, FailureKind
from octant.core.ids import ReleaseId, RouteId
from octant.core.outcome import Outcome, OutcomeStatus
from octant.core.route import Candidate, RouteDecision
from octant.core.stage import Stage
from octant.ports.store import Settlement
from tests.support.cli import CliResult, run_cli
from tests.support.envelopes import route
from tests.support.settlements import ACME, MONTH, outcome

LOST = Failure(kind=FailureKind.ENGINE_LOST, stage=Stage.DECODE, message="gone")
FAST, SPARE = route("fast", release="one"), route("spare", release="two")


def events(of: Outcome) -> tuple[AnyEvent, ...]:
    request = of.request_id
    first = RouteDecision(
        chosen=FAST,
        release=ReleaseId("one"),
        candidates=(
            Candidate(route=FAST.id, score=1.0),
            Candidate(route=SPARE.id, score=0.25),
            Candidate(route=RouteId("down"), rejected_because="it is failed: crash loop"),
        ),
        fallbacks=(SPARE.id,),
    )
    second = msgspec.structs.replace(
        first,
        chosen=SPARE,
        candidates=(
            Candidate(route=FAST.id, rejected_because="an earlier attempt failed there"),
            Candidate(route=SPARE.id, score=0.25),
        ),
        fallbacks=(),
    )
    return (
        RouteDecided(at_ns=1, request_id=request, decision=first),
        AttemptStarted(at_ns=2, request_id=request, attempt=1, route=FAST.id),
        AttemptFailed(at_ns=3, request_id=request, attempt=1, route=FAST.id, failure=LOST),
        RouteDecided(at_ns=4, request_id=request, decision=second),
        AttemptStarted(at_ns=5, request_id=request, attempt=2, route=SPARE.id),
    )


def explained(tmp_path: Path, of: Outcome, kept: tuple[AnyEvent, ...], *flags: str) -> CliResult:
    settings = load_settings(None, {"server.data_dir": str(tmp_path / "data")}).settings
    settled = Settlement(outcome=of, manifest=None, audit=(), events=kept, month=MONTH)

    async def settle() -> None:
        async with wiring.open_store(settings) as store:
            await store.put_tenant(ACME)
            await store.settle(settled)

    asyncio.run(settle())
    data_dir = str(tmp_path / "data")
    return run_cli("route", "explain", of.request_id, "--data-dir", data_dir, *flags)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_programs_get_every_decision_with_its_attempt(tmp_path: Path) -> None:
    asked = outcome(1, attempts=2, route=SPARE.id)
    told = explained(tmp_path, asked, events(asked), "--json").json
    assert (told["request_id"], told["route"], told["failure"]) == (asked.request_id, "spare", None)
    first, second = told["attempts"]
    assert first["split"] == {"release": "one", "kept": True}
    assert first["candidates"] == [
        {"route": "fast", "score": 1.0, "refused": None},
        {"route": "spare", "score": 0.25, "refused": None},
        {"route": "down", "score": None, "refused": "it is failed: crash loop"},
    ]
    assert (first["attempt"], first["fallbacks"]) == (1, ["spare"])
    assert first["failure"]["kind"] == "engine_lost"
    assert (second["step"], second["attempt"], second["chosen"]) == (1, 2, "spare")
    assert second["split"] == {"release": "one", "kept": False}


def test_people_read_it_from_top_to_bottom(tmp_path: Path) -> None:
    asked = outcome(1, attempts=2, route=SPARE.id)
    told = explained(tmp_path, asked, events(asked)).out
    for line in (
        "step 1, attempt 1  fast",
        "traffic: drew release one",
        "> fast",
        "1.000",
        "it is failed: crash loop",
        "failed engine_lost: gone",
        "step 1, attempt 2  spare",
        "which had no route for it; release two stands in",
        "an earlier attempt failed there",
    ):
        assert line in told, told
        told = told[told.index(line) :]


def test_a_request_that_reached_no_route_says_why(tmp_path: Path) -> None:
    failure = Failure(kind=FailureKind.ENGINE_UNAVAILABLE, stage=Stage.ROUTE, message="all down")
    refused = outcome(1, status=OutcomeStatus.FAILED, failure=failure, route=None, attempts=0)
    told = explained(tmp_path, refused, ())
    assert "No route was chosen: engine_unavailable: all down" in told.out


def test_what_is_no_longer_kept_is_said(tmp_path: Path) -> None:
    assert "no longer kept" in explained(tmp_path, outcome(1), ()).out


def test_an_unknown_request_is_not_found(tmp_path: Path) -> None:
    explained(tmp_path, outcome(1), ())
    missing = run_cli("route", "explain", "req_none", "--data-dir", str(tmp_path / "data"))
    assert missing.code == ExitCode.USAGE
    assert "names no request" in missing.err
