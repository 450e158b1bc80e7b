"""`octant replay` on the bundled model: what ran in a full batch is found again, alone."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from octant.adapters.sqlite.store import SqliteStore
from octant.app import layers
from octant.app.settings import load_settings
from octant.cli.output import ExitCode
from octant.core.ids import RequestId
from octant.core.manifest import ExecutedStep, ExecutionManifest
from octant.core.recording import Recording
from octant.ports.store import Tenant
from octant.preparation.manifest import load_manifest
from octant.serving.rerun import rerun_step
from tests.support import settlements
from tests.support.cli import CliResult, run_cli
from tests.support.engine_parts import ROUTE, work
from tests.support.recorded import MODEL_DIR, LoadedModel, load_bundled, record

TEXTS = (
    "What is the capital of France?",
    "List three colours, please.",
    "2 + 2 =",
    "The quick brown fox jumps over the lazy dog. " * 6,
)


@pytest.fixture(scope="module")
def model() -> Iterator[LoadedModel]:
    loaded = load_bundled()
    yield loaded
    loaded.executor.close()


@pytest.fixture(scope="module")
def batch(model: LoadedModel) -> dict[RequestId, Recording]:
    """Eight greedy requests that shared their steps."""
    encode = model.words.tokenizer.encode_untrusted
    prompts = [encode(f"({number}) {TEXTS[number % len(TEXTS)]}") for number in range(8)]
    works = [work(p, f"req_{n}{'0' * 31}", max_tokens=24) for n, p in enumerate(prompts)]
    return record(model, works)


def test_greedy_requests_of_a_batch_come_out_the_same_alone(
    model: LoadedModel, batch: dict[RequestId, Recording]
) -> None:
    reruns = [
        rerun_step(model.executor, model.words, recording, recording.steps[0], 512)
        for recording in batch.values()
    ]

    for (again,) in reruns:
        # Rounding in another batch shape may decide a near tie, and nothing but one.
        close = again.divergence is not None and abs(again.divergence.margin or 9) < 0.25
        assert again.divergence is None or close
    assert sum(again.divergence is None for (again,) in reruns) >= 6


def _manifest(model: LoadedModel, recording: Recording) -> ExecutionManifest:
    facts, artifact = model.executor.facts, load_manifest(MODEL_DIR)
    step = recording.steps[0]
    return ExecutionManifest(
        request_id=recording.request_id,
        route=ROUTE,
        release=settlements.manifest(1).release,
        model="octant-mini",
        artifact_digest=artifact.digest,
        tokenizer_digest=model.words.tokenizer.digest,
        engine=facts.engine,
        engine_version=facts.engine_version,
        weight_precision=facts.weight_precision,
        kv_precision=facts.kv_precision,
        prompt_digest="",
        prompt_tokens=len(step.prompt_tokens),
        sampling=step.sampling,
        seed=step.seed,
        policy_version="1",
        engine_flags=facts.flags,
        hardware=facts.hardware,
        device=facts.device,
        steps=(ExecutedStep(step=1, attempt=1, route=ROUTE, max_batch=8),),
    )


class _Kept:
    """A store with one request, and `octant replay` on it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.settings = load_settings(None, {"server.data_dir": str(data_dir)}).settings

    def put(self, recording: Recording | None, manifest: ExecutionManifest) -> None:
        async def settle() -> None:
            self.data_dir.mkdir()
            store = SqliteStore(layers.store(self.settings))
            await store.open()
            tenant = settlements.ACME
            await store.put_tenant(Tenant(id=tenant.id, name="Acme", created_unix_ns=1))
            ended = replace(settlements.outcome(1), request_id=manifest.request_id)
            settlement = replace(
                settlements.settlement(1), outcome=ended, manifest=manifest, recording=recording
            )
            await store.settle(settlement)
            await store.close()

        asyncio.run(settle())

    def replay(self, *options: str) -> CliResult:
        return run_cli("replay", "req_", *options, "--data-dir", str(self.data_dir))


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Kept:
    monkeypatch.chdir(tmp_path)
    return _Kept(tmp_path / "data")


def _one(batch: dict[RequestId, Recording]) -> Recording:
    """The longest answer."""
    return max(batch.values(), key=lambda recording: len(recording.steps[0].outputs[0]))


def test_the_command_finds_artifact_and_tokens_again(
    kept: _Kept, model: LoadedModel, batch: dict[RequestId, Recording]
) -> None:
    recording = _one(batch)
    kept.put(recording, _manifest(model, recording))

    done = kept.replay("--json")

    assert done.code == ExitCode.OK, done.err
    told = done.json
    assert told["verdict"] == "identical"
    assert told["tokens"] == len(recording.steps[0].outputs[0])
    assert [change["what"] for change in told["steps"][0]["changes"]] == ["batch"]


def test_a_difference_names_place_tokens_and_cause(
    kept: _Kept, model: LoadedModel, batch: dict[RequestId, Recording]
) -> None:
    recording = _one(batch)
    (said,) = recording.steps[0].outputs
    other = said[4] + 1 if said[4] + 1 < model.executor.facts.vocab_size else 0
    step = replace(recording.steps[0], outputs=((*said[:4], other, *said[5:]),))
    manifest = replace(_manifest(model, recording), engine_version="2020.1")
    kept.put(replace(recording, steps=(step,)), manifest)

    done = kept.replay()

    assert done.code == ExitCode.FAILED_CHECK
    assert "choice 0, token 4" in done.out
    assert f"({other})" in done.out and f"({said[4]})" in done.out
    assert "probable cause: engine version: 2020.1 then" in done.out


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"engine": "upstream", "artifact_digest": ""}, "it was answered by upstream"),
        ({"artifact_digest": "sha256:" + "0" * 64}, "is not here any more"),
    ],
)
def test_what_cannot_be_run_again_says_why(
    kept: _Kept,
    model: LoadedModel,
    batch: dict[RequestId, Recording],
    changes: dict[str, str],
    why: str,
) -> None:
    recording = _one(batch)
    kept.put(recording, replace(_manifest(model, recording), **changes))

    done = kept.replay()

    assert done.code == ExitCode.UNAVAILABLE
    assert "not_replayable" in done.out and why in done.out


def test_a_request_whose_tokens_were_not_kept_is_told_of(
    kept: _Kept, model: LoadedModel, batch: dict[RequestId, Recording]
) -> None:
    kept.put(None, _manifest(model, _one(batch)))

    done = kept.replay()

    assert done.code == ExitCode.UNAVAILABLE
    assert "were not kept" in done.err


def test_another_artifact_can_be_tried_and_is_the_cause(
    kept: _Kept, model: LoadedModel, batch: dict[RequestId, Recording]
) -> None:
    recording = _one(batch)
    step = replace(recording.steps[0], outputs=((0,) * 24,))
    gone = replace(_manifest(model, recording), artifact_digest="sha256:" + "0" * 64)
    kept.put(replace(recording, steps=(step,)), gone)

    done = kept.replay("--artifact", str(MODEL_DIR), "--json")

    assert done.code == ExitCode.FAILED_CHECK
    told = done.json["steps"][0]
    assert told["cause"].startswith("artifact: sha256:000")
