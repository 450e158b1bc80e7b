"""Random values (names, dates, codes, amounts) of which each belongs to one split only.

Membership is decided by a checksum of the value, so that a value met in training can never be
drawn for validation or for the final suite. Values of tiny domains (weekdays, small counts) are
exempt: see `SHARED`.
"""

import random
import zlib
from collections.abc import Callable

from .core import Split, section_map

_WORDS = section_map("words")["words"]
ONSETS = _WORDS.of("onsets", "train")
VOWELS = _WORDS.of("vowels", "train")
CODAS = _WORDS.of("codas", "train")
FIRST_NAMES = _WORDS.of("first_names", "train")
LAST_NAMES = _WORDS.of("last_names", "train")
CITIES = _WORDS.of("cities", "train")
COLOURS = _WORDS.of("colours", "train")
ANIMALS = _WORDS.of("animals", "train")
FOODS = _WORDS.of("foods", "train")
JOBS = _WORDS.of("jobs", "train")
HOBBIES = _WORDS.of("hobbies", "train")
THINGS = _WORDS.of("things", "train")
WEATHER = _WORDS.of("weather", "train")
STATUSES = _WORDS.of("statuses", "train")
LANGUAGES = _WORDS.of("languages", "train")
WEEKDAYS = _WORDS.of("weekdays", "train")
MONTHS = _WORDS.of("months", "train")
CURRENCIES = _WORDS.of("currencies", "train")
UNITS = _WORDS.of("units", "train")
PRIORITIES = _WORDS.of("priorities", "train")
DOORS = _WORDS.of("doors", "train")
FOLDERS = _WORDS.of("folders", "train")
SUFFIXES = _WORDS.of("suffixes", "train")
VERBS = _WORDS.of("verbs", "train")
TABLES = _WORDS.of("tables", "train")
CONTINENTS = _WORDS.of("continents", "train")
NOUNS = _WORDS.of("nouns", "train")


def split_of(value: str) -> Split:
    """The one split a value belongs to: 1 in 16 is final, 1 in 16 validation."""
    bucket = zlib.crc32(value.lower().encode()) % 16
    return "final" if bucket == 0 else "validation" if bucket == 1 else "train"


def coined(rng: random.Random, syllables: int | None = None) -> str:
    """A word that no one has seen, in lower case."""
    count = syllables or rng.choice((2, 2, 2, 3))
    body = "".join(rng.choice(ONSETS) + rng.choice(VOWELS) for _ in range(count))
    return body + rng.choice(CODAS)


def _proper(rng: random.Random, known: list[str]) -> str:
    return rng.choice(known) if rng.random() < 0.5 else coined(rng).capitalize()


def _full_name(rng: random.Random) -> str:
    return f"{_proper(rng, FIRST_NAMES)} {_proper(rng, LAST_NAMES)}"


def _company(rng: random.Random) -> str:
    tail = rng.choice(("Ltd", "Inc", "Group", "Labs", "Foods", "Systems", "Energy", "Logistics"))
    return f"{_title(rng)} {tail}"


def _title(rng: random.Random) -> str:
    """A proper name: made up, of two known words, or taken from a person or a city."""
    roll = rng.random()
    if roll < 0.35:
        return coined(rng).capitalize()
    if roll < 0.7:
        first = rng.choice((*COLOURS, *WEATHER, *WEEKDAYS, *MONTHS))
        return f"{first.capitalize()} {rng.choice((*ANIMALS, *FOODS)).capitalize()}"
    return rng.choice((*LAST_NAMES, *CITIES))


def _email(rng: random.Random) -> str:
    local = rng.choice((rng.choice(FIRST_NAMES).lower(), coined(rng)))
    if rng.random() < 0.4:
        local += "." + rng.choice(LAST_NAMES).lower()
    return f"{local}@{coined(rng)}.{rng.choice(('com', 'org', 'net', 'eu', 'io'))}"


def _phone(rng: random.Random) -> str:
    if rng.random() < 0.5:
        return f"{rng.randint(200, 999)}-{rng.randint(1000, 9999)}"
    return (
        f"+{rng.randint(1, 99)} {rng.randint(10, 99)} {rng.randint(100, 999)} "
        f"{rng.randint(1000, 9999)}"
    )


def _date(rng: random.Random) -> str:
    day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(2015, 2032)
    name = MONTHS[month - 1]
    return rng.choice(
        (f"{year}-{month:02}-{day:02}", f"{day} {name}", f"{name} {day}", f"{day} {name} {year}")
    )


def _time(rng: random.Random) -> str:
    hour, minute = rng.randint(0, 23), rng.choice((0, 5, 10, 15, 20, 30, 40, 45, 50, 55))
    if rng.random() < 0.3:
        return f"{hour % 12 + 1} {rng.choice(('am', 'pm'))}"
    return f"{hour}:{minute:02}"


def _identifier(rng: random.Random) -> str:
    letters = "".join(rng.choice("ABCDEFGHJKLMNPQRSTUVWXYZ") for _ in range(rng.randint(1, 3)))
    return f"{letters}{rng.choice(('-', ''))}{rng.randint(100, 99999)}"


def _street(rng: random.Random) -> str:
    kind = rng.choice(("Street", "Road", "Avenue", "Lane", "Square"))
    return f"{rng.randint(1, 250)} {coined(rng).capitalize()} {kind}"


def _password(rng: random.Random) -> str:
    return f"{rng.choice((rng.choice(ANIMALS), coined(rng)))}{rng.randint(10, 999)}"


def _number(low: int, high: int) -> Callable[[random.Random], str]:
    return lambda rng: str(rng.randint(low, high))


def _any_of(known: list[str]) -> Callable[[random.Random], str]:
    return lambda rng: rng.choice(known)


def _money(rng: random.Random) -> str:
    return f"{rng.randint(11, 2000)} {rng.choice(('euros', 'dollars', 'EUR', 'USD'))}"


def _place(rng: random.Random) -> str:
    return rng.choice(
        (
            f"room {_shelf(rng)}",
            f"the {rng.choice(COLOURS)} hall",
            "hall " + coined(rng).capitalize(),
            f"the {rng.choice(DOORS)} desk",
        )
    )


def _shelf(rng: random.Random) -> str:
    letter = rng.choice("ABCDEFGHKLMNPRST")
    return rng.choice((f"{letter}{rng.randint(1, 99)}", str(rng.randint(100, 499))))


def _path(rng: random.Random) -> str:
    name = rng.choice((coined(rng), rng.choice(THINGS)))
    return f"{rng.choice(('', '/'))}{rng.choice(FOLDERS)}/{name}.{rng.choice(SUFFIXES)}"


def _zone(rng: random.Random) -> str:
    if rng.random() < 0.15:
        return rng.choice(("UTC", "CET", "GMT", "EST"))
    return f"{rng.choice(CONTINENTS)}/{rng.choice(CITIES)}"


def _key(rng: random.Random) -> str:
    kind = rng.choice(("id", "id", "number", "name", "full_name", "email", "word", "shelf", "city"))
    return MAKERS[kind](rng)


def _phrase(rng: random.Random) -> str:
    first = rng.choice((rng.choice(COLOURS), coined(rng)))
    return f"{first} {rng.choice(THINGS + ANIMALS)}"


MAKERS: dict[str, Callable[[random.Random], str]] = {
    "name": lambda rng: _proper(rng, FIRST_NAMES),
    "full_name": _full_name,
    "person": lambda rng: _full_name(rng) if rng.random() < 0.5 else _proper(rng, FIRST_NAMES),
    "city": lambda rng: _proper(rng, CITIES),
    "company": _company,
    "email": _email,
    "phone": _phone,
    "date": _date,
    "time": _time,
    "id": _identifier,
    "street": _street,
    "password": _password,
    "number": _number(11, 999),
    "big": _number(1000, 99999),
    "year": _number(1850, 2030),
    "money": _money,
    "word": coined,
    "noun": lambda rng: rng.choice(NOUNS) if rng.random() < 0.8 else coined(rng),
    "place": _place,
    "shelf": _shelf,
    "path": _path,
    "decimal": lambda rng: f"{rng.randint(0, 9)}.{rng.randint(11, 99)}",
    "weight": lambda rng: f"{rng.randint(2, 950)} {rng.choice(('grams', 'kilograms', 'kg'))}",
    "title": _title,
    "key": _key,
    "phrase": _phrase,
}
SHARED: dict[str, Callable[[random.Random], str]] = {
    "count": _number(2, 12),
    "minutes": _number(2, 90),
    "weekday": _any_of(WEEKDAYS),
    "colour": _any_of(COLOURS),
    "animal": _any_of(ANIMALS),
    "food": _any_of(FOODS),
    "job": _any_of(JOBS),
    "hobby": _any_of(HOBBIES),
    "thing": _any_of(THINGS),
    "weather": _any_of(WEATHER),
    "status": _any_of(STATUSES),
    "language": _any_of(LANGUAGES),
    "currency": _any_of(CURRENCIES),
    "unit": _any_of(UNITS),
    "priority": _any_of(PRIORITIES),
    "degrees": _number(-15, 38),
    "percent": _number(1, 99),
    "years": lambda rng: f"{rng.randint(2, 12)} {rng.choice(('years', 'months'))}",
    "hours": lambda rng: f"{rng.randint(2, 48)} hours",
    "bool": _any_of(["true", "false"]),
    "colourdoor": _any_of(DOORS),
    "zone": _zone,
    "table": lambda rng: rng.choice(TABLES) if rng.random() < 0.9 else coined(rng),
}
# What stands for a personal detail that was taken out of a text before the model reads it.
PLACEHOLDERS = {
    "email": ("EMAIL",),
    "phone": ("PHONE",),
    "person": ("PERSON",),
    "full_name": ("PERSON",),
    "name": ("PERSON",),
    "id": ("CARD", "IBAN", "CARD", "IBAN", "NATIONAL_ID"),
    "password": ("SECRET",),
    "key": ("EMAIL", "PERSON", "CARD", "PHONE"),
    "street": ("ADDRESS",),
}
PLACEHOLDER_SHARE = 0.05


def placeholder(rng: random.Random, kind: str) -> str:
    """Such as <EMAIL_1>; it is copied like any other value."""
    number = rng.choice((1, 1, 1, 2, 2, 3, rng.randint(4, 12)))
    return f"<{rng.choice(PLACEHOLDERS[kind])}_{number}>"


def draw(rng: random.Random, kind: str, split: Split) -> str:
    """A value of a kind that belongs to the split, now and then a placeholder for it."""
    if kind in PLACEHOLDERS and rng.random() < PLACEHOLDER_SHARE:
        return placeholder(rng, kind)
    if kind in SHARED:
        return SHARED[kind](rng)
    while split_of(value := MAKERS[kind](rng)) != split:
        pass
    return value
