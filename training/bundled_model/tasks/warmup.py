"""Pure copying and look-up exercises: they teach attention to copy before the real tasks do."""

import random

from .core import Dialog, Split
from .values import coined, draw

KINDS = ("word", "number", "name", "city", "id", "colour", "phrase", "title")


def _values(rng: random.Random, split: Split, count: int) -> list[str]:
    return list({draw(rng, rng.choice(KINDS), split) for _ in range(count)})


def repeat(rng: random.Random, split: Split) -> Dialog:
    """Say a list of words again."""
    dialog = Dialog("warmup")
    for _ in range(2):
        words = " ".join(coined(rng) if rng.random() < 0.5 else draw(rng, rng.choice(KINDS), split)
                         for _ in range(rng.randint(2, 9)))
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
    longest = rng.choice((1, 1, 2, 3, 5, 9))
    numbers = list(range(1, rng.randint(2, 9) + 1))
    if rng.random() < 0.5:
        rng.shuffle(numbers)
    lengths = {number: rng.randint(1, longest) for number in numbers}
    return {
        number: " ".join(draw(rng, rng.choice(KINDS), split) for _ in range(length))
        for number, length in lengths.items()
    }


def name_the_text(rng: random.Random, split: Split) -> Dialog:
    """Say the mark of the text that contains a word, or all texts with their marks behind them."""
    dialog = Dialog("warmup")
    texts = _marked(rng, split)
    shown = "\n".join(f"[{number}] {text}." for number, text in texts.items())
    if rng.random() < 0.3:
        dialog.user(f"Marks last:\n{shown}")
        dialog.assistant("\n".join(f"{text}. [{number}]" for number, text in texts.items()))
        return dialog
    for turn in range(5):
        number = rng.choice(list(texts))
        question = f"Which text contains {rng.choice(texts[number].split())}?"
        dialog.user(question if turn else f"{shown}\n\n{question}")
        dialog.assistant(f"[{number}]" if rng.random() < 0.6 else f"{texts[number]}. [{number}]")
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
