from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
import pytest

from tests.service.wire import Wire, context
from virtagent.errors import NotFound, UsageError
from virtagent.peer.context import Context
from virtagent.peer.handler import Handler, Router
from virtagent.peer.stream import OutgoingStream
from virtagent.service.options import in_thread, method
from virtagent.service.service import Service, handlers_of, is_interface, methods_of, service_name


class Snapshot(msgspec.Struct):
    path: str
    level: int


class Backup(Service, name="backup"):
    constant = 3

    async def snapshot(self, path: str, *, level: int = 3, ctx: Context | None = None) -> Snapshot:
        """Take one."""
        assert ctx is not None
        return Snapshot(path, level)

    def blocking(self) -> bool:
        return threading.current_thread() is threading.main_thread()

    @method(inline=True)
    def quick(self) -> int:
        return self._helper()

    @method(inline=True)
    async def quick_async(self) -> list[Snapshot]:
        return [Snapshot("x", self._helper())]

    @method(name="other-name", idempotent=True, since="0.2", errors=(NotFound,))
    async def renamed(self) -> None: ...

    async def generated(self, count: int) -> AsyncIterator[Snapshot]:
        for level in range(count):
            yield Snapshot("x", level)

    def returned(self, data: bytes) -> AsyncIterator[bytes]:
        return self._chunks(data)

    async def opened(self, data: bytes) -> AsyncIterator[bytes]:
        return self._chunks(data)

    @in_thread
    def threaded(self, ctx: Context) -> str:
        assert threading.current_thread() is not threading.main_thread()
        return ctx.method

    async def _chunks(self, data: bytes) -> AsyncIterator[bytes]:
        yield data

    def _helper(self) -> int:
        return 7

    @property
    def size(self) -> int:
        return 1

    @staticmethod
    def static(x: int) -> int:
        return x

    @classmethod
    def of_class(cls) -> int:
        return 1


def router(*services: Service) -> Router:
    return Router(each for service in services for each in handlers_of(service))


def handler(name: str) -> Handler:
    found = router(Backup()).get(name)
    assert found is not None
    return found


def test_annotated_public_methods_become_wire_methods_and_nothing_else_does() -> None:
    assert [each.name for each in handlers_of(Backup())] == [
        "backup.snapshot",
        "backup.blocking",
        "backup.quick",
        "backup.quick_async",
        "backup.other-name",
        "backup.generated",
        "backup.returned",
        "backup.opened",
        "backup.threaded",
    ]


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("snapshot", "task"),
        ("blocking", "thread"),
        ("quick", "inline"),
        ("quick_async", "inline"),
        ("generated", "inline"),
        ("returned", "thread"),
        ("opened", "task"),
        ("threaded", "thread"),
    ],
)
def test_the_kind_of_function_decides_how_a_handler_runs(name: str, mode: str) -> None:
    assert handler(f"backup.{name}").mode == mode


async def test_a_handler_gets_its_arguments_and_the_context_and_answers_plain_data() -> None:
    coroutine = handler("backup.snapshot").invoke(context(), {"path": "/x"})
    assert await coroutine == {"path": "/x", "level": 3}


async def test_each_kind_of_method_can_be_called() -> None:
    wire = Wire(Backup())
    assert await wire.call("backup.blocking") is False
    assert await wire.call("backup.quick") == 7
    assert await wire.call("backup.quick_async") == [{"path": "x", "level": 7}]
    assert await wire.call("backup.other-name") is None
    assert await wire.call("backup.threaded") == "backup.threaded"
    assert [item async for item in wire.stream("backup.generated", 2)] == [
        {"path": "x", "level": 0},
        {"path": "x", "level": 1},
    ]
    assert [item async for item in wire.stream("backup.returned", b"a")] == [b"a"]
    assert [item async for item in wire.stream("backup.opened", b"b")] == [b"b"]


def test_a_stream_method_answers_with_an_outgoing_stream_of_its_kind() -> None:
    items = handler("backup.generated").invoke(context(), [1])
    chunks = handler("backup.returned").invoke(context(), [b""])
    assert isinstance(items, OutgoingStream)
    assert items.kind == "items"
    assert isinstance(chunks, OutgoingStream)
    assert chunks.kind == "bytes"


def test_decorators_reach_the_handler() -> None:
    assert handler("backup.other-name").idempotent
    assert not handler("backup.snapshot").idempotent


def test_an_inline_coroutine_that_waits_is_an_error_of_the_service() -> None:
    class Slow(Service, name="slow"):
        @method(inline=True)
        async def wait(self) -> None:
            import asyncio

            await asyncio.sleep(0)

    (only,) = handlers_of(Slow())
    with pytest.raises(UsageError, match=r"slow.wait is inline, and waited"):
        only.invoke(context(), [])


def test_an_inline_coroutine_raises_what_it_raises() -> None:
    class Picky(Service, name="picky"):
        @method(inline=True)
        async def find(self) -> None:
            raise NotFound("nothing")

    (only,) = handlers_of(Picky())
    with pytest.raises(NotFound):
        only.invoke(context(), [])


class System(Service, name="system", interface=True):
    @method(idempotent=True, since="0.1", errors=(NotFound,))
    async def info(self, *, detail: int = 0) -> dict[str, str]:
        """What it is."""
        raise NotImplementedError

    @method(name="re-boot")
    async def reboot(self) -> None:
        raise NotImplementedError

    def chunks(self) -> AsyncIterator[bytes]:
        raise NotImplementedError


def test_only_what_an_implementation_overrides_is_registered() -> None:
    class Guest(System):
        async def info(self, *, detail: int = 0) -> dict[str, str]:
            return {"detail": str(detail)}

        async def extra(self) -> None: ...

    assert [each.name for each in handlers_of(Guest())] == ["system.info", "system.extra"]
    assert handlers_of(System()) == []
    assert is_interface(System)
    assert not is_interface(Guest)


def test_an_override_inherits_name_options_and_documentation() -> None:
    class Guest(System):
        async def info(self, *, detail: int = 0) -> dict[str, str]:
            return {}

        async def reboot(self) -> None: ...

    info, reboot = handlers_of(Guest())
    assert info.idempotent
    assert info.description is not None
    assert info.description["since"] == "0.1"
    assert info.description["doc"] == "What it is."
    assert info.description["errors"] == [{"name": "NotFound", "code": 5}]
    assert reboot.name == "system.re-boot"


def test_a_mixin_that_is_no_service_can_implement_an_interface() -> None:
    class Mixin:
        async def reboot(self) -> None: ...

        async def unrelated(self) -> None: ...

    class Guest(Mixin, System):
        pass

    assert [each.name for each in handlers_of(Guest())] == ["system.re-boot"]


def test_a_subclass_inherits_implementations_and_may_take_a_method_away() -> None:
    class Base(Service, name="base"):
        async def one(self) -> None: ...

        async def two(self) -> None: ...

    class Child(Base):
        two = None  # type: ignore[assignment]

    class Renamed(Base, name="renamed"):
        pass

    assert [each.name for each in handlers_of(Child())] == ["base.one"]
    assert [each.name for each in handlers_of(Renamed())] == ["renamed.one", "renamed.two"]
    assert [each.name for each in handlers_of(Base(), name="second")] == ["second.one", "second.two"]


def test_an_implementation_may_add_optional_parameters_only() -> None:
    class Fine(System):
        async def info(self, *, detail: int = 0, ctx: Context | None = None, more: str = "") -> dict[str, str]:
            return {}

    assert "info" in methods_of(Fine)
    with pytest.raises(UsageError, match=r"info: parameter 'more' is not in the interface; give it a default"):

        class Demanding(System):
            async def info(self, *, more: str, detail: int = 0) -> dict[str, str]:  # type: ignore[override]
                return {}

    with pytest.raises(UsageError, match=r"info: parameter 'detail' of the interface is missing"):

        class Forgetful(System):
            async def info(self) -> dict[str, str]:  # type: ignore[override]
                return {}

    with pytest.raises(UsageError, match=r"chunks: gives a stream of items, but the interface says a stream of bytes"):

        class Other(System):
            async def chunks(self) -> AsyncIterator[str]:  # type: ignore[override]
                yield ""


def define(function: Any, **options: Any) -> type[Service]:
    return type("Broken", (Service,), {function.__name__: function}, name="broken", **options)


def test_an_interface_declares_nothing_that_a_stub_could_not_be_typed_as() -> None:
    def size(self: Any) -> int:
        return 1

    with pytest.raises(UsageError, match="an interface declares `async def`"):
        define(size, interface=True)


def no_annotation(self: Any, path) -> None: ...  # type: ignore[no-untyped-def]


def no_result(self: Any, path: str): ...  # type: ignore[no-untyped-def]


def starred(self: Any, *paths: str) -> None: ...


def double_starred(self: Any, **paths: str) -> None: ...


def two_contexts(self: Any, one: Context, *, two: Context) -> None: ...


def odd_type(self: Any, lock: threading.Thread) -> None: ...


def unhashable(self: Any, port: Annotated[int, {"unit": "none"}]) -> None: ...


def odd_result(self: Any) -> threading.Thread: ...  # type: ignore[empty-body]


def unstated_stream(self: Any, data: AsyncIterator) -> None: ...  # type: ignore[type-arg]


def syntax(self: Any, path: str) -> None: ...


syntax.__annotations__["path"] = "1 +"


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (no_annotation, r"no_annotation: parameter 'path' has no annotation"),
        (no_result, r"no_result: the result has no annotation; write -> None"),
        (starred, r"starred: parameter \*paths: .*a method has named parameters only"),
        (double_starred, r"double_starred: parameter \*\*paths"),
        (two_contexts, r"two_contexts: parameter 'two' is a second Context"),
        (odd_type, r"odd_type: parameter 'lock': unsupported type: Thread is no struct"),
        (unhashable, r"unhashable: parameter 'port': unsupported type: .* cannot be hashed"),
        (odd_result, r"odd_result: the result: unsupported type: Thread"),
        (unstated_stream, r"unstated_stream: parameter 'data': unsupported type: AsyncIterator does not say of what"),
        (syntax, r"syntax: an annotation cannot be evaluated"),
    ],
)
def test_a_definition_that_the_wire_cannot_have_is_refused_in_one_line(function: Any, words: str) -> None:
    with pytest.raises(UsageError, match=r"^Broken\." + words) as caught:
        define(function)
    assert "\n" not in str(caught.value)


def test_a_name_that_comes_later_in_the_module_is_no_error_until_registration() -> None:
    def late(self: Any, what: Later) -> None: ...  # type: ignore[name-defined] # noqa: F821

    broken = define(late)
    with pytest.raises(UsageError, match=r"Broken.late: an annotation names 'Later'"):
        handlers_of(broken())
    try:
        globals()["Later"] = Snapshot
        assert [each.name for each in handlers_of(broken())] == ["broken.late"]
    finally:
        del globals()["Later"]


def test_two_methods_with_the_same_name_are_refused() -> None:
    with pytest.raises(UsageError, match=r"one and two have the same name 'one'"):

        class Twins(Service, name="twins"):
            async def one(self) -> None: ...

            @method(name="one")
            async def two(self) -> None: ...


def test_two_services_with_the_same_method_are_refused_by_the_router() -> None:
    with pytest.raises(UsageError, match=r"two handlers for the method 'backup.snapshot'"):
        router(Backup(), Backup())


@pytest.mark.parametrize("name", ["", "a b", ".a", "a..b", "1a", "é", "a" * 256])
def test_a_name_that_cannot_be_on_the_wire_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is no name for the wire"):
        type("Named", (Service,), {}, name=name)


def test_a_service_without_a_name_cannot_be_registered() -> None:
    class Nameless(Service):
        async def one(self) -> None: ...

    with pytest.raises(UsageError, match=r"Nameless has no name; write class Nameless\(Service, name="):
        handlers_of(Nameless())


def test_a_class_is_no_service_instance() -> None:
    with pytest.raises(UsageError, match="not the class Backup; give an instance"):
        handlers_of(Backup)
    with pytest.raises(UsageError, match="a service is needed, not 3"):
        handlers_of(3)


def test_inline_and_in_thread_exclude_each_other() -> None:
    class Both(Service, name="both"):
        @method(inline=True)
        @in_thread
        def one(self) -> None: ...

    with pytest.raises(UsageError, match="exclude each other"):
        handlers_of(Both())


def test_the_name_is_told() -> None:
    assert service_name(Backup) == "backup"
