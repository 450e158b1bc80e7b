"""Dialogs as text and as tokens, by the chat template that ships with the model.

The model is trained on exactly what a server renders. Which tokens are learned follows from the
template's markers: everything from the assistant's header to the end of its turn.
"""

import json
import re
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from .tasks.core import Dialog

TEMPLATE_FILE = Path(__file__).parent / "chat_template.jinja"
TURN = re.compile(r"(<\|im_start\|>assistant\n)(.*?<\|im_end\|>)", re.DOTALL)
MARK = re.compile(r" ?\[\d+\](?=<\|im_end\|>)")
ANY_MARK = re.compile(r" ?\[\d+\]")
MARK_WEIGHT = 6.0


def _raise(message: str) -> NoReturn:
    raise ValueError(message)


def _environment() -> ImmutableSandboxedEnvironment:
    """The environment that transformers and the server use for chat templates."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    environment.globals["raise_exception"] = _raise
    return environment


_TEMPLATE = _environment().from_string(TEMPLATE_FILE.read_text(encoding="utf-8"))


def render(
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None = None,
    *,
    generate: bool = False,
) -> str:
    """The text of a conversation, ready for the model's next turn if `generate`."""
    return _TEMPLATE.render(messages=messages, tools=tools or None, add_generation_prompt=generate)


@dataclass(frozen=True)
class Encoded:
    """Tokens of a dialog and, for each, the weight with which it is learned (0: not at all)."""

    tokens: list[int]
    weights: list[float]


def encode(dialog: Dialog, tokenizer: Tokenizer) -> Encoded:
    """Tokens and weights; the mark that ends a reply weighs more than other tokens."""
    text = render(dialog.messages, dialog.tools)
    encoding = tokenizer.encode(text, add_special_tokens=False)
    offsets = [begin for begin, _ in encoding.offsets]
    weights = [0.0] * len(offsets)
    pattern, plain = (ANY_MARK, 0.0) if dialog.task == "marks" else (MARK, 1.0)
    for turn in TURN.finditer(text):
        marks = {turn.start(2) + mark.start() for mark in pattern.finditer(turn.group(2))}
        index = bisect_left(offsets, turn.start(2))
        while index < len(offsets) and offsets[index] < turn.end(2):
            weights[index] = MARK_WEIGHT if offsets[index] in marks else plain
            index += 1
    return Encoded(encoding.ids, weights)
