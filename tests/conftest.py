"""Fixtures that every kind of test may use."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import RunningServer, running_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server with the bundled model for all tests that leave it as they found it."""
    data_dir: Path = tmp_path_factory.mktemp("server") / "data"
    with running_server(data_dir) as started:
        yield started
