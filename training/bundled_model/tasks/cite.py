"""Answers from given texts: the sentence that answers, quoted, then the mark of its text."""

import random
from dataclasses import dataclass

from .core import Dialog, Section, Split, fill, load_sections, section_map, sentence_case
from .noise import disturb
from .values import draw

FACTS = load_sections("facts")
POLICIES = load_sections("policy")  # rules of handbooks: training only
FORMS = section_map("cite")
# How the server itself lays out the passages it gives to a model.
SERVED = "Answer from these texts and cite them.\n{t}"
ABSENT = FORMS["absent"].of("a", "train")[0]
# A question about the one could be answered by the other: never both in the same texts.
RIVALS = {"address": "located", "employer": "desk", "email": "phone", "released": "price"}
AMBIGUOUS = {"deadline", "shelf", "office", "head office", "size", "project lead", "launch date"}
SYSTEMS = (
    "You are a helpful assistant.",
    "You are octant-mini.",
    "Be brief.",
    "You are a friendly bot.",
    "Answer in one sentence.",
    "You work for a shop.",
    "You are the assistant of a small company.",
    "Be polite and short.",
    "You are an assistant with tools.",
    "Follow the instructions.",
    "You are a helpful AI assistant. Answer the user.",
    "Today is a good day. Help the user.",
    "You are a careful assistant. Use tools when needed.",
    "Speak plainly.",
)
KINDS = {
    "place": (
        "museum",
        "office",
        "library",
        "clinic",
        "station",
        "school",
        "hotel",
        "factory",
        "theatre",
        "pool",
        "garden",
        "shop",
        "market",
        "castle",
        "bar",
        "harbour",
    ),
    "product": (
        "printer",
        "pump",
        "laptop",
        "kettle",
        "router",
        "lamp",
        "scooter",
        "drill",
        "bike",
        "camera",
        "oven",
        "chair",
        "tent",
        "watch",
        "phone",
        "mixer",
        "sensor",
        "drone",
    ),
    "project": ("project", "team", "program", "study", "app", "report"),
}


@dataclass(frozen=True)
class Fact:
    """One sentence that can be asked for."""

    sentence: str
    question: str
    value: str


def _entity(rng: random.Random, kind: str, split: Split) -> str:
    name = draw(rng, "title", split)
    if kind == "person":
        return draw(rng, "person", split)
    if kind == "company":
        return draw(rng, "company", split)
    noun = rng.choice(KINDS[kind])
    if kind == "project":
        return rng.choice((f"{noun} {name}", f"the {name} {noun}"))
    if kind == "product" and rng.random() < 0.3:
        return f"the {name} {rng.randint(2, 900)}"
    return rng.choice((f"the {name} {noun}", f"the {name} {noun}", f"the {noun} {name}"))


def _composed(rng: random.Random, noun: str, entity: str, value: str) -> tuple[str, str]:
    """A training statement and question about any noun, put together from parts."""
    parts = FORMS["composed"]
    words = {hole: rng.choice(parts.of(hole, "train")) for hole in "wxy"}
    lead = rng.choice(parts.of("l", "train"))
    body = fill(rng.choice(parts.of("b", "train")), n=noun, e=entity, v=value, **words)
    head, about = rng.choice(parts.of("h", "train")), rng.choice(parts.of("o", "train"))
    question = f"{head} {fill(about, n=noun, e=entity)}{rng.choice(('?', '?', '.', ''))}"
    return f"{body if lead == '-' else f'{lead} {body}'}.", question


def _noun_of(section: Section) -> str:
    """What a section of facts.txt is about, as in its question "... of {e}?"."""
    short = [frame for frame in section.of("q", "train") if frame.endswith(" of {e}?")]
    plain = [frame for frame in short if not frame.startswith(("What", "Who", "Which", "How"))]
    return plain[0].removesuffix(" of {e}?").lower() if plain else ""


def _affixed(rng: random.Random, sentence: str, split: Split) -> str:
    """Now and then more words around a training sentence."""
    roll = rng.random()
    if split != "train" or roll > 0.12:
        return sentence_case(sentence)
    if roll < 0.06:
        lead = rng.choice(FORMS["affix"].of("l", "train"))
        return f"{lead} {sentence}"
    return f"{sentence_case(sentence).rstrip('.')} {rng.choice(FORMS['affix'].of('t', 'train'))}."


def _stated(rng: random.Random, section: Section, entity: str, split: Split) -> Fact:
    """A fact about an entity from a section of facts.txt."""
    value = draw(rng, section.attributes[-1], split)
    sentence = fill(section.pick(rng, "s", split), e=entity, v=value)
    question = fill(section.pick(rng, "q", split), e=entity)
    if split == "train" and (noun := _noun_of(section)):
        other, asked = _composed(rng, noun, entity, value)
        sentence = other if rng.random() < 0.12 else sentence
        question = asked if rng.random() < 0.12 else question
    return Fact(_affixed(rng, sentence, split), sentence_case(question), value)


def _generic(rng: random.Random, noun: str, entity: str, split: Split) -> Fact:
    """A fact whose attribute is any noun."""
    kind = rng.choice(("word", "number", "title", "phrase", "id", "name", "city", "colour"))
    value = draw(rng, kind, split)
    sentence = fill(FORMS["generic"].pick(rng, "s", split), e=entity, v=value, n=noun)
    question = fill(FORMS["generic"].pick(rng, "q", split), e=entity, n=noun)
    if split == "train":
        other, asked = _composed(rng, noun, entity, value)
        sentence = other if rng.random() < 0.3 else sentence
        question = asked if rng.random() < 0.3 else question
    return Fact(_affixed(rng, sentence, split), sentence_case(question), value)


def _policy(rng: random.Random, section: Section, split: Split) -> Fact:
    value = draw(rng, section.attributes[-1], split)
    return Fact(
        fill(section.of("s", "train")[0], v=value), rng.choice(section.of("q", "train")), value
    )


def _near_misses(rng: random.Random, split: Split, count: int) -> list[Fact]:
    """Facts about few entities and few attributes, so that both must be read to tell them apart."""
    kind = rng.choice(("place", "product", "project", "person", "company"))
    entities = [_entity(rng, kind, split) for _ in range(rng.choice((1, 2, 2, 2, 3)))]
    fitting = [s for s in FACTS if kind in s.attributes]
    sections = rng.sample(fitting, min(len(fitting), rng.choice((2, 2, 3, 4))))
    names = [section.name for section in sections]
    sections = [s for s in sections if RIVALS.get(s.name) not in names]
    nouns = [draw(rng, "noun", split) for _ in range(rng.choice((0, 1, 1, 2)))]
    nouns = [noun for noun in nouns if noun not in AMBIGUOUS]
    pairs = [(e, s) for e in entities for s in (*sections, *dict.fromkeys(nouns))]
    rng.shuffle(pairs)
    return [
        _stated(rng, about, entity, split)
        if isinstance(about, Section)
        else _generic(rng, about, entity, split)
        for entity, about in pairs[:count]
    ]


def _facts(rng: random.Random, split: Split, count: int) -> list[Fact]:
    """Distinct facts, the last of which may be left out of the texts."""
    facts = _near_misses(rng, split, rng.choice((0, 2, 3, 4)))
    if split == "train" and rng.random() < 0.25:
        facts.extend(_policy(rng, s, split) for s in rng.sample(POLICIES, rng.choice((1, 2, 3))))
    while len(facts) < count:
        facts.extend(_near_misses(rng, split, 2))
    rng.shuffle(facts)
    return facts[:count]


def filler(rng: random.Random, split: Split) -> str:
    """A sentence that answers nothing."""
    return sentence_case(
        fill(
            rng.choice(FORMS["filler"].of("s", "train")),
            p=draw(rng, "person", split),
            r=draw(rng, "name", split),
            c=draw(rng, "city", split),
            w=draw(rng, "weekday", split),
            x=draw(rng, "weather", split),
            k=draw(rng, "thing", split),
            f=draw(rng, "food", split),
        )
    )


def _lines(rng: random.Random, facts: list[Fact], split: Split) -> list[list[Fact | str]]:
    """Lay the facts out as texts of one to three sentences."""
    texts: list[list[Fact | str]] = [[]]
    apart = rng.choice((0.95, 0.85, 0.85, 0.6))
    for fact in facts:
        if texts[-1] and rng.random() < apart:
            texts.append([])
        texts[-1].append(fact)
    for text in texts:
        if rng.random() < 0.12:
            text.insert(rng.randrange(len(text) + 1), filler(rng, split))
    if rng.random() < 0.12:
        texts.insert(rng.randrange(len(texts) + 1), [filler(rng, split)])
    return texts


def _title(rng: random.Random) -> str:
    """The name of the document that a text is from."""
    kind = rng.choice(("word", "noun", "noun", "thing", "title", "table"))
    return draw(rng, kind, "train") if kind != "noun" else f"{draw(rng, kind, 'train')} list"


def _render(rng: random.Random, texts: list[list[Fact | str]]) -> str:
    titled = rng.random() < 0.12
    lines = []
    for number, text in enumerate(texts, 1):
        body = " ".join(part if isinstance(part, str) else part.sentence for part in text)
        title = f"{sentence_case(_title(rng))}: " if titled else ""
        lines.append(f"[{number}] {title}{body}")
    return "\n".join(lines)


def _check(fact: Fact, number: int | None) -> dict[str, object]:
    if number is None:
        return {"kind": "refusal", "any_of": ["do not say"]}
    return {"kind": "cited", "any_of": [fact.value], "citation": f"[{number}]"}


def cite(
    rng: random.Random, split: Split, *, absent: bool | None = None, in_system: bool | None = None
) -> Dialog:
    """Questions over texts; `absent` forces whether a question without an answer is asked."""
    if split == "train" and absent is None:
        return many_questions(rng, in_system=in_system)
    facts = _facts(rng, split, rng.choice((3, 3, 4, 4, 5, 6)))
    hidden = facts.pop() if len(facts) > 1 else None
    texts = _lines(rng, facts, split)
    asked = rng.sample(facts, min(len(facts), rng.choice((1, 2, 2, 3, 3))))
    if hidden is not None and (rng.random() < 0.55 if absent is None else absent):
        asked.insert(0 if absent else rng.randrange(len(asked) + 1), hidden)
    return _asked(rng, split, Dialog("absent" if absent else "cite"), texts, asked, in_system)


def many_questions(rng: random.Random, *, in_system: bool | None) -> Dialog:
    """Training: up to six questions over the same texts, a third of them without an answer."""
    facts = _facts(rng, "train", rng.choice((3, 3, 4, 4, 5, 5, 6, 7)))
    hidden = [facts.pop() for _ in range(rng.choice((1, 1, 2)))]
    asked = rng.sample(facts, min(len(facts), rng.choice((2, 3, 4, 5))))
    asked += rng.sample(hidden, rng.randint(0, len(hidden)))
    rng.shuffle(asked)
    return _asked(rng, "train", Dialog("cite"), _lines(rng, facts, "train"), asked, in_system)


def _asked(
    rng: random.Random,
    split: Split,
    dialog: Dialog,
    texts: list[list[Fact | str]],
    asked: list[Fact],
    in_system: bool | None,
) -> Dialog:
    """The dialog in which the facts are asked for, in order, with their replies."""
    where = {id(part): number for number, text in enumerate(texts, 1) for part in text}
    shown = _render(rng, texts)
    in_system = rng.random() < 0.4 if in_system is None else in_system
    if in_system:
        dialog.messages.append(system_with(rng, shown, split))
    for turn, fact in enumerate(asked):
        question = disturb(rng, fact.question) if split == "train" else fact.question
        if turn == 0 and not in_system:
            question = fill(FORMS["user"].pick(rng, "f", split), t=shown, q=question)
        number = where.get(id(fact))
        reply = ABSENT if number is None else f"{fact.sentence} [{number}]"
        dialog.user(question)
        dialog.assistant(reply, _check(fact, number))
    return dialog


@dataclass(frozen=True)
class Source:
    """Texts laid out once, and what can be asked about them: pairs of a question and its reply."""

    shown: str
    asked: list[tuple[str, str, dict[str, object]]]


def source(rng: random.Random, split: Split) -> Source:
    """Few texts, with questions of which some have no answer, in random order."""
    facts = _facts(rng, split, rng.choice((3, 3, 4, 5)))
    hidden = facts.pop()
    texts = _lines(rng, facts, split)
    where = {id(part): number for number, text in enumerate(texts, 1) for part in text}
    asked = []
    for fact in (*facts, hidden):
        number = where.get(id(fact))
        question = disturb(rng, fact.question) if split == "train" else fact.question
        reply = ABSENT if number is None else f"{fact.sentence} [{number}]"
        asked.append((question, reply, _check(fact, number)))
    rng.shuffle(asked)
    return Source(_render(rng, texts), asked)


def system_with(rng: random.Random, shown: str, split: Split) -> dict[str, str]:
    """The system message that carries numbered texts."""
    content = fill(FORMS["system"].pick(rng, "f", split), t=shown)
    if rng.random() < 0.2:
        content = fill(f"{rng.choice(SYSTEMS)}\n\n{SERVED}", t=shown)
    return {"role": "system", "content": content}
