"""The serving set stays small: no training framework can be reached from `pip install octant`."""

import re
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
FORBIDDEN = {"torch", "transformers", "optimum", "optimum-intel", "nncf", "torchvision"}


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements_of(name: str, extras: set[str]) -> set[tuple[str, frozenset[str]]]:
    found: set[tuple[str, frozenset[str]]] = set()
    for line in distribution(name).requires or []:
        requirement = Requirement(line)
        environments = [{"extra": extra} for extra in extras | {""}]
        if requirement.marker is None or any(map(requirement.marker.evaluate, environments)):
            found.add((normalised(requirement.name), frozenset(requirement.extras)))
    return found


def closure(root: str) -> set[str]:
    seen: set[tuple[str, frozenset[str]]] = set()
    pending = [(root, frozenset[str]())]
    while pending:
        node = pending.pop()
        if node not in seen:
            seen.add(node)
            pending.extend(requirements_of(node[0], set(node[1])))
    return {name for name, _ in seen}


def test_no_training_framework_in_the_closure_of_installed_requirements() -> None:
    names = closure("octant")
    assert {"openvino", "uvicorn", "sqlalchemy"} <= names
    assert not names & FORBIDDEN


def test_lock_of_the_serving_set_is_exactly_that_closure() -> None:
    lock = (ROOT / "requirements" / "serve.txt").read_text()
    locked = {normalised(name) for name in re.findall(r"^([A-Za-z0-9_.-]+)==", lock, re.M)}
    assert not locked & FORBIDDEN
    assert closure("octant") - {"octant"} == locked


def test_both_locks_agree_on_every_version() -> None:
    pattern = re.compile(r"^([A-Za-z0-9_.-]+)==(\S+)", re.M)
    serve = dict(pattern.findall((ROOT / "requirements" / "serve.txt").read_text()))
    test = dict(pattern.findall((ROOT / "requirements" / "test.txt").read_text()))
    assert serve.items() <= test.items()
