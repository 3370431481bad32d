from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.service.wire import context, through_msgpack
from virtagent.errors import InvalidArgument
from virtagent.peer.context import Context
from virtagent.peer.stream import OutgoingStream
from virtagent.service.binding import make_binder, make_invoker
from virtagent.service.signature import read_signature


class Color(enum.Enum):
    RED = "red"


class Rule(msgspec.Struct):
    port: int
    color: Color = Color.RED


@dataclass
class Point:
    x: int
    y: int


class Loop(msgspec.Struct):
    inner: Loop | None = None


def bind(function: Callable[..., Any], params: Any, name: str = "files.read") -> Any:
    binder = make_binder(name, read_signature(name, function, bound=False))
    return binder(context(), params)


def refusal(function: Callable[..., Any], params: Any) -> str:
    with pytest.raises(InvalidArgument) as caught:
        bind(function, params)
    assert "\n" not in str(caught.value)
    return str(caught.value)


Offset = Annotated[int, msgspec.Meta(ge=0)]


def read(path: str, *, offset: Offset = 0, length: int | None = None) -> None: ...


def plain(first: int, second: str = "two") -> None: ...


def nothing() -> None: ...


ESCAPED = b"/a\xff".decode("utf-8", "surrogateescape")


def test_arguments_by_name_and_by_position_arrive_with_defaults_filled_in() -> None:
    assert bind(read, {"path": "/x", "length": 3}) == (("/x",), {"offset": 0, "length": 3})
    assert bind(read, ["/x"]) == (("/x",), {"offset": 0, "length": None})
    assert bind(plain, [1, "b"]) == ((1, "b"), {})
    assert bind(plain, {"second": "b", "first": 1}) == ((1, "b"), {})
    assert bind(nothing, []) == ((), {})
    assert bind(nothing, {}) == ((), {})


def test_text_with_surrogate_escapes_survives() -> None:
    assert bind(read, {"path": ESCAPED})[0] == (ESCAPED,)


@pytest.mark.parametrize(
    ("function", "params", "words"),
    [
        (read, {"path": "/", "offset": "abc"}, "argument 'offset': expected int >= 0, got 'abc'"),
        (read, {"path": "/", "offset": -1}, "argument 'offset': expected int >= 0, got -1"),
        (read, {"path": "/", "offset": ESCAPED}, r"argument 'offset': expected int >= 0, got '/a\udcff'"),
        (read, {}, "argument 'path' is missing: expected str"),
        (read, {"path": "/", "ofset": 1}, "unknown argument 'ofset'; it takes path, offset, length"),
        (read, {"path": "/", b"raw": 1}, "unknown argument b'raw'; it takes path, offset, length"),
        (read, {"path": "/", ESCAPED: 1}, r"unknown argument '/a\udcff'; it takes path, offset, length"),
        (read, ["/", 0], "takes 1 arguments by position, got 2"),
        (read, [], "argument 'path' is missing: expected str"),
        (plain, [True], "argument 'first': expected int, got True"),
        (plain, [1, b"x"], "argument 'second': expected str, got b'x'"),
        (nothing, [1], "takes no arguments by position, got 1"),
        (nothing, {"x": 1}, "unknown argument 'x'; it takes none"),
    ],
)
def test_a_refusal_names_method_and_argument_and_says_what_was_expected(
    function: Callable[..., Any], params: Any, words: str
) -> None:
    assert refusal(function, params) == f"files.read: {words}"


def test_a_refusal_says_where_inside_an_argument_it_is() -> None:
    def add(rules: list[Rule], by_name: dict[str, Rule] | None = None) -> None: ...

    assert refusal(add, [[{"port": 1}, {"port": "x"}]]) == (
        "files.read: argument 'rules[1].port': expected int, got str"
    )
    assert refusal(add, [[{}]]) == "files.read: argument 'rules[0]': object missing required field port"
    assert refusal(add, [[{"port": 1, "color": "green"}]]) == (
        "files.read: argument 'rules[0].color': invalid enum value 'green'"
    )
    assert "argument 'by_name" in refusal(add, {"rules": [], "by_name": {"a": {"port": None}}})


def test_a_refusal_is_short_however_long_the_argument() -> None:
    assert len(refusal(read, {"path": "/", "offset": "x" * 100_000})) < 200
    assert len(refusal(read, {f"{'n' * 1000}{index}": 1 for index in range(1000)})) < 1000


def test_what_the_wire_carries_becomes_what_the_annotations_say() -> None:
    def typed(
        color: Color, rule: Rule, point: Point, either: Rule | int, when: datetime, kind: Literal["a", "b"], raw: bytes
    ) -> None: ...

    now = datetime(2026, 1, 1, tzinfo=UTC)
    params = through_msgpack(["red", {"port": 1, "newer": 2}, {"x": 1, "y": 2}, 3, now, "b", b"\xff"])
    assert bind(typed, params)[0] == (Color.RED, Rule(1), Point(1, 2), 3, now, "b", b"\xff")


def test_text_is_taken_neither_for_bytes_nor_for_a_moment() -> None:
    def typed(raw: bytes = b"", when: datetime | None = None) -> None: ...

    assert refusal(typed, {"raw": "aGk="}) == "files.read: argument 'raw': expected bytes, got 'aGk='"
    assert "expected datetime | None" in refusal(typed, {"when": "2026-01-02T03:04:05Z"})


def test_a_default_is_the_very_object() -> None:
    shared = [1]

    def typed(values: list[int] = shared, other: Rule = Rule(1)) -> None: ...  # noqa: B008

    assert bind(typed, {})[0][0] is shared


def test_parameters_may_have_any_name() -> None:
    def odd(_private: int, p0: int, __dunder__: int = 3, *, method: int = 1, tag: int = 2) -> None: ...

    assert bind(odd, {"_private": 1, "p0": 2, "method": 4}) == ((1, 2, 3), {"method": 4, "tag": 2})


def test_required_parameters_by_keyword_may_follow_optional_ones() -> None:
    def odd(a: int = 1, *, b: int, c: int = 3, d: int) -> None: ...

    assert bind(odd, {"b": 2, "d": 4}) == ((1,), {"b": 2, "c": 3, "d": 4})


def test_the_context_goes_where_the_method_wants_it() -> None:
    def first(ctx: Context, /, path: str) -> None: ...
    def last(path: str, anything: Context) -> None: ...
    def keyword(path: str, *, ctx: Context | None = None) -> None: ...
    def alone(ctx: Context) -> None: ...

    assert isinstance(bind(first, ["/"])[0][0], Context)
    assert isinstance(bind(last, ["/"])[0][1], Context)
    assert isinstance(bind(keyword, ["/"])[1]["ctx"], Context)
    assert isinstance(bind(alone, [])[0][0], Context)
    assert refusal(keyword, {"path": "/", "ctx": 1}) == "files.read: unknown argument 'ctx'; it takes path"


async def test_a_stream_argument_gives_converted_items_as_they_are_taken() -> None:
    def write(path: str, rules: AsyncIterator[Rule], log: AsyncIterator[bytes] | None = None) -> None: ...

    async def items() -> AsyncIterator[Any]:
        yield {"port": 1}
        yield {"port": "x"}

    params = through_msgpack({"path": "/", "rules": OutgoingStream(items())})
    (path, rules, log), _ = bind(write, params)
    assert path == "/"
    assert log is None
    assert await anext(rules) == Rule(1)
    with pytest.raises(InvalidArgument, match=r"argument 'rules': expected items of Rule, got dict"):
        await anext(rules)
    assert [item async for item in rules] == []


async def test_a_stream_of_bytes_gives_bytes_and_nothing_else() -> None:
    def write(data: AsyncIterator[bytes]) -> None: ...

    async def items() -> AsyncIterator[Any]:
        yield b"a"
        yield 3

    (data,), _ = bind(write, through_msgpack([OutgoingStream(items())]))
    assert await anext(data) == b"a"
    with pytest.raises(InvalidArgument, match="expected items of bytes, got int"):
        await anext(data)


def test_a_value_is_no_stream() -> None:
    def write(data: AsyncIterator[bytes]) -> None: ...

    assert refusal(write, [b"abc"]) == "files.read: argument 'data': expected a stream of bytes, got b'abc'"
    assert "is missing" in refusal(write, [])


def test_arguments_that_are_nested_without_end_are_refused() -> None:
    def nest(loop: Loop) -> None: ...

    nested: dict[str, Any] = {}
    for _ in range(20_000):
        nested = {"inner": nested}
    assert "argument 'loop': expected Loop" in refusal(nest, [nested])


def everything(
    number: Offset,
    text: Annotated[str, msgspec.Meta(max_length=5, pattern="^a")] = "a",
    raw: bytes | None = None,
    when: datetime | None = None,
    color: Color = Color.RED,
    rules: list[Rule] | None = None,
    either: Rule | int | str | None = None,
    names: set[str] | None = None,
    table: dict[str, float] | None = None,
    anything: Any = None,
    *,
    kind: Literal["a", 1] = "a",
    stream: AsyncIterator[int] | None = None,
) -> None: ...


text = st.one_of(st.text(), st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    text,
    st.binary(),
    st.datetimes(timezones=st.just(UTC)),
    st.sampled_from(["red", "a", 1]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(text, st.binary(), st.sampled_from(["port", "color"])), inner, max_size=4),
    ),
    max_leaves=10,
)
names = st.sampled_from([*read_signature("x", everything, bound=False).parameters]).map(lambda each: each.name)


@given(
    st.one_of(st.lists(values, max_size=14), st.dictionaries(st.one_of(names, text, st.binary()), values, max_size=8))
)
def test_whatever_a_peer_sends_either_binds_or_is_an_invalid_argument(params: Any) -> None:
    try:
        args, kwargs = bind(everything, params)
    except InvalidArgument as error:
        str(error).encode("utf-8")
    else:
        assert len(args) == 10
        assert kwargs.keys() == {"kind", "stream"}


def simple(
    number: Offset,
    text: Annotated[str, msgspec.Meta(max_length=5, pattern="^a")] = "a",
    raw: bytes = b"raw",
    when: datetime = datetime(2026, 1, 1, tzinfo=UTC),
    flag: bool = False,
    *,
    kind: Literal["a", 1] = "a",
    either: int | str | None = None,
    anything: Any = None,
    ctx: Context | None = None,
) -> tuple[Any, ...]:
    return number, text, raw, when, flag, kind, either, anything, ctx


simple_signature = read_signature("simple", simple, bound=False)
invoke_simple = make_invoker("simple", simple_signature)
bind_simple = make_binder("simple", simple_signature)
simple_names = st.sampled_from([each.name for each in simple_signature.parameters])
right = {
    "text": st.just("ab"),
    "raw": st.binary(max_size=2),
    "when": st.datetimes(timezones=st.just(UTC)),
    "flag": st.booleans(),
    "kind": st.sampled_from(["a", 1]),
    "either": st.sampled_from([1, "x", None]),
    "anything": values,
}


def outcome(run: Callable[[], Any]) -> str:
    """As text, since NaN is not equal to itself."""
    try:
        return repr(run())
    except InvalidArgument as error:
        return f"refused: {error}"


@given(
    st.fixed_dictionaries({"number": st.integers(0, 5)}, optional=right),
    st.one_of(st.just({}), st.dictionaries(st.one_of(simple_names, text), values, max_size=2)),
)
def test_arguments_that_go_to_the_function_as_they_came_are_what_binding_makes_of_them(
    params: dict[str, Any], wrong: dict[str, Any]
) -> None:
    params, call = {**params, **wrong}, context()

    def bound() -> Any:
        args, kwargs = bind_simple(call, params)
        return simple(*args, **kwargs)

    assert outcome(lambda: invoke_simple(simple, call, params)) == outcome(bound)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"number": 1, "raw": "aGk="}, "simple: argument 'raw': expected bytes, got 'aGk='"),
        (
            {"number": 1, "when": "2026-01-02T03:04:05Z"},
            "argument 'when': expected datetime, got '2026-01-02T03:04:05Z'",
        ),
        ({"number": 1, "raw": None}, "argument 'raw': expected bytes, got None"),
        ({"number": 1, "ctx": 1}, "unknown argument 'ctx'"),
        ({}, "argument 'number' is missing: expected int >= 0"),
    ],
)
def test_a_call_by_name_is_refused_as_binding_does_it(params: Any, words: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        invoke_simple(simple, context(), params)
    assert words in str(caught.value)


def test_an_integer_becomes_a_float_where_one_is_wanted() -> None:
    def scale(factor: float) -> Any:
        return factor

    called = make_invoker("scale", read_signature("scale", scale, bound=False))(scale, context(), {"factor": 2})
    assert (called, type(called)) == (2.0, float)


def test_a_parameter_by_position_only_gets_its_argument_by_name() -> None:
    def take(path: str, /) -> str:
        return path

    invoke = make_invoker("take", read_signature("take", take, bound=False))
    assert invoke(take, context(), {"path": "/x"}) == invoke(take, context(), ["/x"]) == "/x"
