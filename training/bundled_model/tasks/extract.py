"""Extraction of named fields from a text into one JSON object."""

import json
import random

from .cite import filler
from .core import HOLE, Dialog, Split, fill, section_map
from .noise import LEADS
from .values import draw

FIELDS = section_map("extract")
COMBINED = section_map("extract_combined")["combined"]
REQUESTS = section_map("extract_combined")["request"]


def _typed(value: str) -> str | int:
    """A whole number is a JSON number; everything else is a string."""
    return int(value) if value.isdigit() and value[0] != "0" else value


def _text(rng: random.Random, split: Split) -> tuple[str, dict[str, str]]:
    """A text and the value of every field it states."""
    sentences, values = [], {}
    if rng.random() < 0.6:
        frame = COMBINED.pick(rng, "s", split)
        values = {f: draw(rng, FIELDS[f].attributes[0], split) for f in HOLE.findall(frame)}
        sentences.append(fill(frame, **values))
    wanted = rng.choice((1, 2, 2, 3)) if sentences else rng.choice((2, 3, 4, 5))
    for name in rng.sample([f for f in FIELDS if f not in values], wanted):
        values[name] = draw(rng, FIELDS[name].attributes[0], split)
        sentences.append(fill(FIELDS[name].pick(rng, "s", split), v=values[name]))
    noise = rng.choice((0, 0, 0, 0, 1, 1, 1, 2, 4))
    sentences.extend(filler(rng, split) for _ in range(noise))
    rng.shuffle(sentences)
    return " ".join(sentences), values


def _listed(rng: random.Random, keys: list[str]) -> str:
    quoted = [f'"{key}"' for key in keys] if rng.random() < 0.2 else keys
    if len(quoted) > 1 and rng.random() < 0.5:
        return ", ".join(quoted[:-1]) + " and " + quoted[-1]
    return ", ".join(quoted)


def _keys(rng: random.Random, values: dict[str, str]) -> dict[str, str | int | None]:
    """The object to return: some of the stated fields, now and then one that is not stated."""
    chosen = rng.sample(list(values), min(len(values), rng.choice((1, 2, 2, 3, 3, 4))))
    result: dict[str, str | int | None] = {}
    for name in chosen:
        result[rng.choice(FIELDS[name].of("k", "train"))] = _typed(values[name])
    if rng.random() < 0.12:
        missing = rng.choice([f for f in FIELDS if f not in values])
        result.setdefault(FIELDS[missing].of("k", "train")[0], None)
    items = list(result.items())
    rng.shuffle(items)
    return dict(items)


def extract(rng: random.Random, split: Split) -> Dialog:
    """One text, then one or two requests for fields of it."""
    dialog = Dialog("extract")
    text, values = _text(rng, split)
    for turn in range(rng.choice((1, 1, 1, 2))):
        wanted = _keys(rng, values)
        frame = REQUESTS.pick(rng, "f", split)
        request = fill(frame, keys=_listed(rng, list(wanted)), text=text)
        if turn:
            request = f"Now {_listed(rng, list(wanted))} as JSON."
        elif split == "train" and rng.random() < 0.1:
            request = rng.choice(LEADS) + request
        dialog.user(request)
        dialog.assistant(json.dumps(wanted, ensure_ascii=False), {"kind": "json", "value": wanted})
    return dialog
