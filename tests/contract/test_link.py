"""Both ends of the link between server and engine: order, bounds, privacy, a new one each time."""

import asyncio
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from octant.adapters.zmq.link import ZmqEngineLink, ZmqServerLink

BOUND = 8


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ZmqServerLink]:
    link = ZmqServerLink(tmp_path / "run", BOUND)
    yield link
    link.close()


def connected(server: ZmqServerLink, *, orphaned: bool = False) -> ZmqEngineLink:
    return ZmqEngineLink(server.address, BOUND, lambda: orphaned)


async def test_messages_arrive_in_order_both_ways(server: ZmqServerLink) -> None:
    engine = connected(server)
    for index in range(BOUND):
        engine.send(b"%d" % index)
    assert [await server.receive() for _ in range(BOUND)] == [b"%d" % i for i in range(BOUND)]
    for index in range(BOUND):
        assert server.send(b"%d" % index)
    received = [await asyncio.to_thread(engine.receive, 5000) for _ in range(BOUND)]
    assert received == [b"%d" % i for i in range(BOUND)]
    engine.close()


async def test_nothing_can_be_sent_before_an_engine_is_there(server: ZmqServerLink) -> None:
    assert not server.send(b"too early")


async def test_an_engine_that_does_not_read_is_bounded_and_never_waited_for(
    server: ZmqServerLink,
) -> None:
    engine = connected(server)
    engine.send(b"here")
    await server.receive()
    payload = b"x" * (1 << 20)
    sent = 0
    while server.send(payload):
        sent += 1
        # The kernel's own buffer comes on top of both bounds.
        assert sent < 16 * BOUND, "the link has no bound"
    engine.close()


async def test_receiving_never_waits_longer_than_told(server: ZmqServerLink) -> None:
    engine = connected(server)
    assert engine.receive(0) is None
    assert engine.receive(10) is None
    engine.close()


async def test_an_engine_without_a_server_leaves(server: ZmqServerLink) -> None:
    engine = connected(server, orphaned=True)
    assert engine.receive(0) is None
    with pytest.raises(SystemExit):
        engine.receive(1)
    engine.close()


async def test_last_words_outlive_the_sender(server: ZmqServerLink) -> None:
    engine = connected(server)
    engine.send(b"farewell")
    engine.close()
    assert await server.receive() == b"farewell"


def test_each_link_has_its_own_address_and_leaves_nothing(tmp_path: Path) -> None:
    links = [ZmqServerLink(tmp_path, BOUND) for _ in range(2)]
    assert len({link.address for link in links}) == 2
    for link in links:
        link.close()
        link.close()
    assert list(tmp_path.iterdir()) == []


def test_only_this_user_can_reach_the_socket(server: ZmqServerLink) -> None:
    folder = Path(server.address.removeprefix("ipc://")).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_a_deep_data_directory_is_no_obstacle(tmp_path: Path) -> None:
    link = ZmqServerLink(tmp_path.joinpath(*["a-long-directory-name"] * 6), BOUND)
    engine = connected(link)
    engine.send(b"here")
    assert await link.receive() == b"here"
    engine.close()
    link.close()
