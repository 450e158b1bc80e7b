"""Every value survives being written and read, with whatever a newer writer added to it."""

import importlib
import pkgutil
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import octant.core
import octant.ports
from octant.core.content import ChatInput, TextPart
from octant.core.record import Record, decode, encode, to_builtins
from octant.serving.messages import from_engine, to_engine
from tests.support.value_strategies import values_of

QUICK = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)


def _record_classes() -> list[type[Record]]:
    """Records of the vocabulary and of the ports, all but the bases that others extend."""
    for package in (octant.core, octant.ports):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    found: list[type[Record]] = []
    pending = [Record]
    while pending:
        kind = pending.pop()
        heirs = [heir for heir in kind.__subclasses__() if _is_vocabulary(heir)]
        pending.extend(heirs)
        if not heirs:
            found.append(kind)
    return sorted(set(found), key=lambda kind: kind.__name__)


def _is_vocabulary(kind: type) -> bool:
    return kind.__module__.startswith(("octant.core.", "octant.ports."))


RECORDS = _record_classes()


def test_the_whole_vocabulary_was_found() -> None:
    names = {kind.__name__ for kind in RECORDS}
    assert {"RequestEnvelope", "Outcome", "ExecutionManifest", "AuditRecord", "ApiKey"} <= names
    assert len(names) >= 40


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_any_value_survives_with_what_newer_writers_added_at_any_depth(kind: type[Record]) -> None:
    @QUICK
    @given(values_of(kind, newer_fields=True))
    def check(value: Record) -> None:
        written = encode(value)
        assert decode(written, kind) == value
        assert msgspec.json.decode(encode(decode(written, kind))) == msgspec.json.decode(written)

    check()


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_fields_that_an_older_writer_did_not_know_take_their_defaults(kind: type[Record]) -> None:
    required = {field.name for field in msgspec.structs.fields(kind) if field.required}
    defaulted = [field for field in msgspec.structs.fields(kind) if not field.required]

    @settings(parent=QUICK, max_examples=10)
    @given(values_of(kind))
    def check(value: Record) -> None:
        kept = required | {kind.__struct_config__.tag_field}
        document = {name: item for name, item in to_builtins(value).items() if name in kept}
        older = decode(msgspec.json.encode(document), kind)
        assert all(getattr(older, name) == getattr(value, name) for name in required)
        assert all(getattr(older, field.name) == _default(field) for field in defaulted)

    check()


def _default(field: msgspec.structs.FieldInfo) -> Any:
    made = field.default_factory
    return field.default if made is msgspec.NODEFAULT else made()


def test_a_newer_document_is_written_back_as_it_was_read() -> None:
    document = {
        "kind": "chat",
        "messages": [
            {
                "role": "user",
                "parts": [{"kind": "text", "text": "hi", "emphasis": {"from": 0, "to": 2}}],
                "name": None,
                "tool_calls": [],
                "tool_call_id": None,
                "mood": "curious",
            }
        ],
        "tools": [],
        "tool_choice": "auto",
        "reasoning": ["short"],
    }
    read = decode(msgspec.json.encode(document), ChatInput)
    assert read.unknown == {"reasoning": ["short"]}
    assert read.messages[0].parts[0].unknown == {"emphasis": {"from": 0, "to": 2}}
    assert msgspec.json.decode(encode(read)) == document


@pytest.mark.parametrize("bad", [b"", b"{", b"[]", b'{"kind":"text"}', b'{"kind":"x","text":1}'])
def test_a_document_that_does_not_fit_is_refused(bad: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(bad, TextPart)


@pytest.mark.parametrize(
    ("codec", "message"),
    [
        (to_engine, to_engine.ToEngine),
        (from_engine, from_engine.FromEngine),
    ],
    ids=["to_engine", "from_engine"],
)
def test_engine_messages_survive_the_process_boundary(codec: Any, message: Any) -> None:
    @settings(parent=QUICK, max_examples=150)
    @given(values_of(message))
    def check(value: Any) -> None:
        assert codec.decode(codec.encode(value)) == value

    check()


@given(st.binary(max_size=64))
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    for codec in (to_engine, from_engine):
        try:
            codec.decode(data)
        except msgspec.DecodeError:  # ValidationError is one of them
            continue
