"""Small disturbances of what the user types, so that single function words do not carry meaning."""

import random

LEADS = (
    "Please, ",
    "Hi, ",
    "Hello! ",
    "OK, ",
    "Now ",
    "So ",
    "Well, ",
    "Hey, ",
    "One question: ",
    "And ",
    "Quick one: ",
    "I wonder: ",
    "Then ",
    "Next: ",
    "Thanks. ",
    "Listen: ",
)
TAILS = (
    " Please.",
    " Thanks!",
    " Thank you.",
    " Can you do that?",
    " It is urgent.",
    " please",
    " I need it now.",
    " Be quick.",
    " Right?",
)
DROPPED = {"the", "a", "an", "is", "please", "of", "my", "do", "does", "for", "to", "that", "me"}


def _drop_word(rng: random.Random, text: str) -> str:
    words = text.split(" ")
    places = [i for i, word in enumerate(words) if word.lower() in DROPPED]
    if places and len(words) > 4:
        del words[rng.choice(places)]
    return " ".join(words)


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def disturb(rng: random.Random, text: str) -> str:
    """Disturb a request; most come through unchanged, and no value is touched."""
    roll = rng.random()
    if roll < 0.55:
        return text
    if roll < 0.63:
        return _drop_word(rng, text)
    if roll < 0.71:
        return _lower_first(text)
    if roll < 0.79:
        return text.rstrip("?.!")
    if roll < 0.85:
        return _lower_first(text).rstrip("?.!")
    if roll < 0.93:
        return rng.choice(LEADS) + _lower_first(text)
    return text + rng.choice(TAILS)
