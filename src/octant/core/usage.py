"""What a generation amounted to: the tokens it took, and why it ended."""

from enum import StrEnum

from octant.core.record import Record


class FinishReason(StrEnum):
    """Why a choice ended, in OpenAI's words."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"


class Usage(Record, frozen=True, kw_only=True):
    """Token counts of one request, all choices together; `cached` is part of `prompt`.

    `estimated` where an upstream did not say, so that they were judged from the text.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    estimated: bool = False

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens
