"""`octant serve --model DIRECTORY`: a checkpoint is prepared on the spot, kept, and found again."""

import json
from pathlib import Path

import pytest

from tests.support.checkpoints import write_checkpoint
from tests.support.server import octant, running_server

pytestmark = pytest.mark.prepare


def test_a_checkpoint_is_prepared_once_and_answers(tmp_path: Path) -> None:
    checkpoint = write_checkpoint("qwen3", tmp_path / "tiny-qwen")
    data_dir = tmp_path / "data"
    question = [{"role": "user", "content": "Hi"}]
    answers: list[str] = []
    key = None
    for _ in range(2):
        with (
            running_server(data_dir, "--model", str(checkpoint), key=key) as server,
            server.client() as client,
        ):
            key = server.key
            assert server.model == "tiny-qwen"
            answer = client.chat.completions.create(
                model=server.model, messages=question, max_tokens=8, temperature=0
            )
            answers.append(answer.choices[0].message.content or "")
    assert answers[0] == answers[1]
    (artifact,) = (data_dir / "models").glob("*/octant-model.json")
    stages = [entry["stage"] for entry in json.loads(artifact.read_text())["evidence"]]
    assert stages[0] == "capture" and stages[-1] == "warm" and len(stages) == 9


def test_a_directory_that_is_no_model_is_refused_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused = octant(
        "serve", "--model", str(tmp_path / "empty"), "--data-dir", str(tmp_path / "data")
    )
    assert refused.returncode == 3
    assert "config.json" in refused.stderr
