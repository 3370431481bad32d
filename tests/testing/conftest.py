"""The kit's tests run in virtual time."""

from __future__ import annotations

import pytest

from virtagent.testing import VirtualTimeLoop


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> object:
    return {"virtual": VirtualTimeLoop}
