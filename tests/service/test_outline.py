from __future__ import annotations

import enum
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import pytest

from virtagent.peer.context import Context
from virtagent.service.options import in_thread
from virtagent.service.outline import outline_of

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Tree = dict[str, "Tree"]


class Color(enum.Enum):
    RED = "red"


class Inner(msgspec.Struct):
    port: Port = 22


class Outer(msgspec.Struct, rename="camel"):
    inner_part: Inner
    again: Outer | None = None


@dataclass
class Point:
    x: int


class Point3(Point):
    z: float


class Called(Context):
    pass


class Odd:
    pass


def outline(function: Callable[..., Any]) -> str:
    return outline_of(function, bound=False)


def test_parameters_and_the_result_are_told_with_their_kinds_and_defaults() -> None:
    def read(path: str, /, mode: Literal["r", "w"] = "r", *, offset: int = 0) -> bytes: ...  # type: ignore[empty-body]

    assert outline(read).split() == [
        *("positional", "path", "str"),
        *("any", "mode", "Literal['r',", "'w']", "=", "'r'"),
        *("keyword", "offset", "int", "=", "0"),
        *("->", "bytes"),
    ]


def test_the_instance_and_the_context_are_not_told() -> None:
    async def first(self: Any, path: str, ctx: Context) -> None: ...
    async def second(self: Any, path: str, *, ctx: Called | None = None) -> None: ...
    async def third(self: Any, path: str) -> None: ...

    assert outline_of(first, bound=True) == outline_of(second, bound=True) == outline_of(third, bound=True)


def test_what_stands_below_a_decorator_is_told() -> None:
    def stat(self: Any, path: str) -> int: ...  # type: ignore[empty-body]

    assert outline_of(in_thread(stat), bound=True) == outline_of(stat, bound=True)


def test_fields_constraints_and_values_of_named_types_are_told() -> None:
    def put(outer: Outer, tree: Tree, color: Color) -> AsyncIterator[Point3]: ...  # type: ignore[empty-body]

    told = outline(put)
    for part in ("innerPart", "Inner", "port", "int >= 1 and <= 65535", "22", "'red'", "x int", "z float"):
        assert part in told, part


@pytest.mark.parametrize("annotated", [Annotated[int, msgspec.Meta(ge=1)], list["Inner"], "list[Inner]", Color | None])
def test_annotations_may_be_text_or_objects(annotated: Any) -> None:
    def put(value: int) -> None: ...

    before = outline(put)
    put.__annotations__["value"] = annotated
    assert outline(put) != before
    if "Inner" in str(annotated):
        assert "int >= 1 and <= 65535" in outline(put)


def test_a_field_more_changes_the_outline() -> None:
    def put(value: list[Item]) -> None: ...  # type: ignore[name-defined] # noqa: F821

    try:
        globals()["Item"] = msgspec.defstruct("Item", [("name", str)], module=__name__)
        one = outline(put)
        globals()["Item"] = msgspec.defstruct("Item", [("name", str), ("size", int, 3)], module=__name__)
        two = outline(put)
        globals()["Item"] = msgspec.defstruct("Item", [("name", str), ("size", int, 4)], module=__name__)
        assert len({one, two, outline(put)}) == 3
    finally:
        del globals()["Item"]


def test_defaults_that_are_not_plain_are_told_without_their_place_in_memory() -> None:
    def make() -> Callable[..., None]:
        def put(odd: Any = Odd(), text: str = "\udcff") -> None: ...  # noqa: B008

        return put

    assert outline(make()) == outline(make())
    assert "0x" not in outline(make())
    assert outline(make()).isascii()


def test_a_name_that_does_not_exist_is_told_as_it_stands() -> None:
    def put(value: Missing) -> None: ...  # type: ignore[name-defined] # noqa: F821

    assert outline(put) == "any value Missing  -> None"


def test_equal_code_has_equal_digests_in_all_processes() -> None:
    code = (
        "from virtagent.guest.agent import AgentService; from virtagent.guest.files import FilesService;"
        "from virtagent.guest.log import LogService; from virtagent.guest.system import SystemService;"
        "from virtagent.service.serving import router_of; from virtagent.service.description import schema_digest;"
        "print(schema_digest(router_of([AgentService(), FilesService(), LogService(), SystemService()])))"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
