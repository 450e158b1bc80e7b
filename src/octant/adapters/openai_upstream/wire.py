"""Wire: a ModelWork as the request that an OpenAI-compatible server understands. Pure.

Law: what a caller asked for is sent or was refused before, never dropped; what has OpenAI's default
is left out, so that servers which know fewer fields take the request too.
"""

from typing import Any, NamedTuple, assert_never

import msgspec

from octant.core.content import (
    ChatInput,
    ImagePart,
    Message,
    Part,
    TextPart,
    TextPrompt,
    TokenPrompt,
    ToolCall,
    ToolDefinition,
)
from octant.core.sampling import Sampling
from octant.core.work import ModelWork

_PLAIN = Sampling()
# Those of OpenAI first, then those that vLLM, llama.cpp and Octant take beside them.
_SAMPLING_FIELDS = (
    "max_tokens",
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "n",
    "stop",
    "top_k",
    "min_p",
    "min_tokens",
    "repetition_penalty",
    "ignore_eos",
)


class WireRequest(NamedTuple):
    """`path` follows the base URL."""

    path: str
    body: bytes


def request_of(work: ModelWork, model: str) -> WireRequest:
    """The streaming request for `model`, which is the upstream's own name."""
    body: dict[str, Any] = {
        "model": model,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    match work.input:
        case ChatInput() as chat:
            path = "/chat/completions"
            body |= _chat(chat)
            if work.sampling.top_logprobs is not None:
                body |= {"logprobs": True, "top_logprobs": work.sampling.top_logprobs}
        case TextPrompt() as prompt:
            path = "/completions"
            body["prompt"] = prompt.text
        case TokenPrompt():
            raise AssertionError("token ids are refused before a route without a tokenizer")
        case _ as never:
            assert_never(never)
    return WireRequest(path, msgspec.json.encode(body | _sampling(work.sampling)))


def prompt_bytes(work: ModelWork) -> int:
    """Bytes of text that the model has to read, for estimates."""
    match work.input:
        case ChatInput() as chat:
            return len(msgspec.json.encode((chat.messages, chat.tools)))
        case TextPrompt() as prompt:
            return len(prompt.text.encode())
        case TokenPrompt() as prompt:
            return len(prompt.tokens)


def _sampling(sampling: Sampling) -> dict[str, Any]:
    given = {name: getattr(sampling, name) for name in _SAMPLING_FIELDS}
    return {name: value for name, value in given.items() if value != getattr(_PLAIN, name)}


def _chat(chat: ChatInput) -> dict[str, Any]:
    body: dict[str, Any] = {"messages": [_message(message) for message in chat.messages]}
    if chat.tools:
        body["tools"] = [_tool(tool) for tool in chat.tools]
        body["tool_choice"] = chat.tool_choice.value
    return body


def _message(message: Message) -> dict[str, Any]:
    sent: dict[str, Any] = {"role": message.role.value, "content": _content(message)}
    if message.name is not None:
        sent["name"] = message.name
    if message.tool_call_id is not None:
        sent["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        sent["tool_calls"] = [_tool_call(call) for call in message.tool_calls]
    return sent


def _content(message: Message) -> str | list[dict[str, Any]] | None:
    if not message.parts and message.tool_calls:
        return None
    if all(isinstance(part, TextPart) for part in message.parts):
        return message.text
    return [_part(part) for part in message.parts]


def _part(part: Part) -> dict[str, Any]:
    match part:
        case TextPart():
            return {"type": "text", "text": part.text}
        case ImagePart():
            return {"type": "image_url", "image_url": {"url": part.url, "detail": part.detail}}


def _tool_call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _tool(tool: ToolDefinition) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
    }
    return {"type": "function", "function": function}
