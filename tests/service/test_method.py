from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import pytest

import virtagent
from tests.service.wire import Wire, context
from virtagent.errors import InvalidArgument, UsageError
from virtagent.service import signature
from virtagent.service.introspection import Introspection
from virtagent.service.service import Service, handlers_of, methods_of
from virtagent.service.serving import router_of
from virtagent.service.stub import stub


def own_services() -> list[type[Service]]:
    for part in ("api", "guest", "service"):
        package = importlib.import_module(f"virtagent.{part}")
        for each in pkgutil.iter_modules(package.__path__, f"virtagent.{part}."):
            importlib.import_module(each.name)
    found, pending = [], [Service]
    while pending:
        for cls in pending.pop().__subclasses__():
            pending.append(cls)
            if cls.__module__.startswith(f"{virtagent.__name__}."):
                found.append(cls)
    return found


@pytest.mark.parametrize("service", own_services(), ids=lambda cls: cls.__name__)
def test_the_packages_own_services_have_no_mistake_that_reading_them_would_find(service: type[Service]) -> None:
    for each in methods_of(service).values():
        assert each.signature.returns is not signature.REQUIRED


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> type[Service]:
    """A service of the package's own, whose annotations nobody has read."""

    class Own(Service, name="own"):
        __module__ = "virtagent.guest.own"

        async def size(self, path: str) -> int:
            """Its size."""
            return len(path)

        async def broken(self, path) -> int:  # type: ignore[no-untyped-def]
            return 0

    return Own


async def test_the_packages_own_services_are_read_when_they_are_called(unread: type[Service]) -> None:
    size, broken = handlers_of(unread())
    assert (size.name, size.mode) == ("own.size", "task")
    assert await size.invoke(context(), ["abc"]) == 3
    with pytest.raises(InvalidArgument, match="expected str, got 3"):
        await size.invoke(context(), [3])
    with pytest.raises(UsageError, match="parameter 'path' has no annotation"):
        await broken.invoke(context(), ["abc"])


async def test_a_stub_reads_of_the_packages_own_services_what_is_used(unread: type[Service]) -> None:
    own: Any = stub(unread, Wire(unread()))
    assert await own.size("abc") == 3
    assert "size" in vars(type(own))
    with pytest.raises(UsageError, match="parameter 'path' has no annotation"):
        own.broken("abc")


async def test_the_packages_own_services_are_read_when_somebody_asks_about_them(unread: type[Service]) -> None:
    router = router_of([unread()])
    rpc: Any = stub(Introspection, Wire(handlers=router))
    assert (await rpc.describe("own.size")).parameters[0].type == "str"
    with pytest.raises(virtagent.InternalError):
        await rpc.describe("own.broken")


def test_handlers_of_all_instances_share_what_was_made_for_the_class() -> None:
    class Shared(Service, name="shared"):
        async def one(self) -> None: ...

    first, second = handlers_of(Shared())[0], handlers_of(Shared())[0]
    assert first.description is second.description
    assert handlers_of(Shared(), name="other")[0].description is not first.description
