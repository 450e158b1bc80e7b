"""Random values (names, dates, codes, amounts) of which each belongs to one split only.

Membership is decided by a checksum of the value, so that a value met in training can never be
drawn for validation or for the final suite. Values of tiny domains (weekdays, small counts) are
exempt: see `SHARED`.
"""

import random
import zlib
from collections.abc import Callable

from .core import Split

ONSETS = "b bl br c ch cl d dr f fl fr g gl gr h j k kl kr l m n p pl pr qu r s sh sk sl sn st " \
    "str sv t th tr v w z".split()
VOWELS = "a a a e e e i i o o u ai ea ei ia io oa ou y".split()
CODAS = " . . . . n r l s t m k d nd rt st ng x ck lm rn sk ff".replace(".", "").split(" ")

FIRST_NAMES = """Anna Ben Carla David Elena Frank Grace Henry Ines Jonas Kira Leo Maria Nora Oscar
Paula Quentin Rosa Sam Tara Ugo Vera Walter Xenia Yusuf Zoe Amir Bianca Cyril Dora Emil Fatima
Georg Hana Ivan Julia Karl Lina Marco Nina Olaf Petra Rafael Sofia Tomas Ursula Viktor Wanda Aisha
Boris Celine Dmitri Esther Felix Gina Hugo Irene Jamal Katrin Lars Mei Noah Olivia Pedro Ruth Stefan
Tina Uma Vincent Wendy Yara Zack Alice Bob Charlie Diana Eric Fiona Gary Helen Isaac Jane Kevin
Laura Mike Nancy Peter Rachel Simon Tom Priya Ravi Mary John Sarah Daniel Lucy Mark""".split()
LAST_NAMES = """Adler Baker Costa Dietrich Evans Fischer Garcia Hansen Ito Jensen Keller Lopez
Meyer Novak Olsen Patel Quinn Rossi Silva Tanaka Ulrich Vogel Weber Xu Young Zimmer Brandt Carter
Duarte Ellis Ferrari Gomez Hughes Ivanov Jacobs Kowalski Larsen Moreau Nguyen Okafor Park Reyes
Schmidt Turner Usman Varga Walsh Yilmaz Zhang Brown Smith Miller Jones Wilson Taylor""".split()
CITIES = """Oslo Paris London Berlin Madrid Rome Vienna Prague Warsaw Lisbon Dublin Athens Cairo
Lagos Nairobi Tokyo Osaka Seoul Beijing Shanghai Delhi Mumbai Karachi Dhaka Bangkok Hanoi Manila
Jakarta Sydney Perth Auckland Toronto Montreal Vancouver Boston Chicago Denver Seattle Austin Dallas
Miami Atlanta Lima Bogota Quito Santiago Havana Zurich Geneva Basel Munich Hamburg Cologne Milan
Turin Naples Lyon Nice Bordeaux Ghent Antwerp Utrecht Rotterdam Malmo Lund Bergen Aarhus Helsinki
Tampere Tallinn Riga Vilnius Krakow Gdansk Brno Graz Linz Split Zagreb Sofia Varna Izmir Ankara
Haifa Doha Tunis Rabat Dakar Accra Kigali Leeds Bristol Glasgow Cardiff Porto Seville""".split()
COLOURS = """red green blue yellow purple orange black white silver golden brown pink grey violet
turquoise teal crimson beige""".split()
ANIMALS = """fox owl bear wolf otter eagle panda tiger zebra koala falcon badger heron lynx moose
turtle dolphin raven squirrel hamster parrot rabbit pony goat""".split()
FOODS = """pasta soup salad pizza rice curry bread cheese pancakes tacos sushi noodles dumplings
lasagna stew omelette porridge risotto falafel waffles mango lemon apple banana""".split()
JOBS = """baker nurse engineer teacher plumber pilot lawyer gardener painter chemist dentist farmer
designer journalist librarian mechanic architect electrician translator accountant carpenter
photographer analyst cook driver""".split()
HOBBIES = """chess tennis sailing pottery climbing painting fishing cycling knitting archery yoga
gardening skating rowing birdwatching photography woodworking swimming judo origami""".split()
THINGS = """lamp chair printer laptop kettle router camera bicycle tent drone scanner monitor
keyboard toaster blender heater backpack jacket umbrella notebook desk speaker clock mirror carpet
phone tablet pump drill ladder fridge oven""".split()
WEATHER = "sunny cloudy rainy snowy windy foggy stormy clear humid freezing".split()
STATUSES = "open closed pending shipped delivered delayed cancelled ready paid approved".split()
LANGUAGES = """English French German Spanish Italian Dutch Polish Danish Swedish Norwegian Finnish
Greek Turkish Arabic Hebrew Hindi Korean Japanese Thai Portuguese Czech Hungarian""".split()
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = """January February March April May June July August September October November
December""".split()
CURRENCIES = "EUR USD GBP CHF SEK NOK DKK PLN JPY CAD AUD INR".split()
UNITS = "kilometers miles meters feet grams pounds liters gallons celsius fahrenheit".split()
PRIORITIES = "low medium high urgent".split()


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
    return f"{coined(rng).capitalize()} {tail}"


def _email(rng: random.Random) -> str:
    local = rng.choice((rng.choice(FIRST_NAMES).lower(), coined(rng)))
    if rng.random() < 0.4:
        local += "." + rng.choice(LAST_NAMES).lower()
    return f"{local}@{coined(rng)}.{rng.choice(('com', 'org', 'net', 'eu', 'io'))}"


def _phone(rng: random.Random) -> str:
    if rng.random() < 0.5:
        return f"{rng.randint(200, 999)}-{rng.randint(1000, 9999)}"
    return f"+{rng.randint(1, 99)} {rng.randint(10, 99)} {rng.randint(100, 999)} " \
        f"{rng.randint(1000, 9999)}"


def _date(rng: random.Random) -> str:
    day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(2015, 2032)
    name = MONTHS[month - 1]
    return rng.choice((f"{year}-{month:02}-{day:02}", f"{day} {name}", f"{name} {day}",
                       f"{day} {name} {year}"))


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
    "money": lambda rng: f"{rng.randint(11, 2000)} {rng.choice(('euros', 'dollars', 'EUR', 'USD'))}",
    "word": coined,
    "title": lambda rng: coined(rng).capitalize(),
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
}


def draw(rng: random.Random, kind: str, split: Split) -> str:
    """A value of a kind that belongs to the split."""
    if kind in SHARED:
        return SHARED[kind](rng)
    while split_of(value := MAKERS[kind](rng)) != split:
        pass
    return value
