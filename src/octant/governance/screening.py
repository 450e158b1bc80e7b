"""Screening: a request's text as the model may see it, with what was taken out in a vault.

    text -> findings -> allow | redact | pseudonymise | block, by kind
    envelope -> the envelope with every text of the caller, and every document, so treated

Law: text is judged as it will be read: the text parts of a message together, disguises taken off,
the arguments of a call by what their JSON means, a tool's definition text by text. A value that is
to be blocked ends the request; nothing else about it is changed then. Counts leave here, values
only in the vault.
"""

from collections import Counter
from collections.abc import ItemsView, Iterator
from typing import Any, NamedTuple, assert_never, cast

import msgspec

from octant.core.content import (
    ChatInput,
    ImagePart,
    Input,
    Message,
    Part,
    Role,
    TextPart,
    TextPrompt,
    TokenPrompt,
    ToolCall,
    ToolDefinition,
)
from octant.core.evidence import Document
from octant.governance.json_text import Edit, rewrite_json
from octant.governance.pii.kinds import Finding, PiiAction, PiiKind, Where
from octant.governance.pii.plain import plain
from octant.governance.pii.recognise import Recogniser
from octant.governance.vault import Vault, spelled_placeholders


class Choices(NamedTuple):
    """What a tenant wants in one direction; `recogniser` looks for the kinds that are not allowed.

    With `escapes`, text that spells a placeholder is put away: it is not one of the vault's.
    """

    actions: dict[PiiKind, PiiAction]
    recogniser: Recogniser
    escapes: bool

    def blocks(self) -> bool:
        """Whether any kind ends a request."""
        return PiiAction.BLOCK in self.actions.values()


def redacted(kind: PiiKind) -> str:
    """What stands in place of a value that is gone."""
    return f"[redacted:{kind.value}]"


class Screen:
    """Treats the texts of one request, in order, and counts what it found."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self.findings: Counter[PiiKind] = Counter()
        self.blocked: dict[PiiKind, Where] = {}
        self.literals = 0

    def text(self, text: str, where: Where, choices: Choices) -> str:
        """The text as it may go on."""
        read = plain(text)
        edits = self._edits(read.text, where, choices)
        if not edits:
            return text
        parts: list[str] = []
        place = 0
        for start, end, replacement in edits:
            begin = read.original(start, len(text))
            parts += (text[place:begin], replacement)
            # What shows nothing behind the last character of a value goes with the value.
            place = read.original(end, len(text))
        return "".join((*parts, text[place:]))

    def json(self, text: str, where: Where, choices: Choices) -> str:
        """The JSON text as it may go on."""

        def edits_of(meant: str) -> list[Edit]:
            read = plain(meant)
            return [
                (read.original(start, len(meant)), read.original(end, len(meant)), replacement)
                for start, end, replacement in self._edits(read.text, where, choices)
            ]

        return rewrite_json(text, edits_of)

    def _edits(self, text: str, where: Where, choices: Choices) -> list[Edit]:
        edits: list[Edit] = []
        for found in choices.recogniser.scan(text):
            self.findings[found.kind] += 1
            action = choices.actions[found.kind]
            if action is PiiAction.BLOCK:
                self.blocked.setdefault(found.kind, where)
            else:
                edits.append((found.start, found.end, self._replacement(text, found, action)))
        if choices.escapes or (self._vault and where is not Where.OUTPUT):
            edits = _merged(edits, self._literals(text))
        return edits

    def _replacement(self, text: str, found: Finding, action: PiiAction) -> str:
        if action is PiiAction.PSEUDONYMISE:
            placeholder = self._vault.put(found.kind, text[found.start : found.end])
            if placeholder is not None:
                return placeholder
        return redacted(found.kind)

    def _literals(self, text: str) -> list[Edit]:
        spelled = spelled_placeholders(text)
        self.literals += len(spelled)
        return [
            (start, end, self._vault.put_literal(text[start:end]) or "[redacted:placeholder]")
            for start, end in spelled
        ]


class Directions(NamedTuple):
    """A tenant's choices for what it sends."""

    input: Choices
    context: Choices


def screen_input(given: Input, screen: Screen, choices: Directions) -> Input:
    """The input with every text treated; token prompts have none and stay as they are."""
    match given:
        case ChatInput():
            messages = tuple(_message(message, screen, choices) for message in given.messages)
            tools = tuple(_definition(tool, screen, choices.input) for tool in given.tools)
            if messages == given.messages and tools == given.tools:
                return given
            return msgspec.structs.replace(given, messages=messages, tools=tools)
        case TextPrompt():
            text = screen.text(given.text, Where.INPUT, choices.input)
            return given if text == given.text else msgspec.structs.replace(given, text=text)
        case TokenPrompt():
            return given
        case _:
            assert_never(given)


def screen_documents(
    documents: tuple[Document, ...], screen: Screen, choices: Choices
) -> tuple[Document, ...]:
    """The documents with text, title and source treated; ids are names and stay."""
    return tuple(_document(document, screen, choices) for document in documents)


def texts_of(given: Input, documents: tuple[Document, ...]) -> Iterator[str]:
    """Every text that is screened."""
    if isinstance(given, TextPrompt):
        yield given.text
    elif isinstance(given, ChatInput):
        for message in given.messages:
            yield from (message.text, message.name or "")
            for call in message.tool_calls:
                yield call.arguments
        for tool in given.tools:
            yield from (tool.description, *_strings(tool.parameters))
    for document in documents:
        yield from (document.text, document.title, document.source)


def screen_said(message: Message, screen: Screen, choices: Choices) -> Message:
    """A message of a model or of a tool, treated as output."""
    parts = _parts(message, screen.text(message.text, Where.OUTPUT, choices))
    calls = tuple(_call(call, screen, Where.OUTPUT, choices) for call in message.tool_calls)
    return msgspec.structs.replace(message, parts=parts, tool_calls=calls)


def _document(document: Document, screen: Screen, choices: Choices) -> Document:
    old = {"text": document.text, "title": document.title, "source": document.source}
    new = {name: screen.text(text, Where.CONTEXT, choices) for name, text in old.items()}
    return document if new == old else msgspec.structs.replace(document, **new)


def _message(message: Message, screen: Screen, choices: Directions) -> Message:
    # What a tool said is data, whoever sends it along.
    is_data = message.role is Role.TOOL
    where = Where.CONTEXT if is_data else Where.INPUT
    chosen = choices.context if is_data else choices.input
    name = message.name and screen.text(message.name, where, chosen)
    parts = _parts(message, screen.text(message.text, where, chosen))
    calls = tuple(_call(call, screen, Where.INPUT, choices.input) for call in message.tool_calls)
    if parts is message.parts and calls == message.tool_calls and name == message.name:
        return message
    return msgspec.structs.replace(message, parts=parts, tool_calls=calls, name=name)


def _definition(tool: ToolDefinition, screen: Screen, choices: Choices) -> ToolDefinition:
    """A tool of the caller's; its name, and those of its parameters, stay."""

    def treated(value: Any) -> Any:
        match value:
            case str():
                return screen.text(value, Where.INPUT, choices)
            case dict():
                return {name: treated(inner) for name, inner in _named(value)}
            case list():
                return [treated(inner) for inner in cast("list[Any]", value)]
            case _:
                return value

    description = screen.text(tool.description, Where.INPUT, choices)
    parameters = treated(tool.parameters)
    return msgspec.structs.replace(tool, description=description, parameters=parameters)


def _strings(value: Any) -> Iterator[str]:
    """Every text in a schema but the names."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for _, inner in _named(value):
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in cast("list[Any]", value):
            yield from _strings(inner)


def _named(value: Any) -> ItemsView[str, Any]:
    return cast("dict[str, Any]", value).items()


def _parts(message: Message, text: str) -> tuple[Part, ...]:
    """The parts of a message whose text is now `text`, all of it where its first part stood."""
    if text == message.text:
        return message.parts
    first = next(n for n, part in enumerate(message.parts) if isinstance(part, TextPart))
    before = message.parts[:first]
    images = tuple(part for part in message.parts[first:] if isinstance(part, ImagePart))
    return (*before, TextPart(text=text), *images)


def _call(call: ToolCall, screen: Screen, where: Where, choices: Choices) -> ToolCall:
    name = screen.text(call.name, where, choices)
    arguments = screen.json(call.arguments, where, choices)
    if name == call.name and arguments == call.arguments:
        return call
    return msgspec.structs.replace(call, name=name, arguments=arguments)


def _merged(values: list[Edit], literals: list[Edit]) -> list[Edit]:
    """Both in order; where they overlap the one that begins first counts."""
    merged: list[Edit] = []
    for edit in sorted(values + literals, key=lambda edit: edit[0]):
        if merged and edit[0] < merged[-1][1]:
            continue
        merged.append(edit)
    return merged
