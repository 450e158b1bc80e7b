"""ChatTemplate: a conversation as the text that a model was trained on.

Law: rendered as transformers renders it (same sandbox, same settings, same filters), but without a
clock, and bounded: loops and output have a limit, so that a conversation cannot make a template
run away. A template belongs to a model and is the operator's choice; it is never a caller's.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn, cast

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from octant.core.content import Message, ToolCall, ToolDefinition
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage

Conversation = dict[str, list[dict[str, Any]]]

# Two passes over ten thousand messages with ten tool calls each stay below; about a second.
MAX_LOOP_STEPS = 250_000

# Templates repeat little: what they add to each message and tool are markers and JSON syntax.
_MAX_GROWTH = 16
_MAX_ADDED_CHARS = 65_536
_MAX_ADDED_CHARS_PER_ITEM = 4_096

_STEP = "octant_loop_step"


class ChatTemplate:
    """A compiled template, safe to use from several threads at once."""

    def __init__(
        self,
        source: str,
        special_tokens: Mapping[str, str] | None = None,
        tool_source: str | None = None,
    ) -> None:
        """`special_tokens` are texts by name (`bos_token`, ...), `tool_source` serves with tools.

        Raises Failed(CORRUPT_ARTIFACT) when a source is not a template.
        """
        self._special_tokens = dict(special_tokens or {})
        self._plain = _compile(source)
        self._with_tools = self._plain if tool_source is None else _compile(tool_source)
        self._digest = _digest(source, tool_source, self._special_tokens)

    @property
    def digest(self) -> str:
        """`sha256:` and 64 hex digits; templates with the same one render the same text."""
        return self._digest

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolDefinition] = (),
        *,
        add_generation_prompt: bool = True,
        now: datetime | None = None,
    ) -> str:
        """The text of a conversation; raises as `render_conversation` does."""
        return self.render_conversation(
            conversation(messages, tools), add_generation_prompt=add_generation_prompt, now=now
        )

    def render_conversation(
        self, talk: Conversation, *, add_generation_prompt: bool = True, now: datetime | None = None
    ) -> str:
        """The text of what `conversation` returned; `now` is the date some templates mention.

        Raises Failed(INVALID_VALUE) with the template's own words when it refuses or fails.
        """
        tools = talk["tools"]
        variables: dict[str, Any] = {
            **self._special_tokens,
            **talk,
            "tools": tools or None,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
            "raise_exception": _raise_exception,
            _STEP: _LoopBudget().step,
        }
        if now is not None:
            variables["strftime_now"] = now.strftime
        template = self._with_tools if tools else self._plain
        try:
            return _join(template.generate(variables), _output_limit(talk))
        except _Refusal as error:
            raise _failed(str(error)) from error
        # A template is a program: it can fail with any exception, recursion included.
        except Exception as error:
            raise _failed(f"The chat template cannot render this conversation: {error}") from error


def _digest(source: str, tool_source: str | None, special_tokens: Mapping[str, str]) -> str:
    whole = json.dumps([source, tool_source, sorted(special_tokens.items())])
    return f"sha256:{hashlib.sha256(whole.encode()).hexdigest()}"


def conversation(messages: Sequence[Message], tools: Sequence[ToolDefinition]) -> Conversation:
    """Messages and tools in the shapes that templates expect, those of OpenAI's API."""
    return {
        "messages": [_message(message) for message in messages],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                },
            }
            for tool in tools
        ],
    }


def texts(value: Any) -> Iterator[str]:
    """Every string inside, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in cast("dict[str, Any]", value).items():
            yield key
            yield from texts(item)
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from texts(item)


def _message(message: Message) -> dict[str, Any]:
    # Templates ask whether a key is there, so what is not said is left out.
    shaped: dict[str, Any] = {"role": message.role.value, "content": message.text}
    if message.name is not None:
        shaped["name"] = message.name
    if message.tool_calls:
        shaped["tool_calls"] = [_tool_call(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        shaped["tool_call_id"] = message.tool_call_id
    return shaped


def _tool_call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": _arguments(call.arguments)}
    return {"id": call.id, "type": "function", "function": function}


def _arguments(text: str) -> Any:
    """The object that the text denotes, which most templates expect, or the text itself."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return cast("Any", value) if isinstance(value, dict) else text


class _Refusal(TemplateError):
    """What a template says through `raise_exception`."""


class _LoopBudget:
    """How many loop steps one rendering has left."""

    def __init__(self) -> None:
        self._left = MAX_LOOP_STEPS

    def step(self) -> str:
        self._left -= 1
        if self._left < 0:
            raise TemplateError(f"it takes more than {MAX_LOOP_STEPS} loop steps")
        return ""


class _GenerationTag(Extension):
    """`{% generation %}` marks the assistant's part for training; here it means nothing."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise_exception(message: str) -> NoReturn:
    raise _Refusal(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    return environment


def _compile(source: str) -> Any:
    environment = _environment()
    try:
        tree = environment.parse(source)
        for loop in tree.find_all(nodes.For):
            step = nodes.Call(nodes.Name(_STEP, "load"), [], [], None, None)
            loop.body.insert(0, nodes.ExprStmt(step).set_lineno(loop.lineno))
        code = environment.compile(tree)
    except TemplateError as error:
        raise Failed(
            Failure(
                kind=FailureKind.CORRUPT_ARTIFACT,
                stage=Stage.LOAD,
                message=f"The model's chat template is not a Jinja template: {error}",
            )
        ) from error
    return environment.template_class.from_code(environment, code, environment.make_globals(None))


def _output_limit(talk: Conversation) -> int:
    items = len(talk["messages"]) + len(talk["tools"])
    chars = sum(len(text) for text in texts(talk))
    return _MAX_ADDED_CHARS + _MAX_ADDED_CHARS_PER_ITEM * items + _MAX_GROWTH * chars


def _join(pieces: Iterator[str], limit: int) -> str:
    written: list[str] = []
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > limit:
            raise TemplateError(f"it writes more than {limit} characters")
        written.append(piece)
    return "".join(written)


def _failed(message: str) -> Failed:
    return Failed(
        Failure(
            kind=FailureKind.INVALID_VALUE, stage=Stage.CONTEXT, message=message, param="messages"
        )
    )
