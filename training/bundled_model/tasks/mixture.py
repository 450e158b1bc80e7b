"""How the families mix into training dialogs: shares, system messages, and compound talks."""

import random
from dataclasses import dataclass

from .calculator import calculate, calculator_dialog, calculator_tool
from .cite import SYSTEMS, cite, source, system_with
from .core import Dialog, Split
from .extract import extract
from .recall import ask, memories, recall, tell
from .talk import refuse, small_talk, talk_dialog
from .tools import bystanders, tool_dialog, use_tool
from .warmup import match_pairs, name_the_text, warmup


def compound(rng: random.Random, split: Split, interludes: int = 2) -> Dialog:
    """Facts told first, other work in between, then the facts asked back."""
    dialog = Dialog("compound")
    facts = memories(rng, split, rng.choice((1, 2, 2, 3)))
    if rng.random() < 0.4:
        small_talk(dialog, rng, split)
    tell(dialog, rng, split, facts)
    if rng.random() < 0.5:
        dialog.tools.append(calculator_tool(rng))
    for _ in range(rng.randint(1, interludes)):
        _interlude(dialog, rng, split)
    ask(dialog, rng, split, rng.sample(facts, rng.randint(1, len(facts))))
    return dialog


def _interlude(dialog: Dialog, rng: random.Random, split: Split) -> None:
    """One piece of other work inside a compound talk."""
    roll = rng.random()
    if roll < 0.1:
        dialog.extend(extract(rng, split, in_system=False))
    elif roll < 0.25:
        dialog.extend(cite(rng, split, in_system=False))
    elif roll < 0.4:
        use_tool(dialog, rng, split)
    elif roll < 0.6 and dialog.tools and dialog.tools[0]["function"]["name"] == "calculator":
        calculate(dialog, rng, split)
    elif roll < 0.8:
        refuse(dialog, rng, split)
    else:
        small_talk(dialog, rng, split)


def desk(rng: random.Random, split: Split) -> Dialog:
    """Texts in the system turn and declared tools: questions, calls and sums in any order."""
    dialog = Dialog("compound")
    given = source(rng, split)
    dialog.messages.append(system_with(rng, given.shown, split))
    if rng.random() < 0.6:
        dialog.tools.append(calculator_tool(rng))
    waiting = list(given.asked)
    for _ in range(rng.choice((2, 3, 3, 4))):
        roll = rng.random()
        if roll < 0.5 and waiting:
            question, reply, check = waiting.pop()
            dialog.user(question)
            dialog.assistant(reply, check)
        elif roll < 0.75 or not dialog.tools:
            use_tool(dialog, rng, split, built_in=rng.random() < 0.6)
        elif dialog.tools[0]["function"]["name"] == "calculator":
            calculate(dialog, rng, split)
    if not any(message["role"] == "assistant" for message in dialog.messages):
        small_talk(dialog, rng, split)
    rng.shuffle(dialog.tools)
    return dialog


def cite_beside_tools(rng: random.Random, split: Split) -> Dialog:
    """Questions over texts, now and then beside tools that they do not need."""
    dialog = cite(rng, split)
    if rng.random() < 0.2:
        dialog.tools = bystanders(rng, split, rng.choice((1, 1, 2)))
    return dialog


FAMILIES = {
    cite_beside_tools: 0.29,
    extract: 0.24,
    tool_dialog: 0.18,
    calculator_dialog: 0.07,
    recall: 0.06,
    talk_dialog: 0.05,
    compound: 0.03,
    desk: 0.08,
}


@dataclass(frozen=True)
class Shares:
    """How often a training dialog is an exercise or a long talk instead of a plain one."""

    warmup: float = 0.0
    long_talk: float = 0.0
    marks: float = 0.0
    pairs: float = 0.0


def training_dialog(rng: random.Random, shares: Shares) -> Dialog:
    """One dialog of the training mixture."""
    roll = rng.random()
    if roll < shares.warmup:
        return warmup(rng, "train")
    if roll < shares.warmup + shares.long_talk:
        return compound(rng, "train", interludes=8)
    if roll < shares.warmup + shares.long_talk + shares.marks:
        return name_the_text(rng, "train")
    if roll > 1 - shares.pairs:
        return match_pairs(rng, "train")
    make = rng.choices(list(FAMILIES), weights=list(FAMILIES.values()))[0]
    dialog = make(rng, "train")
    if rng.random() < 0.05:
        small_talk(dialog, rng, "train")
    if rng.random() < 0.2 and dialog.messages[0]["role"] != "system":
        dialog.messages.insert(0, {"role": "system", "content": rng.choice(SYSTEMS)})
        dialog.checks = {index + 1: check for index, check in dialog.checks.items()}
    return dialog
