"""Answers against their contract and their evidence: strict, explained, and telling nothing on."""

from typing import Any

import pytest

from octant.context.evidence import select
from octant.core.content import Role
from octant.core.envelope import ContextPolicy, OutputContract
from octant.core.evidence import Document, Evidence
from octant.core.failure import Failed, FailureKind
from octant.orchestration.output_check import (
    CheckedOutput,
    check_output,
    compile_contract,
    repair_messages,
)

PERSON = OutputContract(
    json_schema={
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "age": {"type": "integer", "minimum": 0},
            "mail": {"type": "string", "format": "email"},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}},
        },
        "required": ["name"],
        "additionalProperties": False,
    }
)
CITED = ContextPolicy(require_citations=True)


def held(*texts: str, contract: OutputContract | None = PERSON) -> CheckedOutput:
    return check_output(contract, ContextPolicy(), None, texts)


def given(text: str = "The museum opens at nine.") -> Evidence:
    return select([Document(id="d", text=text)], "", 1_000, len)


def test_nothing_asked_nothing_judged() -> None:
    checked = check_output(None, ContextPolicy(), None, ["anything"])
    assert checked == CheckedOutput(None, (None,), (), ())


@pytest.mark.parametrize("text", ['{"name": "Ann", "age": 7}', '\n {"name":"Ann","age":7}\t\n'])
def test_json_that_fits_is_returned_as_a_value(text: str) -> None:
    assert held(text) == CheckedOutput(True, ({"name": "Ann", "age": 7},), (), ())


@pytest.mark.parametrize("value", ["0", "false", "null", '""', "[]"])
def test_a_value_that_looks_like_nothing_is_one(value: str) -> None:
    assert held(value, contract=OutputContract(json_schema={})).valid is True


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not JSON"),
        ("Ann is 7.", "is not JSON"),
        ('```json\n{"name": "Ann"}\n```', "is not JSON"),
        ('Here you are: {"name": "Ann"}', "is not JSON"),
        ('{"name": "Ann"} Anything else?', "is not JSON"),
        ('{"name": "Ann"', "is not JSON"),
        ("{'name': 'Ann'}", "is not JSON"),
        ('{"name": "Ann", "age": NaN}', "is not JSON"),
        ('{"name": "Ann", "name": "Bo"}', "same key twice"),
        ('{"age": 1e999}', "too large"),
        ("[" * 40 + "]" * 40, "nested deeper"),
        ("[" * 100_000, "nested deeper"),
        ("1" * 5_000, "Exceeds the limit"),
    ],
)
def test_the_whole_reply_has_to_be_one_json_value(text: str, problem: str) -> None:
    checked = held(text)
    assert (checked.valid, checked.structured) == (False, (None,))
    assert checked.problems[0].startswith("the whole reply has to be one JSON value")
    assert problem in checked.problems[0]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("{}", {'the whole: "name" is a required property'}),
        ('{"name": 5}', {'name: the value is not of type "string"'}),
        ('{"name": "x", "age": -1}', {"age: the value is less than the minimum of 0"}),
        ('{"name": "x", "mail": "nope"}', {'mail: the value is not a "email"'}),
        ('{"name": "x", "tags": ["a", "c"]}', {'tags[1]: the value is not one of "a" or "b"'}),
        (
            '{"name": 5, "zip": 1}',
            {
                'name: the value is not of type "string"',
                "the whole: it has a property that the schema does not allow",
            },
        ),
        ("[]", {'the whole: the value is not of type "object"'}),
    ],
)
def test_problems_name_place_and_rule(text: str, problems: set[str]) -> None:
    checked = held(text)
    assert (checked.valid, checked.structured, set(checked.problems)) == (False, (None,), problems)


def test_problems_never_repeat_what_was_said() -> None:
    secret = "hunter2"
    schema: dict[str, Any] = {
        "additionalProperties": {"type": "object", "additionalProperties": {"maxLength": 3}},
        "propertyNames": {"maxLength": 3},
    }
    for text in (f'{{"{secret}": 1}}', f'{{"a": {{"{secret}": "{secret}"}}}}', f'["{secret}'):
        checked = held(text, contract=OutputContract(json_schema=schema | {"type": "object"}))
        assert checked.valid is False
        assert secret not in str(checked.problems)


def test_every_choice_is_judged() -> None:
    checked = held('{"name": "Ann"}', "no")
    assert (checked.valid, checked.structured) == (False, ({"name": "Ann"}, None))
    assert [problem.split(":")[0] for problem in checked.problems] == ["choice 1"]


def test_required_citations_need_a_supported_mark_in_every_choice() -> None:
    good, none = "The museum opens at nine [1].", "The museum opens at nine."
    wrong = "The museum opens at ten [1]."

    def valid(*texts: str) -> tuple[bool | None, int]:
        checked = check_output(None, CITED, given(), texts)
        return checked.valid, len(checked.problems)

    assert valid(good) == (True, 0)
    assert valid(f"{wrong} {good}") == (True, 0)
    assert valid(none) == valid(wrong) == (False, 1)
    assert valid(good, none) == (False, 1)
    assert "such as [1]" in check_output(None, CITED, given(), [none]).problems[0]
    for missing in (None, select([], "", 100, len)):
        [problem] = check_output(None, CITED, missing, [good]).problems
        assert problem == "no passage was found to cite from"


def test_citations_are_reported_without_being_required() -> None:
    checked = check_output(None, ContextPolicy(), given(), ["It opens at ten [1] or nine [2]."])
    assert checked.valid is None
    assert [(c.index, c.supported) for c in checked.citations] == [(1, False), (2, False)]


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "objekt"}, "not valid under any"),
        ({"minimum": "x"}, "not of type"),
        ({"pattern": "("}, "regex"),
        ({"pattern": "(?=a)b"}, "regex"),
        ({"$ref": "https://example.com/schema"}, "leads out of the schema"),
        ({"$schema": "https://example.com/schema"}, "$schema"),
        ({"description": "x" * 70_000}, "longer than"),
    ],
)
def test_a_schema_that_cannot_be_used_is_the_callers_mistake(
    schema: dict[str, Any], problem: str
) -> None:
    with pytest.raises(Failed) as raised:
        compile_contract(OutputContract(json_schema=schema))
    failure = raised.value.failure
    assert (failure.kind, failure.param) == (
        FailureKind.INVALID_VALUE,
        "octant.output.json_schema",
    )
    assert problem in failure.message


def test_a_usable_schema_passes() -> None:
    compile_contract(PERSON)
    compile_contract(OutputContract(json_schema={}))


def test_a_repair_shows_the_answer_and_what_is_wrong_with_it() -> None:
    said, asked = repair_messages(None, "no", ("name: missing", "age: wrong"))
    assert (said.role, said.text) == (Role.ASSISTANT, "no")
    assert asked.role is Role.USER
    assert "- name: missing\n- age: wrong\n" in asked.text


def test_prose_in_place_of_an_object_is_to_have_its_fields_extracted() -> None:
    schema = {"type": "object", "required": ["name", "age"], "properties": {"note": {}}}
    _, asked = repair_messages(OutputContract(json_schema=schema), "Ann, 7", ("no JSON",))
    assert asked.text == "Extract name, age as JSON.\n\nAnn, 7"


def test_an_object_that_does_not_fit_is_told_why() -> None:
    schema = {"type": "object", "required": ["age"]}
    _, asked = repair_messages(OutputContract(json_schema=schema), "{}", ("age: missing",))
    assert "- age: missing\n" in asked.text
