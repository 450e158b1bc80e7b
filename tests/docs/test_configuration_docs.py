"""docs/configuration.md lists every setting, and every setting is used."""

import re
from pathlib import Path

import pytest

from octant.app.settings import Leaf, leaves
from octant.app.settings_text import chosen_by, reference_markdown

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "configuration.md"
SOURCES = ROOT / "src" / "octant"
each_leaf = pytest.mark.parametrize("leaf", list(leaves()), ids=lambda leaf: leaf.name)


def test_the_reference_is_what_the_declarations_say() -> None:
    _, marker, listed = PAGE.read_text(encoding="utf-8").partition("-->\n\n")
    assert marker, "the page has lost the comment that stands before the reference"
    assert listed == reference_markdown(), (
        "replace everything below the comment with the output of: python -c "
        "'from octant.app.settings_text import reference_markdown as r; print(r(), end=\"\")'"
    )


@each_leaf
def test_every_setting_is_explained_in_a_sentence(leaf: Leaf) -> None:
    meaning = leaf.field.description or ""
    assert meaning.endswith(".")
    assert meaning[0].isupper() or meaning[0] in "/`"
    assert not chosen_by(leaf).endswith(".")


@each_leaf
def test_every_setting_is_used(leaf: Leaf) -> None:
    """A setting that nothing reads would be a promise that nobody keeps."""
    table, _, key = leaf.name.rpartition(".")
    table = table.rpartition(".")[2]
    readers = [
        path.read_text(encoding="utf-8")
        for path in (SOURCES / "app").glob("*.py")
        if not path.name.startswith("settings_")
    ]
    readers += [path.read_text(encoding="utf-8") for path in (SOURCES / "cli").rglob("*.py")]
    used = re.compile(rf"\.{key}\b")
    whole = re.compile(rf"\.{table}\.model_dump")
    assert any(used.search(text) or whole.search(text) for text in readers), leaf.name
