"""Messages, tools and tool choice of chat completions, as sent, and their way into core values."""

from typing import Annotated, Any, Literal, assert_never

import msgspec
from msgspec import Meta

from octant.core.content import (
    ChatInput,
    ImagePart,
    Message,
    Part,
    Role,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolDefinition,
)
from octant.core.failure import FailureKind
from octant.gateway.bounds import check_count
from octant.gateway.failures import refuse
from octant.gateway.settings import GatewaySettings

MAX_PARTS = 1_024
MAX_TOOL_CALLS = 128
ToolName = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class _Sent(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Base of everything nested: a field that is not known is an error."""


class SentText(_Sent, frozen=True, tag_field="type", tag="text"):
    """A part of text."""

    text: str


class OnlyText(_Sent, frozen=True):
    """A part of text where no other kind may stand; only unions demand their tag."""

    type: Literal["text"]
    text: str


class SentRefusal(_Sent, frozen=True, tag_field="type", tag="refusal"):
    """What an assistant answered in place of text."""

    refusal: str


class ImageUrl(_Sent, frozen=True):
    """Where an image is."""

    url: Annotated[str, Meta(min_length=1)]
    detail: Annotated[str, Meta(pattern="^(auto|low|high)$")] | None = None


class SentImage(_Sent, frozen=True, tag_field="type", tag="image_url"):
    """A part that is an image."""

    image_url: ImageUrl


UserParts = Annotated[list[SentText | SentImage], Meta(min_length=1, max_length=MAX_PARTS)]
TextParts = Annotated[list[OnlyText], Meta(min_length=1, max_length=MAX_PARTS)]
AssistantParts = Annotated[list[SentText | SentRefusal], Meta(min_length=1, max_length=MAX_PARTS)]


class CalledFunction(_Sent, frozen=True):
    """What an assistant called."""

    name: ToolName
    arguments: str


class SentToolCall(_Sent, frozen=True):
    """A call of an earlier turn. `index` is what streams carry; it means nothing here."""

    id: str
    type: Literal["function"]
    function: CalledFunction
    index: int | None = None


class SystemMessage(_Sent, frozen=True, tag_field="role", tag="system"):
    """Instructions."""

    content: str | TextParts
    name: str | None = None


class DeveloperMessage(_Sent, frozen=True, tag_field="role", tag="developer"):
    """Instructions, under the name newer models use."""

    content: str | TextParts
    name: str | None = None


class UserMessage(_Sent, frozen=True, tag_field="role", tag="user"):
    """What a person says."""

    content: str | UserParts
    name: str | None = None


class AssistantMessage(_Sent, frozen=True, tag_field="role", tag="assistant"):
    """An earlier answer, also in the form in which clients return it unchanged."""

    content: str | AssistantParts | None = None
    name: str | None = None
    tool_calls: Annotated[list[SentToolCall], Meta(max_length=MAX_TOOL_CALLS)] | None = None
    refusal: str | None = None
    annotations: list[Any] | None = None
    audio: None = None
    function_call: None = None


class ToolMessage(_Sent, frozen=True, tag_field="role", tag="tool"):
    """The result of a call."""

    content: str | TextParts
    tool_call_id: Annotated[str, Meta(min_length=1)]


SentMessage = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage


class SentFunction(_Sent, frozen=True):
    """A function that may be called."""

    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class SentTool(_Sent, frozen=True):
    """A tool; functions are the only kind."""

    type: Literal["function"]
    function: SentFunction


def conversation_of(
    messages: list[SentMessage],
    tools: list[SentTool] | None,
    choice: str | dict[str, Any] | None,
    settings: GatewaySettings,
    at: str = "",
    named: str = "messages",
) -> ChatInput:
    """The conversation in core values; `at` and `named` are how refusals spell its fields.

    Raises Failed for counts and shapes beyond the bounds.
    """
    check_count(f"{at}{named}", len(messages), settings.max_messages)
    check_count(f"{at}tools", len(tools or ()), settings.max_tools)
    return ChatInput(
        messages=tuple(
            _message(sent, f"{at}{named}[{index}]") for index, sent in enumerate(messages)
        ),
        tools=tuple(_tool(sent, f"{at}tools[{index}]") for index, sent in enumerate(tools or ())),
        tool_choice=_tool_choice(choice, f"{at}tool_choice"),
    )


def capabilities_of(asked: ChatInput) -> tuple[str, ...]:
    """What a model must be able to do to read it."""
    sees = any(isinstance(part, ImagePart) for said in asked.messages for part in said.parts)
    return ("vision",) if sees else ()


def _message(sent: SentMessage, path: str) -> Message:
    match sent:
        case SystemMessage() | DeveloperMessage():
            return Message(role=Role.SYSTEM, parts=_parts(sent.content), name=sent.name)
        case UserMessage():
            return Message(role=Role.USER, parts=_parts(sent.content), name=sent.name)
        case ToolMessage():
            return Message(
                role=Role.TOOL, parts=_parts(sent.content), tool_call_id=sent.tool_call_id
            )
        case AssistantMessage():
            return _assistant(sent, path)
        case _:
            assert_never(sent)


def _tool(sent: SentTool, path: str) -> ToolDefinition:
    if sent.function.strict:
        refuse(
            FailureKind.UNSUPPORTED_PARAMETER,
            "'strict: true' is not supported: arguments are not enforced while decoding. "
            "Leave it out and validate the arguments.",
            f"{path}.function.strict",
        )
    return ToolDefinition(
        name=sent.function.name,
        description=sent.function.description or "",
        parameters=sent.function.parameters or {},
    )


def _tool_choice(choice: str | dict[str, Any] | None, path: str) -> ToolChoice:
    """AUTO or NONE; choices that would need enforced decoding are refused by their name."""
    match choice:
        case None | "auto":
            return ToolChoice.AUTO
        case "none":
            return ToolChoice.NONE
        case "required" | {"type": "function" | "custom" | "allowed_tools"}:
            named = choice if isinstance(choice, str) else choice["type"]
            refuse(
                FailureKind.UNSUPPORTED_PARAMETER,
                f"{path} '{named}' is not supported: calls are not enforced while decoding. "
                "Use 'auto' or 'none'.",
                path,
            )
        case _:
            refuse(
                FailureKind.INVALID_VALUE,
                f"Invalid value for '{path}'. Use 'auto' or 'none'.",
                path,
            )


def _assistant(sent: AssistantMessage, path: str) -> Message:
    if sent.content is None and not sent.tool_calls and sent.refusal is None:
        refuse(
            FailureKind.INVALID_VALUE,
            f"Invalid value for '{path}.content': an assistant message needs content, "
            "a refusal or tool calls.",
            f"{path}.content",
        )
    said = sent.refusal or "" if sent.content is None else sent.content
    calls = tuple(
        ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)
        for call in sent.tool_calls or ()
    )
    return Message(role=Role.ASSISTANT, parts=_parts(said), name=sent.name, tool_calls=calls)


def _parts(
    content: str | list[OnlyText] | list[SentText | SentImage] | list[SentText | SentRefusal],
) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (TextPart(text=content),) if content else ()
    return tuple(_part(part) for part in content)


def _part(part: OnlyText | SentText | SentImage | SentRefusal) -> Part:
    match part:
        case OnlyText() | SentText():
            return TextPart(text=part.text)
        case SentRefusal():
            return TextPart(text=part.refusal)
        case SentImage():
            return ImagePart(url=part.image_url.url, detail=part.image_url.detail or "auto")
        case _:
            assert_never(part)
