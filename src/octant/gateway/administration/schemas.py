"""What the administration API takes and gives, as its OpenAPI document says it.

Law: bodies are closed, so a misspelt field is an error. Recipes are told with every field that the
store keeps; a recipe as written has the fields of `lifecycle.recipe_files`.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NewRecipe(_Closed):
    """A recipe as written, and what `octant recipes measure` found of it, if it did."""

    recipe: dict[str, Any] = Field(description="The fields of a recipe file.")
    measurement: dict[str, Any] | None = Field(
        None, description="The content of the `.measured.json` file beside it."
    )


class NewDeployment(_Closed):
    """One recipe to run as one route of a release."""

    recipe: str = Field(min_length=1, max_length=100, description="Its digest, or its name.")
    release: str = Field(pattern=_NAME, description="A new release, or one to add a route to.")


class NewTraffic(_Closed):
    """How a model's new requests are split from now on."""

    weights: dict[str, Annotated[int, Field(ge=0, le=1_000_000)]] = Field(
        min_length=1, max_length=64, description="Relative weights by release."
    )
    expected_version: int | None = Field(
        None, ge=0, description="Refused with 409 unless this is the version in force; 0: none is."
    )


class RecipeList(BaseModel):
    """Recipes in the order of their registration."""

    data: list[dict[str, Any]]


class DeploymentView(BaseModel):
    """A deployment and how it stands."""

    id: str
    model: str
    release: str
    label: str
    recipe: str
    recipe_digest: str
    wanted: bool
    from_settings: bool
    created_unix_ns: int
    state: str = Field(description="loading, warming, probing, ready, draining, stopped or failed.")
    reason: str
    restarts: int
    outstanding: int = Field(description="Requests inside.")
    engine_pid: int | None
    load_ms: int | None
    resident_bytes: int | None = Field(description="Of the engine process after loading.")
    kv_bytes_per_token: int | None


class DeploymentList(BaseModel):
    """Deployments in the order in which they were asked for."""

    data: list[DeploymentView]


class TrafficVersion(BaseModel):
    """A split that is or was in force."""

    weights: dict[str, int]
    version: int
    changed_unix_ns: int
    changed_by: str


class TrafficView(BaseModel):
    """The split in force (null: all releases are equal) and earlier ones, newest first."""

    model: str
    current: TrafficVersion | None
    history: list[TrafficVersion]
