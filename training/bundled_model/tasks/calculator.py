"""Arithmetic: the model never calculates, it calls the declared calculator."""

import json
import random

from .core import Dialog, Section, Split, Tool, fill, section_map, sentence_case
from .noise import disturb
from .tools import bystanders, declare
from .values import draw

FORMS = section_map("calculator")
OPERATIONS = [section for name, section in FORMS.items() if name != "plain"]
DESCRIPTIONS = (
    "Evaluate an arithmetic expression",
    "Calculate the value of an expression",
    "A calculator",
    "Does arithmetic",
    "Compute an expression",
)


def calculator_tool(rng: random.Random) -> Tool:
    """The declaration of the calculator."""
    return declare("calculator", rng.choice(DESCRIPTIONS), {"expression": {"type": "string"}})


def evaluated(expression: str) -> int | float:
    """The value of an expression made by this module."""
    value = eval(expression, {"__builtins__": {}})  # digits and operators only
    return int(value) if value == int(value) else round(value, 2)


def _operand(rng: random.Random, split: Split) -> str:
    roll = rng.random()
    if roll < 0.25:
        return str(rng.randint(2, 12))
    if roll < 0.35:
        return draw(rng, "decimal", split)
    return draw(rng, "number" if roll < 0.85 else "big", split)


def _problem(rng: random.Random, split: Split) -> tuple[str, str]:
    """What the user asks and the expression it stands for."""
    section = rng.choice(OPERATIONS)
    values = {hole: _operand(rng, split) for hole in "abc"}
    values |= {"n": draw(rng, "name", split), "r": draw(rng, "name", split)}
    if section.of("q", split) and rng.random() < 0.5:
        x = section.of("x", "train")[0]
        return fill(section.pick(rng, "q", split), **values), fill(x, **values)
    return _worded(rng, split, section, values)


def _worded(
    rng: random.Random, split: Split, section: Section, values: dict[str, str]
) -> tuple[str, str]:
    """A plain form such as "What is ...?" around the operation in words."""
    index = rng.randrange(len(section.of("x", "train")))
    expression = fill(section.of("x", "train")[index], **values)
    words = expression if section.name == "chain" else fill(section.pick(rng, "w", split), **values)
    form = FORMS["plain"].pick(rng, "f", split)
    return sentence_case(fill(form, x=words)), expression


def calculate(dialog: Dialog, rng: random.Random, split: Split) -> None:
    """One problem, the call, its result, and the equation as the reply."""
    asked, expression = _problem(rng, split)
    dialog.user(disturb(rng, asked) if split == "train" else asked)
    dialog.call("calculator", {"expression": expression})
    value = evaluated(expression)
    shapes = (
        value,
        {"result": value},
        {"value": value},
        {"expression": expression, "result": value},
    )
    dialog.result(json.dumps(rng.choice(shapes)))
    dialog.assistant(f"{expression} = {value}.", {"kind": "contains", "all": [str(value)]})


def calculator_dialog(rng: random.Random, split: Split) -> Dialog:
    """One or two problems, with other tools declared beside the calculator."""
    dialog = Dialog("calculator")
    dialog.tools = [calculator_tool(rng)] + bystanders(rng, split, rng.choice((0, 0, 1, 2)))
    rng.shuffle(dialog.tools)
    for _ in range(rng.choice((1, 2, 3))):
        calculate(dialog, rng, split)
    return dialog
