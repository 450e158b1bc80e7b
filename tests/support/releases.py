"""Administration of a running server, as tests use it: over its API, with the server's own key."""

import shutil
import tomllib
from pathlib import Path
from typing import Any

import httpx2

from octant.app.artifacts import bundled_root
from tests.support.server import RunningServer, eventually

MODEL = "octant-mini"


class Releases:
    """Deployments and traffic of one server."""

    def __init__(self, server: RunningServer) -> None:
        self.http = server.http()

    def close(self) -> None:
        self.http.close()

    def deployments(self) -> dict[str, dict[str, Any]]:
        told = self.http.get("/admin/v1/deployments")
        return {deployment["id"]: deployment for deployment in told.json()["data"]}

    def state(self, route: str) -> str:
        found = self.deployments().get(route)
        return found["state"] if found else "gone"

    def wait(self, route: str, state: str) -> None:
        """Returns once the deployment is in that state; `gone` is one that is listed no more."""
        eventually(lambda: self.state(route) == state, f"{route} {state}", timeout_s=60)

    def deploy(self, recipe: str, release: str) -> httpx2.Response:
        body = {"recipe": recipe, "release": release}
        return self.http.post("/admin/v1/deployments", json=body)

    def remove(self, route: str, **query: str) -> httpx2.Response:
        return self.http.delete(f"/admin/v1/deployments/{route}", params=query)

    def split(self, **weights: int) -> httpx2.Response:
        """Weights by release number: `r1=90, r2=10`."""
        named = {f"{MODEL}-{name.removeprefix('r')}": weight for name, weight in weights.items()}
        return self.http.put(f"/admin/v1/models/{MODEL}/traffic", json={"weights": named})

    def weights(self) -> dict[str, int]:
        return self.http.get(f"/admin/v1/models/{MODEL}/traffic").json()["current"]["weights"]

    def add_recipe(self, recipe: dict[str, Any]) -> httpx2.Response:
        return self.http.post("/admin/v1/recipes", json={"recipe": recipe})


def bundled_recipe(label: str) -> dict[str, Any]:
    """What a recipe file of the package says."""
    path = bundled_root() / "recipes" / f"{MODEL}-{label}.toml"
    return tomllib.loads(path.read_text())


def recipe(name: str, artifact: str, **more: Any) -> dict[str, Any]:
    """A recipe of the bundled model, as its file would say it."""
    return {
        "name": name,
        "model": MODEL,
        "label": "fast",
        "description": "For a test.",
        "artifact": artifact,
    } | more


def copied_model(target: Path) -> Path:
    """A copy of the bundled model that a test may damage."""
    shutil.copytree(
        bundled_root() / MODEL, target, ignore=shutil.ignore_patterns("eval", "precise")
    )
    return target
