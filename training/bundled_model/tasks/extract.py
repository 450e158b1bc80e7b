"""Extraction of named fields from a text into one JSON object."""

import json
import random

from .cite import filler
from .core import HOLE, Dialog, Split, fill, section_map, sentence_case
from .noise import LEADS
from .values import draw

FIELDS = section_map("extract")
COMBINED = section_map("extract_combined")["combined"]
COMPOSED = section_map("extract_combined")["composed"]
REQUESTS = section_map("extract_combined")["request"]


def _typed(value: str) -> str | int:
    """A whole number is a JSON number; everything else is a string."""
    return int(value) if value.isdigit() and value[0] != "0" else value


def _clause(rng: random.Random, name: str, value: str, split: Split) -> str:
    """A sentence that states a field; in training some name the field by one of its keys."""
    if split == "train" and rng.random() < 0.35:
        key = rng.choice(FIELDS[name].of("k", "train")).replace("_", " ").lower()
        return sentence_case(fill(COMPOSED.pick(rng, "s", "train"), k=key, v=value))
    return fill(FIELDS[name].pick(rng, "s", split), v=value)


def _any_field(rng: random.Random) -> tuple[str, str, str]:
    """A field with any noun as its key: the key, a value, and the sentence that states it."""
    noun = draw(rng, "noun", "train")
    value = draw(rng, rng.choice(("word", "number", "title", "phrase", "id", "city")), "train")
    sentence = fill(COMPOSED.pick(rng, "s", "train"), k=noun, v=value)
    return noun.replace(" ", "_"), value, sentence_case(sentence)


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
        sentences.append(_clause(rng, name, values[name], split))
    if split == "train" and rng.random() < 0.25:
        key, value, sentence = _any_field(rng)
        values.setdefault(key, value)
        sentences.append(sentence)
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
        key = rng.choice(FIELDS[name].of("k", "train")) if name in FIELDS else name
        result[key] = _typed(values[name])
    if rng.random() < 0.12:
        missing = rng.choice([f for f in FIELDS if f not in values])
        result.setdefault(FIELDS[missing].of("k", "train")[0], None)
    items = list(result.items())
    rng.shuffle(items)
    return dict(items)


def _request(rng: random.Random, keys: str, text: str) -> str:
    """A training request put together from parts, before or behind the text."""
    head, where, form = (rng.choice(COMPOSED.of(kind, "train")) for kind in "hmj")
    asked = " ".join(part for part in (head, keys, where, form) if part != "-")
    if rng.random() < 0.4:
        return f"{text}{rng.choice((chr(10), chr(10) * 2))}{asked}{rng.choice(('.', ':', ''))}"
    return f"{asked}{rng.choice((': ', '.' + chr(10), ':' + chr(10), chr(10) * 2))}{text}"


def extract(rng: random.Random, split: Split) -> Dialog:
    """One text, then one or two requests for fields of it."""
    dialog = Dialog("extract")
    text, values = _text(rng, split)
    for turn in range(rng.choice((1, 1, 1, 2))):
        wanted = _keys(rng, values)
        frame = REQUESTS.pick(rng, "f", split)
        request = fill(frame, keys=_listed(rng, list(wanted)), text=text)
        if split == "train" and rng.random() < 0.4:
            request = _request(rng, _listed(rng, list(wanted)), text)
        if turn:
            request = f"Now {_listed(rng, list(wanted))} as JSON."
        elif split == "train" and rng.random() < 0.1:
            request = rng.choice(LEADS) + request
        dialog.user(request)
        dialog.assistant(json.dumps(wanted, ensure_ascii=False), {"kind": "json", "value": wanted})
    return dialog
