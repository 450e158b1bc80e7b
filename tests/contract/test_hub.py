"""HuggingFaceHub against a small hub on this machine: what arrives, and what is refused."""

import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from octant.adapters.huggingface.hub import HuggingFaceHub
from octant.core.failure import Failed, FailureKind
from octant.core.stage import Stage

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b'{"architectures": ["LlamaForCausalLM"]}',
    "tokenizer.json": b"{}",
    "model.safetensors": b"tensors" * 1000,
    "pytorch_model.bin": b"pickle",
    "modeling_custom.py": b"import os",
    "onnx/model.safetensors": b"elsewhere",
}


class SmallHub(BaseHTTPRequestHandler):
    """Serves one model, `owner/tiny`; `forged` names a file whose content is not as listed."""

    forged: str | None = None
    asked: list[str]

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self, *, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        prefix = f"/owner/tiny/resolve/{COMMIT}/"
        if path == "/api/models/owner/tiny":
            return self._send(json.dumps(listing()).encode(), {}, with_body)
        name = path.removeprefix(prefix)
        if path.startswith(prefix) and name in FILES:
            self.asked.append(name)
            body = FILES[name][::-1] if name == type(self).forged else FILES[name]
            headers = {"ETag": f'"{sha256(FILES[name])}"', "X-Repo-Commit": COMMIT}
            return self._send(body, headers, with_body)
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, body: bytes, headers: dict[str, str], with_body: bool) -> None:
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def listing() -> dict[str, Any]:
    siblings: list[dict[str, Any]] = []
    for name, content in FILES.items():
        entry: dict[str, Any] = {"rfilename": name, "size": len(content)}
        entry["blobId"] = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        if name.endswith(".safetensors"):
            entry["lfs"] = {"sha256": sha256(content), "size": len(content), "pointerSize": 130}
        siblings.append(entry)
    return {"id": "owner/tiny", "sha": COMMIT, "siblings": siblings}


@pytest.fixture
def hub() -> Iterator[type[SmallHub]]:
    class Handler(SmallHub):
        forged = None
        asked: list[str] = []

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    Handler.address = f"http://127.0.0.1:{server.server_port}"
    yield Handler
    server.shutdown()
    thread.join()
    server.server_close()


def download(hub: Any, name: str, target: Path) -> list[str]:
    told: list[str] = []
    HuggingFaceHub(endpoint=hub.address).download(name, target, told.append)
    return told


def test_configuration_tokenizer_and_safetensors_arrive_and_nothing_else(
    hub: Any, tmp_path: Path
) -> None:
    told = download(hub, "owner/tiny", tmp_path)
    wanted = {"config.json", "tokenizer.json", "model.safetensors"}
    assert {path.name for path in tmp_path.rglob("*")} == wanted
    assert all((tmp_path / name).read_bytes() == FILES[name] for name in wanted)
    assert set(hub.asked) == wanted
    assert len(told) == len(wanted)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_that_is_not_as_listed_is_removed_and_named(
    hub: Any, tmp_path: Path, name: str
) -> None:
    hub.forged = name
    with pytest.raises(Failed) as failed:
        download(hub, "owner/tiny", tmp_path)
    assert failed.value.failure.kind is FailureKind.CORRUPT_ARTIFACT
    assert name in failed.value.failure.message
    assert not (tmp_path / name).exists()


def test_an_unknown_model_is_not_found(hub: Any, tmp_path: Path) -> None:
    with pytest.raises(Failed) as failed:
        download(hub, "owner/other", tmp_path)
    assert failed.value.failure.kind is FailureKind.MODEL_NOT_FOUND
    assert failed.value.failure.stage is Stage.CAPTURE


def test_a_hub_that_cannot_be_reached_says_to_give_a_path(tmp_path: Path) -> None:
    # Port 9 (discard) has no listener: the connection is refused at once.
    with pytest.raises(Failed) as failed:
        HuggingFaceHub(endpoint="http://127.0.0.1:9").download("a/b", tmp_path, lambda _: None)
    failure = failed.value.failure
    assert failure.kind is FailureKind.UPSTREAM_FAILURE
    assert "cannot be reached" in failure.message
    assert "give the path of a checkpoint" in failure.message
