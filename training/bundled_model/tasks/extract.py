"""Extraction of named fields from a text into one JSON object."""

import json
import random

from .cite import filler, system_with
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
    if split == "train" and rng.random() < 0.15:
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
    wanted = rng.choice((0, 1, 2, 2, 3)) if sentences else rng.choice((2, 2, 3, 4, 5))
    for name in rng.sample([f for f in FIELDS if f not in values], wanted):
        values[name] = draw(rng, FIELDS[name].attributes[0], split)
        sentences.append(_clause(rng, name, values[name], split))
    if split == "train" and rng.random() < 0.12:
        key, value, sentence = _any_field(rng)
        values.setdefault(key, value)
        sentences.append(sentence)
    noise = rng.choice((0, 0, 0, 0, 1, 1, 2))
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
    if rng.random() < 0.08:
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


def _numbered(rng: random.Random, text: str) -> str:
    """The text as numbered lines of one or two sentences each, as texts are given for citing."""
    lines: list[str] = []
    for sentence in text.split(". "):
        sentence = sentence if sentence.endswith(".") else sentence + "."
        if lines and rng.random() < 0.3:
            lines[-1] += " " + sentence
        else:
            lines.append(sentence)
    return "\n".join(f"[{number}] {line}" for number, line in enumerate(lines, 1))


def extract(rng: random.Random, split: Split, *, in_system: bool | None = None) -> Dialog:
    """One text, with the request or in the system turn, then requests for fields of it."""
    dialog = Dialog("extract")
    text, values = _text(rng, split)
    given = rng.random() < 0.3 if in_system is None else in_system
    if given:
        text = _numbered(rng, text) if rng.random() < 0.7 else text
        dialog.messages.append(system_with(rng, text, split))
    for turn in range(rng.choice((1, 1, 2, 3))):
        wanted = _keys(rng, values)
        listed = _listed(rng, list(wanted))
        if turn or given:
            request = fill(REQUESTS.pick(rng, "a", split), keys=listed)
        elif split == "train" and rng.random() < 0.15:
            request = _request(rng, listed, text)
        else:
            request = fill(REQUESTS.pick(rng, "f", split), keys=listed, text=text)
        if not turn and split == "train" and rng.random() < 0.1:
            request = rng.choice(LEADS) + request
        dialog.user(request)
        dialog.assistant(json.dumps(wanted, ensure_ascii=False), {"kind": "json", "value": wanted})
    return dialog
