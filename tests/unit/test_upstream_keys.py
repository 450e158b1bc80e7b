"""Keys of upstreams: from a variable or a file, read at the start, told nowhere."""

from pathlib import Path
from typing import Any

import pytest

from octant.adapters.system.clock import SystemClock
from octant.app.settings import Settings
from octant.app.settings_routing import UpstreamEntry
from octant.app.upstreams import upstream_routes
from octant.core.events import AnyEvent
from octant.core.failure import Failed, FailureKind


class Nowhere:
    def emit(self, event: AnyEvent) -> None:
        """Takes nothing on."""


async def served(**changes: Any) -> str:
    """What the routes of one upstream look like, printed."""
    entry = UpstreamEntry(name="spare", base_url="http://127.0.0.1:9/v1", serves="m", **changes)
    settings = Settings(upstreams=(entry,))
    async with upstream_routes(settings, SystemClock(), Nowhere()) as routes:
        ((serves, deployed),) = routes
        assert (serves, deployed.route.model, deployed.prompt) == ("m", "m", None)
        return f"{settings} {deployed} {vars(deployed.provider)}"


@pytest.mark.parametrize("place", ["variable", "file"])
async def test_a_key_is_printed_nowhere(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    file.write_text("sk-secret\n")
    monkeypatch.setenv("SPARE_KEY", "sk-secret")
    given = {"variable": {"api_key_env": "SPARE_KEY"}, "file": {"api_key_file": str(file)}}
    assert "sk-secret" not in await served(**given[place])


@pytest.mark.parametrize("content", [None, b"", b"two words", b"\xff", "ключ".encode()])
async def test_without_a_key_that_can_be_one_nothing_starts(
    content: bytes | None, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Failed) as caught:
        await served(api_key_file=str(file))
    failure = caught.value.failure
    assert failure.kind is FailureKind.INVALID_VALUE
    assert "`spare` has no key" in failure.message
    assert "two words" not in failure.message


async def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPARE_KEY", raising=False)
    with pytest.raises(Failed, match="the variable SPARE_KEY holds no key"):
        await served(api_key_env="SPARE_KEY")


async def test_a_server_without_upstreams_opens_nothing() -> None:
    async with upstream_routes(Settings(), SystemClock(), Nowhere()) as routes:
        assert routes == ()


async def test_what_ends_the_server_comes_out_as_it_was() -> None:
    entry = UpstreamEntry(name="spare", base_url="http://127.0.0.1:9/v1", serves="m")
    with pytest.raises(OSError, match="the port is taken"):
        async with upstream_routes(Settings(upstreams=(entry,)), SystemClock(), Nowhere()):
            raise OSError("the port is taken")
