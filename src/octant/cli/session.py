"""Session: a command's conversation with one server, and the right to have it.

Law: a key given by the user is used as it is. Without one, a session with the server of the local
data directory makes a key in its store that dies with the session (or after a day, should the
session be killed), so no command keeps a secret on disk. No other server is ever sent such a key.
"""

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple, cast

from octant.app.settings import LoadedSettings, client_environment
from octant.cli import server_file
from octant.cli.http_client import Answer, HttpConnection, OnBody, connect
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.identity import Scope
from octant.core.ids import ActorId
from octant.core.stage import Stage
from octant.core.units import NS_PER_S

TEMPORARY_KEY_LIFE_S = 24 * 3600


class Target(NamedTuple):
    """A server and the key to use there."""

    url: str
    key: str


class Session:
    """Requests to one target over one connection, which is opened anew when it was lost."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._connection: HttpConnection | None = None

    async def get(self, path: str) -> Any:
        """The JSON value at `path`. Raises Failed, also when the server answers with an error."""
        return (await self._exchange("GET", path, b"", None)).json()

    async def health(self, path: str) -> Any:
        """The JSON value at a health `path`, which 503 stands before when something is not well."""
        return (await self._exchange("GET", path, b"", None, but=503)).json()

    async def post(
        self, path: str, body: Mapping[str, Any], on_body: OnBody | None = None
    ) -> Answer:
        """Sends JSON; the body of a good answer goes to `on_body` piece by piece, if given."""
        return await self._exchange("POST", path, json.dumps(body).encode(), on_body)

    async def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """Sends JSON; the JSON value of the answer."""
        return (await self._exchange("PUT", path, json.dumps(body).encode(), None)).json()

    async def delete(self, path: str) -> Any:
        """The JSON value of the answer."""
        return (await self._exchange("DELETE", path, b"", None)).json()

    async def default_model(self) -> str:
        """The first model served. Raises Failed(MODEL_NOT_FOUND) when there is none."""
        models = (await self.get("/v1/models"))["data"]
        if not models:
            raise Failed(
                Failure(
                    kind=FailureKind.MODEL_NOT_FOUND,
                    stage=Stage.ROUTE,
                    message=f"{self.target.url} serves no model yet. `octant models list` shows "
                    "its state.",
                )
            )
        return str(models[0]["id"])

    def close(self) -> None:
        """Cuts the connection; work in progress for it is cancelled by the server."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _exchange(
        self, method: str, path: str, body: bytes, on_body: OnBody | None, but: int | None = None
    ) -> Answer:
        connection, self._connection = self._connection, None
        if connection is None or connection.closed:
            connection = await connect(self.target.url)
        try:
            answer = await connection.exchange(
                method, path, {"authorization": f"Bearer {self.target.key}"}, body, on_body
            )
        except BaseException:
            # Also when cancelled: half an answer may still be on its way over this connection.
            connection.close()
            raise
        self._connection = connection
        if answer.status >= 400 and answer.status != but:
            raise Failed(refusal(answer))
        return answer


@asynccontextmanager
async def open_session(
    loaded: LoadedSettings, url: str | None, key: str | None, scopes: tuple[Scope, ...] = ()
) -> AsyncGenerator[Session, None]:
    """A session with the server that flags, environment or data directory name, in that order.

    A key that is made for the session holds `scopes`, or without any those of inference.
    """
    environment = client_environment()
    url, key = url or environment.base_url, key or environment.api_key
    local = server_file.find(loaded.settings.data_dir)
    if url is None:
        url = server_file.require(loaded.settings.data_dir).url
    if key is None and (local is None or _root(url) != local.url):
        raise Failed(_no_key(url))
    async with _credential(loaded, key, scopes) as usable:
        session = Session(Target(_root(url), usable))
        try:
            yield session
        finally:
            session.close()


def refusal(answer: Answer) -> Failure:
    """The failure that a server told in OpenAI's error shape."""
    told: Any = None
    with suppress(ValueError, AttributeError):
        told = json.loads(answer.body).get("error")
    if not isinstance(told, dict):
        return Failure(
            kind=FailureKind.UPSTREAM_FAILURE,
            stage=Stage.BOUNDARY,
            message=f"The server answered with status {answer.status} and no explanation.",
        )
    return failure_of(cast("dict[str, Any]", told), answer.headers.get("x-request-id"))


def failure_of(error: Mapping[str, Any], request_id: str | None = None) -> Failure:
    """A failure from the `error` object of a body or of a stream."""
    code = error.get("code")
    kind = FailureKind(code) if code in set(FailureKind) else FailureKind.UPSTREAM_FAILURE
    return Failure(
        kind=kind,
        stage=Stage.BOUNDARY,
        message=str(error.get("message")),
        param=error.get("param"),
        detail={"request": request_id} if request_id else {},
    )


@asynccontextmanager
async def _credential(
    loaded: LoadedSettings, key: str | None, scopes: tuple[Scope, ...]
) -> AsyncGenerator[str, None]:
    if key is not None:
        yield key
        return
    # A session with a key of its own must not need a local store.
    from octant.app.first_start import DEFAULT_TENANT
    from octant.cli.local_store import open_local
    from octant.gateway.api_keys import DEFAULT_SCOPES, KeyGrant

    async with open_local(loaded.settings) as local:
        minted = await local.create_key(
            KeyGrant(
                tenant=DEFAULT_TENANT,
                actor=ActorId("octant-cli"),
                name="octant command line, temporary",
                scopes=scopes or DEFAULT_SCOPES,
                expires_unix_ns=local.clock.unix_ns() + TEMPORARY_KEY_LIFE_S * NS_PER_S,
            )
        )
        try:
            yield minted.plaintext
        finally:
            await local.revoke_key(minted.record.id)


def _no_key(url: str) -> Failure:
    return Failure(
        kind=FailureKind.INVALID_API_KEY,
        stage=Stage.BOUNDARY,
        message=f"{url} is not the server of this data directory, so a key is needed: give one "
        "with --key or in OCTANT_API_KEY.",
        param="--key",
    )


def _root(url: str) -> str:
    return url.rstrip("/").removesuffix("/v1")
