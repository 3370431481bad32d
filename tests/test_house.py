"""The house of CONTRIBUTING.md: who may import whom, and how large a file may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LONGEST_FILE = 600

BELOW: dict[str, set[str]] = {
    "errors": set(),
    "protocol": {"errors"},
    "peer": {"protocol", "errors"},
    "service": {"peer", "protocol", "errors"},
    "api": {"service", "peer", "protocol", "errors"},
    "guest": {"archive", "api", "service", "peer", "protocol", "errors"},
    "archive": {"errors"},
    "host": {"archive", "api", "service", "peer", "protocol", "errors"},
    "bench": {"host", "guest", "api", "service", "peer", "protocol", "errors"},
    "cli": {"bench", "host", "guest", "api", "service", "peer", "protocol", "errors", "testing"},
    "pytest_plugin": {"host", "api", "service", "peer", "errors"},
    "testing": {"host", "peer", "protocol", "errors", "api", "service"},
    "__init__": {"host", "guest", "api", "service", "peer", "protocol", "errors"},
    "__main__": {"cli"},
}
"""What each part may import, beside itself. Packages lower down are reached through those above them."""

MAY_CONNECT = {"peer", "host", "guest", "bench", "cli", "testing"}
"""Parts that may import the transports."""

NOT_IN_PROTOCOL = {"asyncio", "socket", "time", "os", "threading", "select", "random", "secrets", "datetime", "logging"}

SOURCES = sorted((ROOT / "virtagent").rglob("*.py"))
TRANSPORTS = sorted((ROOT / "transports").rglob("*.py"))


def imports(path: Path) -> set[str]:
    """The full names of all modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                continue  # within its own package
            module = node.module or ""
            found.add(module)
            if module == "virtagent":
                found |= {f"virtagent.{alias.name}" for alias in node.names}
    return found


def part_of(path: Path) -> str:
    return path.relative_to(ROOT / "virtagent").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    part = part_of(path)
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == "virtagent_transports":
            assert part in MAY_CONNECT, f"{path} imports {name}"
        elif top == "virtagent" and rest:
            other = rest.split(".")[0]
            version = other.startswith("__version")
            assert version or other == part or other in BELOW[part], f"{path} imports {name}"


@pytest.mark.parametrize("path", TRANSPORTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_transports_import_nothing_of_virtagent_but_errors(path: Path) -> None:
    ours = {name for name in imports(path) if name.split(".")[0] == "virtagent"}
    assert ours <= {"virtagent.errors"}, f"{path} imports {ours}"


@pytest.mark.parametrize("path", sorted((ROOT / "virtagent" / "protocol").glob("*.py")), ids=lambda path: path.name)
def test_the_core_does_no_input_or_output(path: Path) -> None:
    outside = {name.split(".")[0] for name in imports(path)} & NOT_IN_PROTOCOL
    assert not outside, f"{path} imports {outside}: bytes and `now` in, bytes and events out"


def test_every_part_has_its_place() -> None:
    assert {part_of(path) for path in SOURCES} <= set(BELOW)


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("virtagent.errors", {"asyncio", "msgpack", "msgspec"}),
        ("virtagent.protocol.connection", {"asyncio", "socket", "msgspec"}),
    ],
)
def test_importing_is_light(module: str, absent: set[str]) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30).stdout
    assert not absent & set(loaded.split())


@pytest.mark.parametrize("path", [*SOURCES, *TRANSPORTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_file_is_too_long_to_read(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= LONGEST_FILE, f"{path} has {lines} lines: split it by nouns"
