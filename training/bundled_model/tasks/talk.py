"""Small talk and polite refusals: fixed replies, so that a newcomer gets a sensible answer."""

import random
import re

from .cite import FACTS
from .core import Dialog, Split, fill, load_sections
from .noise import disturb
from .tools import bystanders
from .values import draw

REPLIES = load_sections("replies")
REFUSALS = load_sections("refusals")
# Requests that a declared tool may answer are not refused beside tools.
TOOL_MATTER = re.compile(
    r"weather|time|day|translate|rain|cold|population|far|price|recipe|cook"
    r"|how many people|distance|convert|search|travel",
    re.IGNORECASE,
)


def _typed(rng: random.Random, split: Split, text: str) -> str:
    if split != "train":
        return text
    if rng.random() < 0.25:
        text = text.lower().rstrip("?.!")
    return disturb(rng, text) if rng.random() < 0.6 else text


def _word(rng: random.Random, split: Split) -> str:
    kind = rng.choice(
        (
            "word",
            "title",
            "animal",
            "thing",
            "food",
            "noun",
            "city",
            "person",
            "hobby",
            "colour",
            "job",
            "company",
            "language",
        )
    )
    return draw(rng, kind, split)


def small_talk(dialog: Dialog, rng: random.Random, split: Split) -> None:
    """One exchange of small talk."""
    section = rng.choice(REPLIES)
    reply = section.of("a", "train")[0]
    dialog.user(_typed(rng, split, section.pick(rng, "s", split)))
    dialog.assistant(reply, {"kind": "contains", "all": [reply]})


def refuse(dialog: Dialog, rng: random.Random, split: Split) -> None:
    """One request that is refused."""
    section = rng.choice((*REFUSALS, REFUSALS[2], REFUSALS[2]))
    if section.name == "arithmetic" and any(
        tool["function"]["name"] == "calculator" for tool in dialog.tools
    ):
        section = REFUSALS[0]
    frame = section.pick(rng, "s", split)
    while dialog.tools and TOOL_MATTER.search(frame):
        frame = section.pick(rng, "s", split)
    request = fill(
        frame, w=_word(rng, split), i=draw(rng, "number", split), j=draw(rng, "number", split)
    )
    dialog.user(_typed(rng, split, request))
    dialog.assistant(section.of("a", "train")[0], {"kind": "refusal", "any_of": ["Sorry, I can't"]})


def unfounded(dialog: Dialog, rng: random.Random, split: Split) -> None:
    """A question about something particular although no texts were given."""
    question = fill(rng.choice(FACTS).pick(rng, "q", split), e=_word(rng, split))
    dialog.user(_typed(rng, split, question))
    dialog.assistant(
        REFUSALS[2].of("a", "train")[0], {"kind": "refusal", "any_of": ["Sorry, I can't"]}
    )


def talk_dialog(rng: random.Random, split: Split) -> Dialog:
    """A few exchanges of small talk and refusals, now and then beside declared tools."""
    dialog = Dialog("talk")
    if rng.random() < 0.4:
        dialog.tools = bystanders(rng, split, rng.choice((1, 1, 2)))
    for _ in range(rng.choice((1, 2, 3, 3))):
        rng.choice((small_talk, small_talk, refuse, refuse, refuse, unfounded))(dialog, rng, split)
    return dialog
