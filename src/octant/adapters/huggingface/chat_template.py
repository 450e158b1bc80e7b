"""Finds the chat template in a model directory, wherever the publisher put it.

Law: what the files say is returned as plain text, unchanged; nothing is rendered here. Order:
chat_template.jinja, then tokenizer_config.json. A model without a template is not an error.
"""

from pathlib import Path
from typing import Any, NamedTuple, cast

from octant.adapters.huggingface.model_files import (
    TOKENIZER_CONFIG,
    corrupt,
    read_object,
    read_text,
    text_of,
)

TEMPLATE_FILE = "chat_template.jinja"

_DEFAULT, _TOOL_USE = "default", "tool_use"


class ChatTemplateFiles(NamedTuple):
    """A template, its variant for conversations with tools, and special tokens by their names."""

    source: str
    special_tokens: dict[str, str]
    tool_source: str | None


def load_chat_template(directory: Path) -> ChatTemplateFiles | None:
    """None when the model has none. Raises Failed(CORRUPT_ARTIFACT) on unreadable files."""
    config = read_object(directory / TOKENIZER_CONFIG)
    templates = _templates(config.get("chat_template"))
    path = directory / TEMPLATE_FILE
    if path.is_file():
        templates[_DEFAULT] = read_text(path)
    if _DEFAULT not in templates:
        return None
    return ChatTemplateFiles(templates[_DEFAULT], _special_tokens(config), templates.get(_TOOL_USE))


def _templates(declared: Any) -> dict[str, str]:
    """By name: publishers write one template, or a list of named ones."""
    if isinstance(declared, str):
        return {_DEFAULT: declared}
    if not declared:
        return {}
    try:
        return {entry["name"]: entry["template"] for entry in cast("list[Any]", declared)}
    except (TypeError, KeyError) as error:
        raise corrupt(
            f"chat_template in {TOKENIZER_CONFIG} is neither a text nor a list of entries with "
            "name and template."
        ) from error


def _special_tokens(config: dict[str, Any]) -> dict[str, str]:
    """`bos_token`, `eos_token` and the like."""
    named = {name: text_of(token) for name, token in config.items() if name.endswith("_token")}
    return {name: text for name, text in named.items() if text is not None}
