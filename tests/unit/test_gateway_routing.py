"""Routing: exact paths, paths with names, prefixes of mounted applications."""

import pytest

from octant.gateway.routing import Call, Endpoint, Routing


async def answers(_: Call) -> None:
    """An endpoint that is never called here."""


async def elsewhere(scope: object, receive: object, send: object) -> None:
    """A mounted application that is never called here."""


ROUTING = Routing(
    (
        Endpoint("GET", "/v1/sessions", answers),
        Endpoint("POST", "/v1/sessions", answers),
        Endpoint("GET", "/v1/sessions/{id}", answers),
        Endpoint("DELETE", "/v1/sessions/{id}", answers),
        Endpoint("POST", "/v1/sessions/{id}/branch", answers),
        Endpoint("GET", "/v1/models/{id}", answers, rest=True),
    ),
    {"/admin/v1": elsewhere},
)


@pytest.mark.parametrize(
    ("path", "methods", "names"),
    [
        ("/v1/sessions", ["GET", "POST"], {}),
        ("/v1/sessions/ses_1", ["GET", "DELETE"], {"id": "ses_1"}),
        ("/v1/sessions/ses_1/branch", ["POST"], {"id": "ses_1"}),
        ("/v1/models/m", ["GET"], {"id": "m"}),
        ("/v1/models/org/m", ["GET"], {"id": "org/m"}),
        ("/v1/models/", ["GET"], {"id": ""}),
    ],
)
def test_a_path_has_its_methods_and_names(
    path: str, methods: list[str], names: dict[str, str]
) -> None:
    found = ROUTING.find(path)
    assert found is not None
    assert (list(found.methods), found.names) == (methods, names)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1/sessions/",
        "/v1/sessions//branch",
        "/v1/sessions/ses_1/",
        "/v1/sessions/ses_1/branch/x",
        "/v1/models",
        "/v1/Sessions",
        "/v1/sessions/{id}/other",
    ],
)
def test_nothing_else_is_found(path: str) -> None:
    assert ROUTING.find(path) is None


@pytest.mark.parametrize("path", ["/admin/v1", "/admin/v1/", "/admin/v1/deployments/x"])
def test_a_prefix_belongs_to_its_application(path: str) -> None:
    assert ROUTING.mounted(path) == ("/admin/v1", elsewhere)


@pytest.mark.parametrize("path", ["/admin", "/admin/v10", "/admin/v1x/y", "/x/admin/v1"])
def test_a_prefix_ends_at_a_slash(path: str) -> None:
    assert ROUTING.mounted(path) is None
