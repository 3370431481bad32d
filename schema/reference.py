"""``docs/reference.md``: every method of the agent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from schema.methods import all_methods, services
from virtagent.cli.methods import signature
from virtagent.service.description import MethodDescription

__all__ = ["PAGE", "reference"]

PAGE = Path(__file__).parent.parent / "docs" / "reference.md"

HEAD = """# Every method of the agent

Made from the schema by `make schema`; `virtagent methods` prints the same of an agent that runs, and `virtagent call
rpc.describe method=NAME` all about one method. *Role* is what the [policy](policy.md) must grant to the caller; a
method for another role than `observe` and `files-read` changes the machine, and each of its calls is audited.
*Again* tells that running it twice is as good as once, so that stubs repeat it after a lost session.
"""


def reference() -> str:
    """The page."""
    return "\n".join([HEAD, *(line for name in services() for line in section(name)), ""])


def section(service: str) -> Iterator[str]:
    """One service."""
    methods = [each for each in all_methods().values() if each.name.rpartition(".")[0] == service]
    page = PAGE.parent / "services" / f"{service}.md"
    more = f" ([more](services/{service}.md))" if page.exists() else ""
    yield f"## {service}{more}\n"
    yield "| method | role | again | does |\n|---|---|---|---|"
    yield from map(row, methods)
    yield ""


def row(method: MethodDescription) -> str:
    """One method."""
    told = signature(method).replace("|", "\\|")
    return f"| `{told}` | {method.role} | {'yes' if method.idempotent else ''} | {method.summary} |"
