"""A daemon for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.programs import Daemon, daemon


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with daemon(tmp_path_factory.mktemp("daemon"), "--heartbeat", "0.2") as made:
        yield made
