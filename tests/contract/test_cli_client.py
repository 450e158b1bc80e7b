"""chat and models against servers that behave and servers that do not."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from octant.cli.output import ExitCode
from octant.cli.sse import SseReader
from tests.support.cli import CliResult, run_cli
from tests.support.scripted_server import Script, scripted_server

SSE = {"content-type": "text/event-stream", "x-request-id": "req_1"}
MODELS = Script(pieces=(b'{"data": [{"id": "m", "object": "model", "owned_by": "octant"}]}',))


def _event(value: Any) -> bytes:
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


def _delta(content: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    return _event({"choices": [choice], "usage": None})


USAGE = _event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
DONE = _event(b"[DONE]")


def _chat(tmp_path: Path, *pieces: bytes, cut: bool = False, as_json: bool = False) -> CliResult:
    script = Script(headers=SSE, pieces=pieces, cut=cut)
    with scripted_server({"/v1/models": MODELS, "/v1/chat/completions": script}) as server:
        arguments = ["chat", "hi", "--url", server.url, "--key", "k"]
        arguments += ["--data-dir", str(tmp_path), *(["--json"] if as_json else [])]
        return run_cli(*arguments)


def test_an_answer_is_printed_as_it_streams(tmp_path: Path) -> None:
    result = _chat(tmp_path, _delta("Hel"), _delta("lo", "stop"), USAGE, DONE)

    assert result == CliResult(ExitCode.OK, "Hello\n", "")


def test_the_state_of_a_model_is_a_word_in_its_own_column(tmp_path: Path) -> None:
    model = b'{"id": "m", "object": "model", "owned_by": "octant", "octant": {"state": "ready"}}'
    with scripted_server({"/v1/models": Script(pieces=(b'{"data": [%b]}' % model,))}) as server:
        listed = run_cli(
            *("models", "list", "--url", server.url, "--key", "k", "--data-dir", str(tmp_path))
        )

    heading, row = (line.split() for line in listed.out.splitlines())
    assert heading[-1] == "state"
    assert row == ["m", "octant", "ready"]


def test_json_has_the_answer_with_its_usage(tmp_path: Path) -> None:
    result = _chat(tmp_path, _delta("Hello", "stop"), USAGE, DONE, as_json=True)

    assert result.json == {
        "content": "Hello",
        "finish_reason": "stop",
        "tool_calls": [],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
        "request_id": "req_1",
    }


def test_tool_calls_arrive_in_fragments(tmp_path: Path) -> None:
    def call(**function: str) -> bytes:
        delta = {"tool_calls": [{"index": 0, "function": function}]}
        return _event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})

    result = _chat(
        tmp_path, call(name="add", arguments=""), call(arguments='{"a":'), call(arguments="1}"),
        USAGE, DONE, as_json=True,
    )  # fmt: skip

    assert result.json["tool_calls"] == [{"name": "add", "arguments": '{"a":1}'}]


def test_a_model_cannot_steer_the_terminal(tmp_path: Path) -> None:
    result = _chat(tmp_path, _delta("a\x1b[3"), _delta("1mb\x07\x1b]0;x\x07c", "stop"), DONE)

    assert result.out == "abc\n"


def test_events_may_be_cut_anywhere(tmp_path: Path) -> None:
    whole = _delta("Grüße 🐙", "stop") + b": keep-alive\n\n" + USAGE + DONE

    result = _chat(tmp_path, *(whole[n : n + 1] for n in range(len(whole))))

    assert result.out == "Grüße 🐙\n"


def test_a_failure_in_the_stream_is_told_with_its_kind(tmp_path: Path) -> None:
    lost = {"error": {"message": "The engine was lost.", "code": "engine_lost", "param": None}}

    result = _chat(tmp_path, _delta("Hel"), _event(lost))

    assert result.code == ExitCode.UNAVAILABLE
    assert result.out == "Hel"
    assert "The engine was lost." in result.err and "engine_lost" in result.err


@pytest.mark.parametrize("cut", [True, False])
def test_a_stream_without_its_end_is_never_complete(tmp_path: Path, cut: bool) -> None:
    result = _chat(tmp_path, _delta("Hel"), cut=cut, as_json=True)

    assert result.code == ExitCode.UNAVAILABLE
    assert result.out == ""


@pytest.mark.parametrize(
    ("status", "body", "code", "said"),
    [
        (401, b'{"error": {"message": "Bad key.", "code": "invalid_api_key"}}', 2, "Bad key."),
        (429, b'{"error": {"message": "Slow down.", "code": "rate_limit_exceeded"}}', 3, "Slow"),
        (503, b'{"error": {"message": "New.", "code": "of the future"}}', 3, "New."),
        (502, b"<html>", 3, "status 502"),
    ],
)
def test_refusals_keep_their_message_and_class(
    tmp_path: Path, status: int, body: bytes, code: int, said: str
) -> None:
    with scripted_server({"/v1/models": Script(status, pieces=(body,))}) as server:
        result = run_cli(
            *("models", "list", "--url", server.url, "--key", "k", "--data-dir", str(tmp_path))
        )

    assert result.code == code
    assert said in result.err


def test_models_are_listed_with_the_key_that_was_given(tmp_path: Path) -> None:
    with scripted_server({"/v1/models": MODELS}) as server:
        arguments = ("models", "list", "--url", f"{server.url}/v1", "--key", "secret", "--json")
        result = run_cli(*arguments, "--data-dir", str(tmp_path))

    assert [model["id"] for model in result.json] == ["m"]
    assert [asked.authorization for asked in server.asked] == ["Bearer secret"]
    assert not list(tmp_path.iterdir()), "a key of one's own needs no local store"


def test_url_and_key_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted_server({"/v1/models": MODELS}) as server:
        monkeypatch.setenv("OCTANT_BASE_URL", server.url)
        monkeypatch.setenv("OCTANT_API_KEY", "from-environment")
        result = run_cli("models", "list", "--data-dir", str(tmp_path))

    assert result.code == ExitCode.OK
    assert server.asked[0].authorization == "Bearer from-environment"


def test_a_foreign_server_is_never_sent_a_key_of_the_local_store(tmp_path: Path) -> None:
    with scripted_server({"/v1/models": MODELS}) as server:
        result = run_cli("models", "list", "--url", server.url, "--data-dir", str(tmp_path))

    assert result.code == ExitCode.USAGE
    assert "OCTANT_API_KEY" in result.err
    assert server.asked == []


def test_something_else_on_the_port_is_recognised(tmp_path: Path) -> None:
    with scripted_server({"/v1/models": Script(pieces=(b"<html>hello</html>",))}) as server:
        result = run_cli("models", "list", "--url", server.url, "--key", "k")

    assert result.code == ExitCode.UNAVAILABLE
    assert "not JSON" in result.err


def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        result = run_cli("models", "list", "--url", url, "--key", "k")

    assert result.code == ExitCode.UNAVAILABLE
    assert "octant serve" in result.err


def test_a_wrong_address_is_a_usage_error() -> None:
    result = run_cli("models", "list", "--url", "localhost:8000", "--key", "k")

    assert result.code == ExitCode.USAGE
    assert "--url" in result.err


def test_standard_input_can_be_the_message(tmp_path: Path) -> None:
    script = Script(headers=SSE, pieces=(_delta("ok", "stop"), DONE))
    with scripted_server({"/v1/chat/completions": script}) as server:
        arguments = ("chat", "-", "--model", "m", "--system", "Be brief.", "--temperature", "0")
        run_cli(*arguments, "--url", server.url, "--key", "k", stdin="Long text")

    asked = json.loads(server.asked[0].body)
    assert asked["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Long text"},
    ]
    assert asked["temperature"] == 0
    assert asked["stream"] is True


def test_an_endless_event_is_refused() -> None:
    reader = SseReader()

    with pytest.raises(ValueError, match="more than"):
        for _ in range(9):
            list(reader.feed(b"x" * 1024 * 1024))
