"""Facts that the user states and asks back later in the same conversation."""

import random
from dataclasses import dataclass

from .core import Dialog, Split, fill, load_sections, section_map, sentence_case
from .noise import disturb
from .values import draw

KNOWN = load_sections("recall")
GENERIC = section_map("recall_generic")
GENERIC_KINDS = (
    "word",
    "number",
    "title",
    "phrase",
    "id",
    "name",
    "city",
    "colour",
    "animal",
    "full_name",
    "time",
    "date",
    "password",
    "shelf",
    "company",
)


@dataclass(frozen=True)
class Memory:
    """A stated fact: what is said, how it is noted, how it is asked and answered."""

    label: str
    value: str
    statement: str
    question: str

    @property
    def noted(self) -> str:
        """The acknowledgement of the statement."""
        return f"Noted: {self.label} is {self.value}."

    @property
    def answer(self) -> str:
        """The reply to the question."""
        return sentence_case(f"{self.label} is {self.value}.")

    @property
    def unknown(self) -> str:
        """The reply if it was never stated."""
        return f"You have not told me {self.label}."


def memory(rng: random.Random, split: Split) -> Memory:
    """A fact about the user, with a fresh value."""
    if rng.random() < 0.6:
        section = rng.choice(KNOWN)
        noun, label = "", f"your {section.of('n', 'train')[0]}"
        value = draw(rng, section.attributes[0], split)
    else:
        section = GENERIC[rng.choice(("generic", "generic", "shared"))]
        noun = draw(rng, "noun", split)
        label = f"your {noun}" if section.name == "generic" else f"the {noun}"
        value = draw(rng, rng.choice(GENERIC_KINDS), split)
    return Memory(
        label,
        value,
        fill(section.pick(rng, "s", split), v=value, n=noun),
        fill(section.pick(rng, "q", split), n=noun),
    )


def memories(rng: random.Random, split: Split, count: int) -> list[Memory]:
    """Facts that differ in what they are about."""
    found: dict[str, Memory] = {}
    while len(found) < count:
        fact = memory(rng, split)
        found.setdefault(fact.label.split(" ", 1)[1], fact)
    return list(found.values())


def _asked(rng: random.Random, split: Split, text: str) -> str:
    return disturb(rng, text) if split == "train" else text


def tell(dialog: Dialog, rng: random.Random, split: Split, facts: list[Memory]) -> None:
    """State the facts, sometimes two at once."""
    waiting = list(facts)
    while waiting:
        first = waiting.pop(0)
        if waiting and rng.random() < 0.25:
            second = waiting.pop(0)
            dialog.user(f"{first.statement} {second.statement}")
            dialog.assistant(f"{first.noted} {second.noted}")
        else:
            dialog.user(_asked(rng, split, first.statement))
            dialog.assistant(first.noted)


def ask(dialog: Dialog, rng: random.Random, split: Split, facts: list[Memory]) -> None:
    """Ask for the facts and answer."""
    for fact in facts:
        dialog.user(_asked(rng, split, fact.question))
        dialog.assistant(fact.answer, {"kind": "contains", "all": [fact.value]})


def recall(rng: random.Random, split: Split) -> Dialog:
    """Two to five facts, then questions, one of which may be about something never said."""
    facts = memories(rng, split, rng.choice((2, 3, 3, 4, 5)))
    hidden = facts.pop()
    dialog = Dialog("recall")
    tell(dialog, rng, split, facts)
    if rng.random() < 0.2:
        dialog.user(_asked(rng, split, hidden.question))
        dialog.assistant(hidden.unknown)
    ask(dialog, rng, split, rng.sample(facts, rng.randint(1, min(3, len(facts)))))
    return dialog
