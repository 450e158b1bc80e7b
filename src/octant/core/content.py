"""What is said: messages, their parts, tools and tool calls, whatever dialect they came in.

A dialect translates its own shapes into these and back; nothing after the gateway sees a dialect.
"""

from enum import StrEnum
from typing import Any

from octant.core.record import Record


class Role(StrEnum):
    """Who speaks. `developer` of newer dialects arrives here as SYSTEM."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class TextPart(Record, frozen=True, kw_only=True, tag="text", tag_field="kind"):
    """A run of text."""

    text: str


class ImagePart(Record, frozen=True, kw_only=True, tag="image", tag_field="kind"):
    """An image by reference; only routes with the `vision` capability take it."""

    url: str
    detail: str = "auto"


Part = TextPart | ImagePart


class ToolCall(Record, frozen=True, kw_only=True):
    """A call the model proposed. `arguments` is the JSON text exactly as produced."""

    id: str
    name: str
    arguments: str


class Message(Record, frozen=True, kw_only=True):
    """One turn. `tool_call_id` is set on TOOL messages, `tool_calls` on ASSISTANT ones."""

    role: Role
    parts: tuple[Part, ...] = ()
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))


class ToolDefinition(Record, frozen=True, kw_only=True):
    """A function the model may propose to call; `parameters` is a JSON Schema."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}


class ToolChoice(StrEnum):
    """Whether the model may call a tool."""

    AUTO = "auto"
    NONE = "none"


class ChatInput(Record, frozen=True, kw_only=True, tag="chat", tag_field="kind"):
    """A conversation to continue."""

    messages: tuple[Message, ...]
    tools: tuple[ToolDefinition, ...] = ()
    tool_choice: ToolChoice = ToolChoice.AUTO


class TextPrompt(Record, frozen=True, kw_only=True, tag="text_prompt", tag_field="kind"):
    """Raw text to continue, no template applied. `echo` puts the prompt before the answer."""

    text: str
    echo: bool = False


class TokenPrompt(Record, frozen=True, kw_only=True, tag="token_prompt", tag_field="kind"):
    """Token ids to continue, in the vocabulary of the model named."""

    tokens: tuple[int, ...]
    echo: bool = False


Input = ChatInput | TextPrompt | TokenPrompt
