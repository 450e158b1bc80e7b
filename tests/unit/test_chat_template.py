"""Conversations as text: equal to transformers, bounded, and failing in words."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from octant.context.chat_template import ChatTemplate, conversation
from octant.core.content import Message, Role, TextPart, ToolCall, ToolDefinition
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage

TEMPLATES = Path(__file__).parents[1] / "data" / "chat_templates"
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
NOW = datetime(2026, 11, 21, 15, 0, tzinfo=UTC)
WEATHER = ToolDefinition(
    name="get_weather",
    description='Says "what\'s up" <outside> & in Zürich',
    parameters={"type": "object", "properties": {"city": {"type": "string"}}},
)


def say(role: str, text: str = "", **more: Any) -> Message:
    return Message(role=Role(role), parts=(TextPart(text=text),) if text else (), **more)


def template(name: str) -> ChatTemplate:
    return ChatTemplate((TEMPLATES / f"{name}.jinja").read_text(), SPECIAL)


CALL = say(
    "assistant",
    tool_calls=(ToolCall(id="call_1", name="get_weather", arguments='{"city": "Zürich", "n": 1}'),),
)
TALKS: dict[str, tuple[Message, ...]] = {
    "one turn": (say("user", " Hi there \n"),),
    "with system": (say("system", "Be brief. "), say("user", "Hi")),
    "several turns": (say("user", "Hi"), say("assistant", "Hello!"), say("user", '<b> & "c"')),
    "thinking": (
        say("user", "1+1"),
        say("assistant", "<think>\nhm\n</think>\n\n2"),
        say("user", "?"),
    ),
    "tool use": (
        say("user", "Weather?"),
        CALL,
        say("tool", '{"temp": 3}', tool_call_id="call_1"),
        say("assistant", "3 degrees."),
        say("user", "Thanks"),
    ),
}


@pytest.fixture(scope="module")
def reference() -> Callable[..., str]:
    """What transformers renders."""
    utils = pytest.importorskip("transformers.utils.chat_template_utils")

    def render(name: str, talk: dict[str, Any], **options: Any) -> str:
        (text,) = utils.render_jinja_template(
            conversations=[talk["messages"]],
            tools=talk["tools"] or None,
            chat_template=(TEMPLATES / f"{name}.jinja").read_text(),
            **SPECIAL,
            **options,
        )[0]
        return text

    return render


@pytest.mark.prepare
@pytest.mark.parametrize("tools", [(), (WEATHER,)], ids=["plain", "tools"])
@pytest.mark.parametrize("prompted", [True, False], ids=["open", "closed"])
@pytest.mark.parametrize("talk", TALKS)
@pytest.mark.parametrize("name", ["qwen3", "llama3", "mistral", "gemma", "phi3"])
def test_renders_what_transformers_renders(
    reference: Callable[..., str],
    name: str,
    talk: str,
    prompted: bool,
    tools: tuple[ToolDefinition, ...],
) -> None:
    shaped = conversation(TALKS[talk], tools)
    options = {"add_generation_prompt": prompted}
    try:
        expected = reference(name, shaped, **options, date_string="21 Nov 2026")
    except Exception as error:
        with pytest.raises(Failed) as caught:
            template(name).render(TALKS[talk], tools, **options, now=NOW)
        assert str(error) in caught.value.failure.message
    else:
        assert template(name).render(TALKS[talk], tools, **options, now=NOW) == expected


def test_qwen3_with_a_tool_in_full() -> None:
    text = template("qwen3").render((say("user", "Weather?"), CALL), (WEATHER,))
    assert text.startswith("<|im_start|>system\n# Tools\n")
    assert (
        '\n{"type": "function", "function": {"name": "get_weather", "description": '
        '"Says \\"what\'s up\\" <outside> & in Zürich", "parameters": {"type": "object", '
        '"properties": {"city": {"type": "string"}}}}}\n</tools>' in text
    )
    assert text.endswith(
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Zürich", "n": 1}}\n'
        "</tool_call><|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_date_is_the_one_given() -> None:
    assert "Today Date: 21 Nov 2026" in template("llama3").render(TALKS["one turn"], now=NOW)
    assert "Today Date: 26 Jul 2024" in template("llama3").render(TALKS["one turn"])


def test_another_template_may_serve_conversations_with_tools() -> None:
    both = ChatTemplate("plain", tool_source="with {{ tools | length }}")
    assert both.render(()) == "plain"
    assert both.render((), (WEATHER,)) == "with 1"


def test_loop_controls_and_generation_marks_are_understood() -> None:
    source = "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}"
    source += "{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
    assert ChatTemplate(source).render((say("user", "a"), say("user", "b"))) == "a"


def test_arguments_that_are_no_object_stay_text() -> None:
    source = "{% for m in messages %}{% for c in m.tool_calls %}{{ c.function.arguments }}|"
    source += "{% endfor %}{% endfor %}"
    odd = ("[1", "3", '"x"', "[" * 100_000)
    calls = tuple(ToolCall(id="c", name="f", arguments=text) for text in odd)
    assert ChatTemplate(source).render((say("assistant", tool_calls=calls),)) == "|".join(odd) + "|"


def failure_of(source: str, *messages: Message) -> Failure:
    with pytest.raises(Failed) as caught:
        ChatTemplate(source).render(messages)
    return caught.value.failure


def test_what_a_template_refuses_is_said_in_its_words() -> None:
    failure = failure_of("{{ raise_exception('Roles must alternate.') }}")
    assert failure.kind is FailureKind.INVALID_VALUE
    assert failure.stage is Stage.CONTEXT
    assert failure.message == "Roles must alternate."


@pytest.mark.parametrize(
    "source",
    [
        "{{ nothing.of.this }}",
        "{{ 1 / 0 }}",
        "{{ messages + 1 }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for i in range(10**9) %}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% for i in range(9999) %}{% for j in range(999) %}{% endfor %}"
        "{% endfor %}{% endmacro %}{{ f(1) }}",
        "{% for i in range(99999) %}{{ '0123456789' }}{% endfor %}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
    ],
)
def test_a_template_that_runs_away_or_breaks_out_fails(source: str) -> None:
    failure = failure_of(source, say("user", "hi"))
    assert failure.kind is FailureKind.INVALID_VALUE
    assert failure.message.startswith("The chat template cannot render")


def test_output_may_grow_with_the_input() -> None:
    text = "long " * 50_000
    assert len(template("qwen3").render((say("user", text),))) > len(text)


@pytest.mark.parametrize("source", ["{% if %}", "{{ x", "{% unknown %}", "{{ x | nofilter }}"])
def test_a_source_that_is_no_template_is_a_corrupt_artifact(source: str) -> None:
    with pytest.raises(Failed) as caught:
        ChatTemplate(source)
    assert caught.value.failure.kind is FailureKind.CORRUPT_ARTIFACT
