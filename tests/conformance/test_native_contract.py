"""The native contract against a real server with a real model, every answer held to its schema."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import jsonschema_rs
import pytest
from openai import OpenAI

from tests.support.server import RunningServer, eventually

GREEDY = {"temperature": 0, "max_tokens": 60}
SUM = "What is 17 times 42?"
CARD = "4111 1111 1111 1111"


class Contract:
    """A client that checks everything it reads against the schemas that the server serves."""

    def __init__(self, http: httpx2.Client, model: str) -> None:
        self._http = http
        self._model = model
        names = ("run-request.v1", "run-response.v1", "run-event.v1", "conversation.v1")
        self._checks = {
            name: jsonschema_rs.validator_for(http.get(f"/v1/schemas/{name}").json())
            for name in names
        }

    def run(self, expected: int = 200, **fields: Any) -> dict[str, Any]:
        """A whole run that ends with the status `expected`."""
        response = self._http.post("/v1/runs", json=self._body(fields))
        assert response.status_code == expected, response.text
        run = response.json()
        self._checks["run-response.v1"].validate(run)
        assert run["id"] == response.headers["x-request-id"]
        assert (run["error"] is None) == (run["status"] == "completed") == (expected == 200)
        return run

    def events(self, **fields: Any) -> list[dict[str, Any]]:
        """The events of a streamed run."""
        body = self._body(fields | {"stream": True})
        text = self._http.post("/v1/runs", json=body).text
        lines = [line for line in text.splitlines() if line.startswith("data: ")]
        events = [json.loads(line.removeprefix("data: ")) for line in lines]
        for number, event in enumerate(events):
            self._checks["run-event.v1"].validate(event)
            assert event["sequence_number"] == number
        return events

    def session(self) -> str:
        """A new session's id."""
        return self._http.post("/v1/sessions", json={"title": "Test"}).json()["id"]

    def turns(self, session: str) -> list[dict[str, Any]]:
        """What a session holds."""
        shown = self._http.get(f"/v1/sessions/{session}").json()
        self._checks["conversation.v1"].validate(shown)
        assert shown["version"] == len(shown["turns"])
        return shown["turns"]

    def delete(self, session: str) -> int:
        """The status of deleting a session."""
        return self._http.delete(f"/v1/sessions/{session}").status_code

    def _body(self, fields: dict[str, Any]) -> dict[str, Any]:
        body = {"model": self._model, "input": "Hello", "sampling": GREEDY} | fields
        self._checks["run-request.v1"].validate(body)
        return body


@pytest.fixture
def contract(server: RunningServer) -> Iterator[Contract]:
    with server.http() as http:
        # A second route that still loads would be waited for where no ready one fits.
        eventually(lambda: _all_ready(http), "every route is ready")
        yield Contract(http, server.model)


def _all_ready(http: httpx2.Client) -> bool:
    models = http.get("/health/models").json()["models"].values()
    return all(route["state"] == "ready" for model in models for route in model["routes"].values())


@pytest.fixture
def client(server: RunningServer) -> Iterator[OpenAI]:
    with server.client() as opened:
        yield opened


def test_a_run_says_what_a_chat_says(
    server: RunningServer, contract: Contract, client: OpenAI
) -> None:
    run = contract.run()
    chat = client.chat.completions.create(
        model=server.model, messages=[{"role": "user", "content": "Hello"}], **GREEDY
    )
    assert run["output"]["text"] == chat.choices[0].message.content
    assert run["usage"]["completion_tokens"] > 0
    assert run["usage"]["total_tokens"] == sum(
        run["usage"][part] for part in ("prompt_tokens", "completion_tokens")
    )
    assert {"admission", "prefill", "decode"} <= {stage["stage"] for stage in run["stages"]}
    assert run["route"]["model"] == server.model
    assert [attempt["error"] for attempt in run["attempts"]] == [None]


def test_a_streamed_run_ends_as_the_whole_one(contract: Contract) -> None:
    first, *deltas, last = contract.events()
    assert (first["type"], last["type"]) == ("run.started", "run.completed")
    assert {event["type"] for event in deltas} == {"run.text.delta"}
    said = "".join(event["text"] for event in deltas)
    assert said == last["run"]["output"]["text"] == contract.run()["output"]["text"]
    assert last["run"]["id"] == first["id"]


def test_octant_runs_a_tool_and_the_answer_uses_it(contract: Contract) -> None:
    run = contract.run(input=SUM, tools=["calculator"])
    (tool,) = run["tools"]
    assert (tool["status"], tool["side_effect"], tool["error"]) == ("succeeded", "read", None)
    assert json.loads(tool["result"]) == {"result": 714}
    assert "714" in run["output"]["text"]
    assert run["output"]["tool_calls"] == []
    assert "tool" in {stage["stage"] for stage in run["stages"]}


def test_a_streamed_tool_is_one_event(contract: Contract) -> None:
    events = contract.events(input=SUM, tools=["calculator"])
    (ran,) = [event for event in events if event["type"] == "run.tool.finished"]
    assert json.loads(ran["tool"]["result"]) == {"result": 714}
    assert events[-1]["run"]["tools"] == [ran["tool"]]


@pytest.mark.parametrize("stream", [False, True])
def test_the_octant_object_drives_the_same_through_the_official_client(
    server: RunningServer, client: OpenAI, stream: bool
) -> None:
    answer: Any = client.chat.completions.create(
        model=server.model,
        messages=[{"role": "user", "content": SUM}],
        stream=stream,
        extra_body={"octant": {"tools": ["calculator"], "budget": {"tokens": 1000}}},
        **GREEDY,
    )
    if stream:
        *spoken, last = answer
        said = "".join(chunk.choices[0].delta.content or "" for chunk in spoken)
        assert last.choices == []
        assert all(not chunk.choices[0].delta.tool_calls for chunk in spoken)
    else:
        last, said = answer, answer.choices[0].message.content
        assert answer.choices[0].message.tool_calls is None
    assert "714" in said
    report = last.model_extra["octant"]
    assert (report["status"], report["tools"][0]["status"]) == ("completed", "succeeded")


def test_a_session_remembers_branches_and_goes(contract: Contract) -> None:
    session = contract.session()
    first = contract.run(input="My name is Ada.", session={"id": session})
    assert first["session"]["version"] == 1
    go_on = {"id": session, "expected_version": 1}
    second = contract.run(input="Hello again", session=go_on)
    assert (second["session"]["id"], second["session"]["version"]) == (session, 2)
    assert second["usage"]["prompt_tokens"] > first["usage"]["prompt_tokens"]
    turns = contract.turns(session)
    assert [turn["request_id"] for turn in turns] == [first["id"], second["id"]]
    assert [said["content"] for said in turns[0]["messages"]] == [
        "My name is Ada.",
        first["output"]["text"],
    ]
    late = contract.run(409, input="Hello", session=go_on)
    assert late["error"]["code"] == "conflict"
    assert len(contract.turns(session)) == 2
    contract.run(input="Hello", session={"id": session, "store": False})
    assert len(contract.turns(session)) == 2
    assert [contract.delete(session), contract.delete(session)] == [200, 404]
    gone = contract.run(404, session={"id": session})
    assert gone["error"]["octant"]["stage"] == "session"


def test_documents_become_evidence(contract: Contract) -> None:
    documents = [
        {"id": "sky", "title": "Sky", "text": "The sky of Octantia is green."},
        {"id": "sea", "title": "Sea", "text": "The sea of Octantia is red.", "source": "atlas"},
    ]
    run = contract.run(input="What colour is the sky of Octantia?", documents=documents)
    assert {passage["document_id"] for passage in run["evidence"]} <= {"sky", "sea"}
    assert run["evidence"][0]["index"] == 1
    assert run["evidence"][0]["digest"].startswith("sha256:")
    cited = {passage["index"]: passage["document_id"] for passage in run["evidence"]}
    for citation in run["citations"]:
        assert citation["document_id"] == cited.get(citation["index"])


@pytest.mark.parametrize("repairs", [0, 1])
def test_an_answer_meets_its_contract_or_is_not_passed_on(
    server: RunningServer, contract: Contract, repairs: int
) -> None:
    asked = {"json_schema": {"type": "integer", "minimum": 10**9}, "max_repairs": repairs}
    run = contract.run(422, output=asked)
    assert (run["error"]["code"], run["output_valid"]) == ("output_invalid", False)
    assert (run["output"]["text"], run["output"]["structured"]) == ("", None)
    assert len(run["attempts"]) == 1 + repairs
    assert run["error"]["param"] == "output"


def test_a_card_number_never_reaches_the_session(contract: Contract) -> None:
    session = contract.session()
    run = contract.run(input=f"My card is {CARD}.", session={"id": session})
    changed = [made for made in run["decisions"] if made["decision"] == "change"]
    assert [sum(made["findings"].values()) for made in changed][:1] == [1]
    assert CARD not in json.dumps(contract.turns(session))
    contract.delete(session)


def test_body_trace_and_audit_agree_on_a_failure(server: RunningServer, contract: Contract) -> None:
    run = contract.run(404, session={"id": "ses_none"})
    own = run["error"]["octant"]
    trace = json.loads(server.octant("trace", "show", run["id"], "--json").stdout)
    traced = trace["spans"][0]["attributes"]
    assert traced["error.type"] == run["error"]["code"]
    assert traced["octant.failure.class"] == own["class"]
    assert traced["octant.failure.stage"] == own["stage"]
    records = json.loads(server.octant("audit", "list", "--json").stdout)
    details = [record["detail"] for record in records if record["request_id"] == run["id"]]
    (audited,) = [detail for detail in details if "retry" in detail]
    assert (audited["failure"], audited["failure_class"]) == (run["error"]["code"], own["class"])
    assert (audited["stage"], audited["retry"]) == (own["stage"], own["retry"])


@pytest.mark.parametrize(
    ("status", "codes", "fields"),
    [
        (404, {"model_not_found"}, {"model": "no-such-model"}),
        (400, {"invalid_value"}, {"tools": ["no-such-tool"]}),
        (400, {"context_length_exceeded"}, {"input": "word " * 5_000}),
        (504, {"deadline_unreachable", "deadline_exceeded"}, {"deadline_ms": 1}),
    ],
)
def test_a_run_that_fails_is_a_run_with_an_error(
    contract: Contract, status: int, codes: set[str], fields: dict[str, Any]
) -> None:
    run = contract.run(status, **fields)
    assert run["status"] == "failed"
    assert run["error"]["code"] in codes
    assert run["error"]["octant"]["request_id"] == run["id"]
