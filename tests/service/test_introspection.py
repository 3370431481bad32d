from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any

import msgspec
import pytest

from tests.service.wire import Wire, context
from virtagent.errors import MethodNotFound, NotFound
from virtagent.peer.context import Context
from virtagent.peer.handler import Handler, Router
from virtagent.service.description import MethodDescription, ParameterDescription, describe, schema_digest
from virtagent.service.introspection import Introspection, MethodSummary, ServiceSummary
from virtagent.service.options import method
from virtagent.service.service import Service, handlers_of
from virtagent.service.serving import router_of
from virtagent.service.stub import stub


class Rule(msgspec.Struct):
    port: Annotated[int, msgspec.Meta(ge=1)]


class Firewall(Service, name="net.firewall"):
    @method(idempotent=True, since="0.2", errors=(NotFound,))
    async def add(self, rule: Rule, *, at: int = 0, raw: bytes = b"\xff", ctx: Context | None = None) -> list[Rule]:
        """Add a rule.

        And more.
        """
        return []

    async def watch(self, data: AsyncIterator[bytes] | None = None) -> AsyncIterator[Rule]:
        yield Rule(1)

    async def odd(self, rule: Rule = Rule(1), marker: Any = object) -> None:  # noqa: B008
        """Has defaults that are not plain."""


def one(name: str) -> MethodDescription:
    return describe(next(each for each in handlers_of(Firewall()) if each.name == f"net.firewall.{name}"))


def test_a_description_tells_everything_that_a_caller_needs() -> None:
    found = one("add")
    assert (found.summary, found.doc) == ("Add a rule.", "Add a rule.\n\nAnd more.")
    assert (found.idempotent, found.since, found.stream) == (True, "0.2", None)
    assert [(each.name, each.code) for each in found.errors] == [("NotFound", 5)]
    assert found.returns == "list[Rule]"
    assert found.schema["type"] == "array"
    rule, at, raw = found.parameters
    assert (rule.type, rule.required, rule.positional) == ("Rule", True, True)
    assert rule.schema["$defs"]["Rule"]["properties"]["port"] == {"type": "integer", "minimum": 1}
    assert at == ParameterDescription(
        name="at", type="int", schema={"type": "integer"}, required=False, positional=False, default=0
    )
    assert raw.default == b"\xff"
    assert raw.schema == {"type": "string", "format": "binary"}


def test_streams_are_described_by_their_items() -> None:
    found = one("watch")
    assert (found.stream, found.returns) == ("items", "Rule")
    (data,) = found.parameters
    assert (data.stream, data.type, data.required) == ("bytes", "bytes", False)


def test_defaults_are_made_plain_or_left_out() -> None:
    rule, marker = one("odd").parameters
    assert rule.default == {"port": 1}
    assert marker.default is None


def test_a_handler_made_by_hand_is_described_by_name() -> None:
    handler = Handler("raw", "inline", lambda *_: None, idempotent=True)
    assert describe(handler) == MethodDescription(name="raw", idempotent=True, typed=False)


@pytest.fixture
def rpc() -> Introspection:
    raw = Handler("raw", "inline", lambda *_: None)
    wire = Wire(Firewall(), handlers=[raw])
    for each in handlers_of(Introspection(wire.router)):
        wire.router.add(each)
    return stub(Introspection, wire)


async def test_methods_are_listed_by_name_under_a_prefix(rpc: Introspection) -> None:
    assert [each.name for each in await rpc.methods()] == [
        "net.firewall.add",
        "net.firewall.odd",
        "net.firewall.watch",
        "raw",
        "rpc.describe",
        "rpc.methods",
        "rpc.services",
    ]
    assert (await rpc.methods("net.firewall.a")) == [
        MethodSummary(name="net.firewall.add", summary="Add a rule.", idempotent=True, since="0.2")
    ]


async def test_a_description_travels_over_the_wire(rpc: Introspection) -> None:
    assert await rpc.describe("net.firewall.add") == one("add")
    assert (await rpc.describe("rpc.describe")).errors[0].name == "MethodNotFound"


async def test_an_unknown_method_is_not_found_and_near_names_are_told(rpc: Introspection) -> None:
    with pytest.raises(MethodNotFound, match=r"no method 'net.firewal.add'; near are net.firewall.add"):
        await rpc.describe("net.firewal.add")
    with pytest.raises(MethodNotFound, match=r"^no method 'zzzzzzzzz'$"):
        await rpc.describe("zzzzzzzzz")


async def test_services_are_listed(rpc: Introspection) -> None:
    assert await rpc.services() == [
        ServiceSummary(name="", methods=1),
        ServiceSummary(name="net.firewall", methods=3),
        ServiceSummary(name="rpc", methods=3),
    ]


async def test_services_that_nobody_has_called_yet_are_made_one_by_one_and_told_of() -> None:
    made: list[str] = []

    def make(name: str) -> list[Handler]:
        made.append(name)
        return [Handler(f"{name}.do", "inline", lambda context, params: None)]

    router = Router(later={name: partial(make, name) for name in ("a", "b")})
    told = asyncio.ensure_future(Introspection(router).methods())
    await asyncio.sleep(0)
    assert made == ["a"]
    assert [each.name for each in await told] == ["a.do", "b.do"]
    assert made == ["a", "b"]


async def test_one_method_is_described_without_making_other_services() -> None:
    made: list[str] = []

    def make(name: str) -> list[Handler]:
        made.append(name)
        return [Handler(f"{name}.do", "inline", lambda context, params: None)]

    router = Router(later={name: partial(make, name) for name in ("a", "b")})
    assert (await Introspection(router).describe("b.do")).name == "b.do"
    assert made == ["b"]


def test_describing_one_method_runs_inline() -> None:
    router = Router()
    for each in handlers_of(Introspection(router)):
        router.add(each)
    assert {each.name: each.mode for each in router}["rpc.describe"] == "inline"
    assert router.get("rpc.describe").invoke(context(), ["rpc.describe"])["name"] == "rpc.describe"  # type: ignore[union-attr]


def digest(**namespace: Any) -> str:
    cls: Any = type("Made", (Service,), namespace, name="made")
    return schema_digest(handlers_of(cls()))


def test_the_digest_changes_with_the_methods_and_with_nothing_else() -> None:
    async def first(self: Any, path: str) -> int:
        """Documented."""
        return 1

    async def same(self: Any, path: str) -> int:
        """Documented otherwise."""
        return 2

    async def other_type(self: Any, path: bytes) -> int:
        return 1

    async def other_default(self: Any, path: str = "\udcff") -> int:
        return 1

    async def other_result(self: Any, path: str) -> int | None:
        return 1

    base = digest(take=first)
    assert base == digest(take=same)
    assert len(base) == 16
    others = {digest(take=each) for each in (other_type, other_default, other_result)}
    others |= {digest(taken=first), digest(take=first, more=first), digest(take=method(idempotent=True)(same))}
    assert len(others | {base}) == 7


def test_the_digest_does_not_depend_on_the_order_of_handlers() -> None:
    handlers = handlers_of(Firewall())
    assert schema_digest(handlers) == schema_digest(handlers[::-1]) == schema_digest(Router(handlers))


async def test_one_instance_tells_each_peer_of_its_own_methods() -> None:
    first, second = Wire(handlers=router_of([Firewall()])), Wire(handlers=router_of())
    assert first.router.get("rpc.methods") is second.router.get("rpc.methods")
    assert [each.name for each in await stub(Introspection, first).services()] == ["net.firewall", "rpc"]
    assert [each.name for each in await stub(Introspection, second).services()] == ["rpc"]
