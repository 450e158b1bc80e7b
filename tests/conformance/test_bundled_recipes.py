"""The recipes of the package are sound, measured with the model as it ships, and pass their gates.

When this fails after the bundled model was made anew: `octant recipes measure octant-mini-fast`,
and `octant-mini-precise`.
"""

from pathlib import Path

import pytest

from octant.app.artifacts import bundled_recipes, complete_recipe, read_recipe
from octant.app.settings import load_settings
from octant.lifecycle.recipes import misses


@pytest.mark.parametrize("path", bundled_recipes(), ids=lambda path: path.stem)
def test_a_bundled_recipe_is_measured_with_its_artifact_and_passes_its_gate(path: Path) -> None:
    recipe = complete_recipe(read_recipe(path), load_settings().settings)
    assert recipe.measured is not None, f"octant recipes measure {path.stem}"
    assert recipe.probe is not None and recipe.probe.expect
    assert set(recipe.quality_gate) <= set(recipe.measured.accuracy)
    assert misses(recipe) == ()


def test_the_package_has_a_fast_and_a_precise_one() -> None:
    labels = [read_recipe(path).file.label for path in bundled_recipes()]
    assert labels == ["fast", "precise"]
