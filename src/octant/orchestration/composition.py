"""Composition: the conversation as the model is to continue it. Pure.

    session turns, evidence, the caller's messages, tools -> one ChatInput

Law: nothing is cut and nothing is invented; what the caller sent keeps its order and its roles.
Evidence joins the first system turn, so that it stands where models look for it and keeps the
prefix of a session stable.
"""

from collections.abc import Sequence
from typing import NoReturn

from msgspec.structs import replace

from octant.context.evidence import as_message
from octant.core.content import ChatInput, Message, Role, TextPart, ToolDefinition
from octant.core.envelope import RequestEnvelope
from octant.core.evidence import Evidence
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage

_SEPARATOR = "\n\n"


def compose(
    envelope: RequestEnvelope,
    history: Sequence[Message],
    evidence: Evidence | None,
    tools: Sequence[ToolDefinition],
) -> RequestEnvelope:
    """The envelope with its whole conversation as input.

    Raises Failed(INVALID_VALUE) when a session, documents or tools come with a raw prompt, when a
    tool of Octant's and one of the caller's have the same name, or when tools are to be run for
    several answers at once.
    """
    chat = envelope.input
    if not isinstance(chat, ChatInput):
        _refuse_extras(envelope)
        return envelope
    _check_tools(envelope, chat, tools)
    messages = (*history, *chat.messages)
    if evidence is not None and evidence.package.passages:
        messages = _with_evidence(messages, as_message(evidence))
    if messages == chat.messages and not tools:
        return envelope
    return replace(envelope, input=replace(chat, messages=messages, tools=(*chat.tools, *tools)))


def question_of(envelope: RequestEnvelope) -> str:
    """What the caller asks, for ranking evidence: the last user message."""
    chat = envelope.input
    if not isinstance(chat, ChatInput):
        return ""
    asked = (message.text for message in reversed(chat.messages) if message.role is Role.USER)
    return next(asked, "")


def _with_evidence(messages: tuple[Message, ...], given: Message) -> tuple[Message, ...]:
    first = messages[0] if messages else None
    if first is None or first.role is not Role.SYSTEM:
        return (given, *messages)
    joined = TextPart(text=f"{first.text}{_SEPARATOR}{given.text}")
    return (replace(first, parts=(joined,)), *messages[1:])


def _check_tools(
    envelope: RequestEnvelope, chat: ChatInput, tools: Sequence[ToolDefinition]
) -> None:
    if not tools:
        return
    if envelope.sampling.n > 1:
        _refuse("Octant's own tools need n to be 1: they are run once, for one answer.", "n")
    own = {tool.name for tool in tools}
    for index, tool in enumerate(chat.tools):
        if tool.name in own:
            _refuse(
                f"tools[{index}] has the name of a tool of Octant's, `{tool.name}`. Rename yours, "
                "or leave that one out of octant.tools.",
                f"tools[{index}]",
            )


def _refuse_extras(envelope: RequestEnvelope) -> None:
    given = (
        ("octant.session", envelope.session is not None),
        ("octant.documents", bool(envelope.context.documents)),
        ("octant.tools", bool(envelope.tools.allowed)),
    )
    for param, present in given:
        if present:
            _refuse(f"{param} needs messages; a raw prompt is continued as it is.", param)


def _refuse(message: str, param: str) -> NoReturn:
    raise Failed(
        Failure(kind=FailureKind.INVALID_VALUE, stage=Stage.CONTEXT, message=message, param=param)
    )
