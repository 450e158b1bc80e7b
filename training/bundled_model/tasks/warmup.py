"""Pure copying and look-up exercises: they teach attention to copy before the real tasks do."""

import random

from .cite import ABSENT
from .core import Dialog, Split
from .values import coined, draw

KINDS = ("word", "number", "name", "city", "id", "colour", "phrase", "title")


def _values(rng: random.Random, split: Split, count: int) -> list[str]:
    return list({draw(rng, rng.choice(KINDS), split) for _ in range(count)})


def repeat(rng: random.Random, split: Split) -> Dialog:
    """Say a list of words again."""
    dialog = Dialog("warmup")
    for _ in range(2):
        words = " ".join(
            coined(rng) if rng.random() < 0.5 else draw(rng, rng.choice(KINDS), split)
            for _ in range(rng.randint(2, 9))
        )
        dialog.user(rng.choice(("Repeat: {}", "Say {}", "Repeat this: {}")).format(words))
        dialog.assistant(words)
    return dialog


def which_text(rng: random.Random, split: Split) -> Dialog:
    """Name the numbered text that contains a word, and quote it."""
    dialog = Dialog("warmup")
    texts = [[coined(rng) for _ in range(rng.randint(1, 5))] for _ in range(rng.randint(2, 6))]
    shown = "\n".join(f"[{n}] {' '.join(words)}." for n, words in enumerate(texts, 1))
    for turn in range(3):
        number = rng.randrange(len(texts))
        question = f"Which text contains {rng.choice(texts[number])}?"
        dialog.user(question if turn else f"{shown}\n\n{question}")
        dialog.assistant(f"{' '.join(texts[number])}. [{number + 1}]")
    return dialog


def _marked(rng: random.Random, split: Split) -> dict[int, str]:
    """Short texts by their marks, in half of the cases not in the order of the marks."""
    longest = rng.choice((1, 2, 3, 4, 6, 9))
    numbers = list(range(1, rng.randint(2, 9) + 1))
    if rng.random() < 0.5:
        rng.shuffle(numbers)
    lengths = {number: rng.randint(1, longest) for number in numbers}
    return {
        number: " ".join(draw(rng, rng.choice(KINDS), split) for _ in range(length))
        for number, length in lengths.items()
    }


def index_words(rng: random.Random, split: Split) -> Dialog:
    """Many words, each with the mark of its text: only the marks are learned, and densely."""
    dialog = Dialog("marks")
    texts = _marked(rng, split)
    pairs = [(word, number) for number, text in texts.items() for word in text.split()]
    shown = "\n".join(f"[{number}] {text}." for number, text in texts.items())
    dialog.user(f"Which text has which word?\n{shown}")
    rng.shuffle(pairs)
    dialog.assistant("\n".join(f"{word} [{number}]" for word, number in pairs[:24]))
    return dialog


def mark_words(rng: random.Random, split: Split) -> Dialog:
    """Texts again, with their mark behind every word: it teaches to look back to a mark."""
    dialog = Dialog("marks")
    texts = _marked(rng, split)
    dialog.user("Mark all words.\n" + "\n".join(f"[{n}] {text}." for n, text in texts.items()))
    dialog.assistant(
        "\n".join(
            f"[{n}] " + " ".join(f"{word} [{n}]" for word in text.split())
            for n, text in texts.items()
        )
    )
    return dialog


def name_the_text(rng: random.Random, split: Split) -> Dialog:
    """Say the mark of the text that contains a word, with or without the text itself."""
    roll = rng.random()
    if roll < 0.7:
        return mark_words(rng, split) if roll < 0.3 else index_words(rng, split)
    dialog = Dialog("warmup")
    texts = _marked(rng, split)
    shown = "\n".join(f"[{number}] {text}." for number, text in texts.items())
    for turn in range(5):
        number = rng.choice(list(texts))
        question = f"Which text contains {rng.choice(texts[number].split())}?"
        dialog.user(question if turn else f"{shown}\n\n{question}")
        dialog.assistant(f"[{number}]" if rng.random() < 0.5 else f"{texts[number]}. [{number}]")
    return dialog


def match_pairs(rng: random.Random, split: Split) -> Dialog:
    """Two words must both match a text, or no text answers: near misses share one of them."""
    dialog = Dialog("absent")
    names = [draw(rng, rng.choice(("title", "name", "word")), split) for _ in range(3)]
    nouns = [draw(rng, "noun", split) for _ in range(3)]
    pairs = [(name, noun) for name in names for noun in nouns]
    rng.shuffle(pairs)
    shown = pairs[: rng.randint(2, 6)]
    shape = rng.choice(("{} {}: {}.", "{} has the {} {}.", "For {} the {} is {}."))
    texts = {pair: shape.format(*pair, draw(rng, rng.choice(KINDS), split)) for pair in shown}
    marks = {pair: f" [{number}]" for number, pair in enumerate(shown, 1)}
    listed = "\n".join(f"[{number}] {texts[pair]}" for number, pair in enumerate(shown, 1))
    asked = rng.sample(shown, min(4, len(shown))) + rng.sample(pairs[len(shown) :], 2)
    rng.shuffle(asked)
    for turn, pair in enumerate(asked):
        question = rng.choice(("{0} {1}?", "{1} of {0}?", "What is the {1} of {0}?")).format(*pair)
        dialog.user(question if turn else f"{listed}\n\n{question}")
        dialog.assistant(texts[pair] + marks[pair] if pair in texts else ABSENT)
    return dialog


def look_up(rng: random.Random, split: Split) -> Dialog:
    """Find the value of a key."""
    dialog = Dialog("warmup")
    pairs = {coined(rng): value for value in _values(rng, split, rng.randint(3, 6))}
    listed = rng.choice((", ", "; ", "\n")).join(f"{key}: {value}" for key, value in pairs.items())
    for turn, key in enumerate(rng.sample(list(pairs), 3 if len(pairs) > 2 else 1)):
        dialog.user(f"Value of {key}?" if turn else f"{listed}\n\nValue of {key}?")
        dialog.assistant(f'{{"{key}": "{pairs[key]}"}}')
    return dialog


def warmup(rng: random.Random, split: Split) -> Dialog:
    """One of the exercises."""
    return rng.choice((repeat, which_text, which_text, look_up))(rng, split)
