"""Runs: the body of `POST /v1/runs`, the whole request envelope in Octant's own words (RC2)."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from octant.core.content import ChatInput, Message, Role, TextPart
from octant.core.envelope import Api, ModelConstraints
from octant.gateway.dialects.chat_messages import (
    SentMessage,
    SentTool,
    capabilities_of,
    conversation_of,
)
from octant.gateway.dialects.dialect import (
    Answering,
    Defaults,
    Question,
    StreamAnswer,
    WholeAnswer,
    no_defaults,
)
from octant.gateway.dialects.octant_extras import (
    CONSTRAINT_FIELDS,
    EXTRA_FIELDS,
    SentConstraints,
    SentTerms,
)
from octant.gateway.dialects.octant_terms import check_terms, constraints_of, terms_of
from octant.gateway.dialects.run_answers import RunStream, WholeRun
from octant.gateway.dialects.run_shapes import RUN_VERSION
from octant.gateway.dialects.sampling_fields import (
    MODEL_FIELD,
    SAMPLING_FIELDS,
    STREAM_FIELD,
    Asked,
    ModelName,
    SentSampling,
    TopLogprobs,
    sampling_of,
)
from octant.gateway.fields import Table, table, taken
from octant.gateway.json_input import decode_body
from octant.gateway.settings import GatewaySettings

_MAX_LABELS = 16
_IN_SAMPLING = "sampling."
Label = Annotated[str, Meta(min_length=1, max_length=64)]
LabelValue = Annotated[str, Meta(max_length=512)]


class SentModel(SentConstraints, frozen=True, kw_only=True):
    """`model`, with constraints beside the name."""

    name: ModelName


class SentConversation(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`input`, with tools of the caller beside the messages."""

    messages: Annotated[list[SentMessage], Meta(min_length=1)]
    tools: list[SentTool] | None = None
    tool_choice: str | dict[str, Any] | None = None


class RunSampling(SentSampling, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`sampling`."""

    top_logprobs: TopLogprobs | None = None


class RunBody(SentTerms, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The request of a run; null means the default everywhere."""

    version: Literal[1] | None = None
    model: ModelName | SentModel
    input: (
        Annotated[str, Meta(min_length=1)]
        | Annotated[list[SentMessage], Meta(min_length=1)]
        | SentConversation
    )
    sampling: RunSampling | None = None
    stream: bool | None = None
    metadata: Annotated[dict[Label, LabelValue], Meta(max_length=_MAX_LABELS)] | None = None


FIELDS: Table = table(
    taken("version", f"{RUN_VERSION}, the version of this contract; also the default."),
    taken(
        "model",
        "The public name of a served model, or an object with it and constraints.",
        taken("name", MODEL_FIELD.note),
        *CONSTRAINT_FIELDS,
    ),
    taken(
        "input",
        "A text, an array of messages, or an object with them and tools of yours.",
        taken(
            "messages",
            "At least one message, as in chat completions; a text is one message of a user.",
        ),
        taken(
            "tools",
            "Functions that you run: the model's calls are proposed to you. Up to "
            "`limits.max_tools` (128).",
        ),
        taken("tool_choice", "'auto' (default) or 'none'."),
    ),
    taken(
        "sampling",
        "How tokens are chosen.",
        *SAMPLING_FIELDS,
        taken("top_logprobs", "0 to 20 likely tokens beside each chosen one; without it, none."),
    ),
    *EXTRA_FIELDS,
    STREAM_FIELD,
    taken(
        "metadata",
        f"Up to {_MAX_LABELS} labels of 64 characters with values of 512, returned as they came.",
    ),
)


class Runs:
    """The native dialect."""

    api = Api.RUNS
    fields = FIELDS
    extras_at = ""

    def read(
        self, body: bytes, settings: GatewaySettings, defaults: Defaults = no_defaults
    ) -> Question:
        """Raises Failed with the field, its bound and the fix."""
        sent = decode_body(body, RunBody, self.fields, settings.max_nesting)
        conversation = _conversation(sent, settings)
        model = _model(sent.model, capabilities_of(conversation))
        chosen = sent.sampling or RunSampling()
        asked = Asked(chosen.max_tokens, chosen.top_logprobs, _IN_SAMPLING)
        sampling = sampling_of(chosen, asked, settings, defaults(model.name))
        terms = terms_of(sent, settings, at="")
        check_terms(terms, conversation, sampling, at="")
        return Question(
            input=conversation,
            sampling=sampling,
            model=model,
            terms=terms,
            stream=bool(sent.stream),
            include_report=True,
            metadata=sent.metadata or {},
        )

    def whole(self, answering: Answering) -> WholeAnswer:
        """Collects the `run` object."""
        return WholeRun(answering)

    def stream(self, answering: Answering) -> StreamAnswer:
        """Writes `run.*` events."""
        return RunStream(answering)


def _conversation(sent: RunBody, settings: GatewaySettings) -> ChatInput:
    match sent.input:
        case str() as text:
            return ChatInput(messages=(Message(role=Role.USER, parts=(TextPart(text=text),)),))
        case SentConversation() as asked:
            return conversation_of(
                asked.messages, asked.tools, asked.tool_choice, settings, "input."
            )
        case messages:
            return conversation_of(messages, None, None, settings, named="input")


def _model(sent: str | SentModel, needed: tuple[str, ...]) -> ModelConstraints:
    if isinstance(sent, str):
        return constraints_of(sent, None, needed)
    return constraints_of(sent.name, sent, needed)
