"""The environment record."""

from __future__ import annotations

import json
from importlib import metadata

from virtagent.bench.environment import environment, environment_differences


def test_it_is_plain_json_data_with_the_versions_of_what_is_installed() -> None:
    found = environment("uvloop")
    assert json.loads(json.dumps(found)) == found
    assert found["loop"] == "uvloop"
    assert found["versions"]["numpy"] == metadata.version("numpy")
    assert found["versions"]["msgpack"] == metadata.version("msgpack")


def test_outside_of_a_loop_there_is_none() -> None:
    assert environment()["loop"] == ""


async def test_inside_of_a_loop_it_is_told() -> None:
    assert environment()["loop"]


def test_only_differences_that_forbid_a_comparison_count() -> None:
    old = environment("asyncio")
    assert environment_differences(old, {**old, "date": "later", "load": [9, 9, 9], "boot_id": "another"}) == []
    assert environment_differences(old, {**old, "loop": "uvloop", "cpu": "another"}) == ["cpu", "loop"]
    assert environment_differences({}, {}) == []
