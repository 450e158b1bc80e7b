"""Base recipes: what the settings alone ask to be served, before anything was deployed by hand.

    model.recipe -> that recipe      nothing -> the package's recipes
    model.path   -> a recipe made of the settings, labelled `default`

Law: every one stands on files that were verified. A recipe of the package that cannot be served is
left out with a warning, unless it is the first: then there is nothing to serve.
"""

import logging

import msgspec

from octant.app.artifacts import (
    RecipeSource,
    bundled_recipes,
    complete_recipe,
    read_recipe,
)
from octant.app.settings import Settings
from octant.core.deployment import Recipe
from octant.core.failure import Failed
from octant.lifecycle.recipe_files import RecipeFile
from octant.preparation.job import Report

DEFAULT_LABEL = "default"
PRECISE_LABEL = "precise"

_log = logging.getLogger(__name__)


def base_recipes(settings: Settings, report: Report) -> tuple[Recipe, ...]:
    """The most important one first; a model is prepared first where that was never done.

    Raises Failed with the stage that refused the model.
    """
    if settings.model.recipe:
        source = read_recipe(settings.model.recipe_path)
        return (complete_recipe(source, settings),)
    if settings.model.path:
        return (_of_model(settings, report),)
    return _bundled(settings)


def _of_model(settings: Settings, report: Report) -> Recipe:
    # Not at the top: what reaches hubs and prepares models is nothing that the package's need.
    from octant.app.model_source import find_model

    source = find_model(settings, report)
    name = settings.model.name or source.artifact.name
    file = RecipeFile(
        name=f"{name}-{DEFAULT_LABEL}",
        model=name,
        label=DEFAULT_LABEL,
        description="Made of the settings, without a recipe file.",
        artifact=str(source.directory.absolute()),
    )
    return complete_recipe(RecipeSource(source.directory, file, None), settings)


def _bundled(settings: Settings) -> tuple[Recipe, ...]:
    recipes: list[Recipe] = []
    for path in bundled_recipes():
        source = read_recipe(path)
        if source.file.label == PRECISE_LABEL and not settings.deployments.precise:
            continue
        if settings.model.name:
            renamed = msgspec.structs.replace(source.file, model=settings.model.name)
            source = source._replace(file=renamed)
        try:
            recipes.append(complete_recipe(source, settings))
        except Failed as error:
            if not recipes:
                raise
            _log.warning("the recipe %s is not served: %s", path.name, error.failure.message)
    return tuple(recipes)
