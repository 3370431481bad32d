from __future__ import annotations

import enum
import inspect
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import permutations
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.service.wire import Canned, Wire, through_msgpack
from virtagent.errors import InternalError, InvalidArgument, NotFound, ResourceExhausted, UsageError
from virtagent.peer.context import Context
from virtagent.service.options import in_thread, method
from virtagent.service.service import Service
from virtagent.service.streams import TypedStream
from virtagent.service.stub import stub


class Mode(enum.Enum):
    FAST = "fast"
    SAFE = "safe"


class Snapshot(msgspec.Struct):
    path: str
    data: bytes = b""
    mode: Mode = Mode.FAST
    taken: datetime | None = None


@dataclass
class Point:
    x: int


class Backup(Service, name="backup", interface=True):
    """Backups."""

    async def snapshot(self, path: str, mode: Mode = Mode.FAST, *, level: int = 3, tag: str | None = None) -> Snapshot:
        """Take one."""
        raise NotImplementedError

    async def echo(self, snapshots: list[Snapshot]) -> list[Snapshot]:
        raise NotImplementedError

    async def forget(self, path: str, /) -> None:
        raise NotImplementedError

    @method(name="re-size")
    async def resize(self, size: int) -> int:
        raise NotImplementedError

    def listing(self, count: int = 2) -> AsyncIterator[Snapshot]:
        raise NotImplementedError

    def content(self, path: str) -> AsyncIterator[bytes]:
        raise NotImplementedError

    async def opened(self, path: str) -> AsyncIterator[bytes]:
        raise NotImplementedError

    async def store(self, path: str, data: AsyncIterator[bytes], points: AsyncIterator[Point] | None = None) -> int:
        raise NotImplementedError

    def changed(self, snapshot: Snapshot, *, count: int = 1) -> None:
        raise NotImplementedError

    async def missing(self) -> None:
        raise NotImplementedError


class Implementation(Backup):
    def __init__(self) -> None:
        self.changes: list[Any] = []

    async def snapshot(
        self,
        path: str,
        mode: Mode = Mode.SAFE,
        *,
        level: int = 3,
        tag: str | None = None,
        ctx: Context | None = None,
    ) -> Snapshot:
        assert ctx is not None
        return Snapshot(f"{path} {level} {tag}", b"\xff", mode, datetime(2026, 1, 1, tzinfo=UTC))

    async def echo(self, snapshots: list[Snapshot]) -> list[Snapshot]:
        return snapshots

    async def forget(self, path: str, /) -> None:
        raise NotFound(f"no {path}", data={"path": path})

    @in_thread
    def resize(self, size: int) -> int:
        return size * 2

    async def listing(self, count: int = 2) -> AsyncIterator[Snapshot]:
        for index in range(count):
            yield Snapshot(str(index))

    async def content(self, path: str) -> AsyncIterator[bytes]:
        yield path.encode()
        yield b"end"

    async def opened(self, path: str) -> AsyncIterator[bytes]:
        return self.content(path)

    async def store(self, path: str, data: AsyncIterator[bytes], points: AsyncIterator[Point] | None = None) -> int:
        total = sum([len(chunk) async for chunk in data])
        return total + (sum([point.x async for point in points]) if points is not None else 0)

    def changed(self, snapshot: Snapshot, *, count: int = 1) -> None:
        self.changes.append((snapshot, count))


@pytest.fixture
def wire() -> Wire:
    return Wire(Implementation())


@pytest.fixture
def backup(wire: Wire) -> Backup:
    return stub(Backup, wire)


async def test_a_call_gives_the_annotated_type(backup: Backup) -> None:
    taken = await backup.snapshot("/x", Mode.FAST, level=4, tag="t")
    assert taken == Snapshot("/x 4 t", b"\xff", Mode.FAST, datetime(2026, 1, 1, tzinfo=UTC))
    assert await backup.resize(4) == 8
    assert await backup.echo([taken]) == [taken]


async def test_arguments_that_are_not_given_are_not_sent(backup: Backup, wire: Wire) -> None:
    await backup.snapshot("/x")
    await backup.snapshot("/x", tag=None)
    await backup.snapshot("/x", Mode.FAST, level=3)
    assert [params for _, params in wire.sent] == [
        {"path": "/x"},
        {"path": "/x"},
        {"path": "/x", "mode": "fast", "level": 3},
    ]


async def test_arguments_may_be_named_in_any_order_and_are_checked_in_each() -> None:
    class Many(Service, name="many"):
        async def take(self, *, a: int, b: int, c: int, d: int, e: int = 0) -> list[int]:
            return [a, b, c, d, e]

    many: Any = stub(Many, Wire(Many()))
    for _ in range(2):
        for order in permutations("abcde"):
            assert await many.take(**{name: ord(name) - 97 for name in order}) == [0, 1, 2, 3, 4]
        with pytest.raises(TypeError, match="missing a required (keyword-only )?argument: 'a'"):
            many.take(b=1, c=2, d=3)
        with pytest.raises(TypeError, match="unexpected keyword argument 'f'"):
            many.take(a=0, b=1, c=2, d=3, f=4)
        with pytest.raises(TypeError, match="too many positional arguments"):
            many.take(1, a=0, b=1, c=2, d=3)


async def test_an_error_arrives_as_its_class_with_its_data(backup: Backup) -> None:
    with pytest.raises(NotFound, match="no /x") as caught:
        await backup.forget("/x")
    assert caught.value.data == {"path": "/x"}
    with pytest.raises(InvalidArgument, match=r"backup.re-size: argument 'size': expected int, got 'big'"):
        await backup.resize("big")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((), {}, r"Backup.snapshot\(\) missing a required argument: 'path'"),
        (("/x",), {"levle": 1}, r"Backup.snapshot\(\) got an unexpected keyword argument 'levle'"),
        (("/x", Mode.FAST, 3), {}, r"Backup.snapshot\(\) too many positional arguments"),
        (("/x",), {"path": "/y"}, r"Backup.snapshot\(\) multiple values for argument 'path'"),
    ],
)
def test_arguments_that_the_method_does_not_have_raise_type_error_at_the_call(
    backup: Backup, wire: Wire, args: tuple[Any, ...], kwargs: Any, words: str
) -> None:
    with pytest.raises(TypeError, match=words):
        backup.snapshot(*args, **kwargs)  # type: ignore[unused-coroutine]
    assert wire.sent == []


def test_a_parameter_by_position_only_cannot_be_given_by_name(backup: Backup) -> None:
    with pytest.raises(TypeError, match=r"Backup.forget\(\)"):
        backup.forget(path="/x")  # type: ignore[call-arg, unused-coroutine]


async def test_a_stream_gives_items_of_the_annotated_type(backup: Backup) -> None:
    assert [item async for item in backup.listing()] == [Snapshot("0"), Snapshot("1")]
    assert [chunk async for chunk in backup.content("/x")] == [b"/x", b"end"]
    assert [chunk async for chunk in await backup.opened("/y")] == [b"/y", b"end"]


async def test_a_stream_can_be_read_whole_and_ended_early(backup: Backup) -> None:
    assert await TypedStream.of(backup.content("/x")).read_all(100) == b"/xend"
    with pytest.raises(ResourceExhausted, match="the stream has more than 4 bytes"):
        await TypedStream.of(backup.content("/x")).read_all(4)
    with pytest.raises(UsageError, match="this is a stream of items"):
        await TypedStream.of(backup.listing(1)).read_all()
    async with TypedStream.of(backup.listing(5)) as items:
        assert await anext(items) == Snapshot("0")
    assert [item async for item in items] == []
    early = TypedStream.of(backup.listing())
    assert await anext(early) == Snapshot("0")
    await early.aclose()
    assert [item async for item in early] == []


def test_nothing_is_sent_before_a_stream_is_used(backup: Backup, wire: Wire) -> None:
    backup.listing()
    assert wire.sent == []


async def test_async_iterables_are_sent_as_streams(backup: Backup) -> None:
    async def data() -> AsyncIterator[bytes]:
        yield b"abc"

    async def points() -> AsyncIterator[Point]:
        yield Point(4)

    assert await backup.store("/x", data(), points()) == 7
    assert await backup.store("/x", data()) == 3


def test_a_def_without_result_is_a_notification(backup: Backup, wire: Wire) -> None:
    backup.changed(Snapshot("/x"), count=2)
    ((name, params),) = wire.notified
    assert name == "backup.changed"
    assert params == {"snapshot": {"path": "/x", "data": b"", "mode": "fast", "taken": None}, "count": 2}


async def test_a_result_may_hold_more_than_is_known_here() -> None:
    backup = stub(Backup, Canned({"path": "/x", "newer": [1], "mode": "safe"}))
    assert await backup.snapshot("/x") == Snapshot("/x", mode=Mode.SAFE)
    assert await stub(Backup, Canned({"something": "new"})).missing() is None  # type: ignore[func-returns-value]


@pytest.mark.parametrize(
    "answer", [None, [], {}, {"path": 3}, {"path": "/x", "mode": b"\xff".decode("utf-8", "surrogateescape")}]
)
async def test_a_result_of_another_type_is_an_internal_error_that_says_so(answer: Any) -> None:
    with pytest.raises(InternalError, match=r"backup.snapshot: the peer's answer is not what .* expected Snapshot"):
        await stub(Backup, Canned(answer)).snapshot("/x")


async def test_an_item_of_another_type_ends_the_stream() -> None:
    async def items() -> AsyncIterator[Any]:
        yield {"path": 3}
        yield {"path": "/never"}

    stream = stub(Backup, Canned(items())).listing()
    with pytest.raises(InternalError, match="expected items of Snapshot, got dict"):
        await anext(stream)
    assert [item async for item in stream] == []


def test_a_typo_lists_close_names(backup: Backup) -> None:
    with pytest.raises(AttributeError, match=r"backup has no method 'snapshto'; did you mean snapshot\?"):
        backup.snapshto  # type: ignore[attr-defined] # noqa: B018
    with pytest.raises(AttributeError, match=r"it has changed, content, "):
        backup.zzz  # type: ignore[attr-defined] # noqa: B018


def test_a_stub_tells_what_it_is(backup: Backup) -> None:
    assert repr(backup) == "<stub of Backup 'backup' over <wire>>"
    assert "snapshot" in dir(backup)
    assert type(backup).__doc__ == "Backups."
    assert backup.snapshot.__doc__ == "Take one."
    assert str(inspect.signature(backup.snapshot)).startswith("(path: 'str', mode: 'Mode' = ")
    assert "ctx" not in inspect.signature(stub(Implementation, Wire()).snapshot).parameters


def test_the_class_is_made_once_and_instances_are_small(backup: Backup) -> None:
    other = stub(Backup, Wire(), name="second")
    assert type(other) is type(backup)
    assert repr(other).startswith("<stub of Backup 'second'")
    with pytest.raises(AttributeError):
        backup.anything = 1  # type: ignore[attr-defined]


async def test_a_second_instance_is_called_by_its_own_name() -> None:
    wire = Canned(None)
    assert await stub(Backup, wire, name="second").missing() is None  # type: ignore[func-returns-value]


def test_a_plain_def_with_a_result_cannot_be_a_stub() -> None:
    class Sync(Service, name="sync"):
        def size(self) -> int:
            return 1

    with pytest.raises(UsageError, match=r"Sync.size is a plain `def` with a result; a stub needs `async def`"):
        stub(Sync, Wire())


def test_an_interface_without_a_name_cannot_be_a_stub() -> None:
    class Nameless(Service):
        async def one(self) -> None: ...

    with pytest.raises(UsageError, match="has no name"):
        stub(Nameless, Wire())


class Tree(msgspec.Struct):
    name: str
    leaves: list[Tree] = []
    blob: bytes = b""


text = st.binary(max_size=8).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
moments = st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
trees = st.recursive(
    st.builds(Tree, text, blob=st.binary(max_size=4)),
    lambda inner: st.builds(Tree, text, st.lists(inner, max_size=3)),
    max_leaves=6,
)
TYPES: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-(2**63), 2**64 - 1),
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
    str: text,
    bytes: st.binary(max_size=8),
    datetime: moments,
    Mode: st.sampled_from(Mode),
    Tree: trees,
    Point: st.builds(Point, st.integers(0, 9)),
    list[Tree]: st.lists(trees, max_size=2),
    dict[str, Mode]: st.dictionaries(text, st.sampled_from(Mode), max_size=3),
    tuple[int, str]: st.tuples(st.integers(0, 9), text),
    int | None: st.none() | st.integers(0, 9),
    Tree | None: st.none() | trees,
    set[str]: st.sets(text, max_size=3),
}


@st.composite
def methods(draw: st.DrawFn) -> tuple[list[inspect.Parameter], list[Any]]:
    """Parameters of a method, and a value for each."""
    kinds = draw(st.lists(st.sampled_from(list(TYPES)), min_size=1, max_size=6))
    split = draw(st.integers(0, len(kinds)))
    parameters = [
        inspect.Parameter(
            f"a{index}",
            inspect.Parameter.POSITIONAL_OR_KEYWORD if index < split else inspect.Parameter.KEYWORD_ONLY,
            annotation=kind,
        )
        for index, kind in enumerate(kinds)
    ]
    return parameters, [draw(TYPES[kind]) for kind in kinds]


@given(methods())
async def test_whatever_a_method_takes_arrives_as_it_was_given(
    drawn: tuple[list[inspect.Parameter], list[Any]],
) -> None:
    parameters, given_values = drawn
    got: dict[str, Any] = {}

    async def take(self: Any, *args: Any, **kwargs: Any) -> None:
        by_position = [each.name for each in parameters][: len(args)]
        got.update(zip(by_position, args, strict=True), **kwargs)

    me = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    take.__signature__ = inspect.Signature([me, *parameters], return_annotation=None)  # type: ignore[attr-defined]
    take.__annotations__ = {**{each.name: each.annotation for each in parameters}, "return": None}
    service: Any = type("Generated", (Service,), {"take": take}, name="generated")
    wire = Wire(service())
    positional = [each.kind is each.POSITIONAL_OR_KEYWORD for each in parameters]
    args = [value for value, by_position in zip(given_values, positional, strict=True) if by_position]
    kwargs = {
        each.name: value
        for each, value, by_position in zip(parameters, given_values, positional, strict=True)
        if not by_position
    }
    await stub(service, wire).take(*args, **kwargs)
    assert list(got.values()) == given_values
    got.clear()
    plain = [through_msgpack(wire.sent[0][1])[f"a{index}"] for index in range(len(args))]
    if len(args) == len(parameters):
        await wire.call("generated.take", *plain)
        assert list(got.values()) == given_values
