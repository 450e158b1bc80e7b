"""Chat completions: the body of `POST /v1/chat/completions` and what becomes of its fields."""

from typing import Annotated, Any

from msgspec import Meta

from octant.core.envelope import Api
from octant.core.failure import FailureKind
from octant.gateway.dialects.chat_answers import ChatStream, WholeChat
from octant.gateway.dialects.chat_messages import (
    SentMessage,
    SentTool,
    capabilities_of,
    conversation_of,
)
from octant.gateway.dialects.dialect import (
    IN_OCTANT,
    Answering,
    Defaults,
    Question,
    StreamAnswer,
    WholeAnswer,
    no_defaults,
)
from octant.gateway.dialects.octant_extras import TokenCount
from octant.gateway.dialects.sampling_fields import (
    NOT_STORED,
    OPENAI_FIELDS,
    Asked,
    OpenAiBody,
    TopLogprobs,
    check_stream_options,
    question_of,
    sampling_of,
)
from octant.gateway.failures import refuse
from octant.gateway.fields import Table, ignored, refused, table, taken
from octant.gateway.json_input import decode_body
from octant.gateway.settings import GatewaySettings


class ChatBody(OpenAiBody, frozen=True, kw_only=True):
    """The fields that have an effect."""

    messages: Annotated[list[SentMessage], Meta(min_length=1)]
    max_completion_tokens: TokenCount | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    tools: list[SentTool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None


FIELDS: Table = table(
    taken(
        "messages",
        "At least one message with the role system, developer, user, assistant or tool.",
    ),
    *OPENAI_FIELDS,
    taken("max_completion_tokens", "1 to 2147483648; the present name of max_tokens."),
    taken("logprobs", "true returns the log-probability of every token."),
    taken("top_logprobs", "0 to 20, only with `logprobs`."),
    taken("tools", "Functions that the model may propose to call, up to `limits.max_tools` (128)."),
    taken("tool_choice", "'auto' (default) or 'none'; calls are not enforced while decoding."),
    taken(
        "response_format",
        "Only {type: 'text'}; output is not enforced while decoding. `octant.output` is checked.",
    ),
    ignored("metadata", "Labels of stored completions. " + NOT_STORED),
    ignored("safety_identifier", "A hint for abuse monitoring at OpenAI."),
    ignored("prompt_cache_key", "A routing hint; `octant.cache_salt` is what separates caches."),
    ignored("prompt_cache_retention", "Prefixes are kept as long as memory lasts."),
    ignored("prompt_cache_options", "Prefixes are cached without being asked."),
    refused("store", NOT_STORED + " Send false or leave it out.", False),
    refused(
        "service_tier", "Use `octant.profile`, or send 'auto' or 'default'.", "auto", "default"
    ),
    refused("parallel_tool_calls", "Calls are not limited to one; send true.", True),
    refused("modalities", "Only text is produced; send ['text'] or leave it out.", ["text"]),
    refused("audio", "Only text is produced; leave it out."),
    refused("prediction", "Predicted outputs are not used; leave it out."),
    refused("reasoning_effort", "No served model has reasoning levels; leave it out.", "none"),
    refused("verbosity", "No served model has verbosity levels; leave it out.", "medium"),
    refused("web_search_options", "There is no web search; leave it out."),
    refused("moderation", "There is no moderation model; leave it out."),
    refused("functions", "Deprecated; use `tools`.", []),
    refused("function_call", "Deprecated; use `tool_choice`."),
)


class ChatCompletions:
    """The dialect of chat completions."""

    api = Api.CHAT_COMPLETIONS
    fields = FIELDS
    extras_at = IN_OCTANT

    def read(
        self, body: bytes, settings: GatewaySettings, defaults: Defaults = no_defaults
    ) -> Question:
        """Raises Failed with the field, its bound and the fix."""
        chat = decode_body(body, ChatBody, self.fields, settings.max_nesting)
        check_stream_options(chat)
        _check_response_format(chat.response_format)
        asked = Asked(_max_tokens(chat), _top_logprobs(chat))
        sampling = sampling_of(chat, asked, settings, defaults(chat.model))
        conversation = conversation_of(chat.messages, chat.tools, chat.tool_choice, settings)
        capabilities = capabilities_of(conversation)
        return question_of(chat, conversation, sampling, settings, capabilities)

    def whole(self, answering: Answering) -> WholeAnswer:
        """Collects the `chat.completion` object."""
        return WholeChat(answering)

    def stream(self, answering: Answering) -> StreamAnswer:
        """Writes `chat.completion.chunk` events."""
        return ChatStream(answering)


def _check_response_format(response_format: dict[str, Any] | None) -> None:
    if response_format is None:
        return
    match response_format.get("type"):
        case "text":
            return
        case "json_object" | "json_schema" as named:
            refuse(
                FailureKind.UNSUPPORTED_PARAMETER,
                f"response_format '{named}' is not supported: output is not enforced while "
                "decoding. Give `octant.output` a JSON Schema: it is checked and repaired.",
                "response_format",
            )
        case _:
            refuse(
                FailureKind.INVALID_VALUE,
                "Invalid value for 'response_format.type'. The supported value is 'text'.",
                "response_format.type",
            )


def _max_tokens(chat: ChatBody) -> int | None:
    if chat.max_tokens is not None and chat.max_completion_tokens is not None:
        refuse(
            FailureKind.INVALID_VALUE,
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported. "
            "Leave out 'max_tokens'.",
            "max_tokens",
        )
    return chat.max_completion_tokens if chat.max_tokens is None else chat.max_tokens


def _top_logprobs(chat: ChatBody) -> int | None:
    if chat.top_logprobs is not None and not chat.logprobs:
        refuse(
            FailureKind.INVALID_VALUE,
            "The 'top_logprobs' parameter is only allowed when 'logprobs' is true.",
            "top_logprobs",
        )
    return chat.top_logprobs or 0 if chat.logprobs else None
