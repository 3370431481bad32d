"""The error tree and its codes (docs/protocol.md, section Error codes)."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtagent import errors
from virtagent.errors import (
    CallError,
    InternalError,
    NotFound,
    UnknownError,
    UsageError,
    VirtagentError,
    error_code,
    error_from_wire,
    error_to_wire,
)

CLASSES = {name: each for name, each in vars(errors).items() if inspect.isclass(each) and issubclass(each, Exception)}
CODED = {code: each for code, each in error_code.registered.items() if code < 1000}


def test_every_class_is_of_one_tree() -> None:
    assert all(issubclass(each, VirtagentError) for each in CLASSES.values())


def test_everything_public_is_listed_in_order() -> None:
    public = {name for name, each in vars(errors).items() if getattr(each, "__module__", "") == errors.__name__}
    public = {name for name in public if not name.startswith("_") and name != "ErrorClass"}
    assert set(errors.__all__) == public
    assert errors.__all__ == sorted(errors.__all__)


def test_the_drawing_is_the_tree() -> None:
    """The docstring names every class, under its parent, with its code."""
    drawing = (errors.__doc__ or "").split("::")[1].split("Codes 1 to 16")[0]
    drawn: dict[str, str] = {}
    codes: dict[str, int] = {}
    parents: list[tuple[int, str]] = []
    for line in drawing.splitlines():
        names = list(
            re.finditer(r"([A-Z][A-Za-z]+)(?: \([A-Za-z]+\))?(?: +(\d+))?", re.sub(r" {3,}[a-z.].*$", "", line))
        )
        for index, match in enumerate(names):
            if match[1] not in CLASSES:
                continue
            if index == 0:
                parents = [each for each in parents if each[0] < match.start()]
            drawn[match[1]] = parents[-1][1] if parents else "VirtagentError"
            if match[2]:
                codes[match[1]] = int(match[2])
            elif index == 0:
                parents.append((match.start(), match[1]))
    assert set(drawn) == set(CLASSES)
    for name, parent in drawn.items():
        assert CLASSES[parent] in CLASSES[name].__mro__, (name, parent)
        assert name == parent or CLASSES[name].__bases__[0].__name__ == parent, (name, parent)
    assert codes == {each.__name__: code for code, each in CODED.items()}


@pytest.mark.parametrize("cls", CODED.values(), ids=lambda cls: cls.__name__)
def test_each_class_goes_over_the_wire(cls: type[CallError]) -> None:
    """Rules C3, E1."""
    back = error_from_wire(error_to_wire(cls("what went wrong", data={"a": 1})))
    assert type(back) is cls
    assert (back.code, back.message, back.data) == (cls.code, "what went wrong", {"a": 1})


def test_codes_are_those_of_their_classes() -> None:
    """Rule E1."""
    assert set(CODED) == set(range(1, 20))
    assert all(each.code == code for code, each in CODED.items())


def test_an_unknown_code_is_kept_as_it_is() -> None:
    """Rule E1."""
    error = error_from_wire([4711, "app", [1]])
    assert type(error) is CallError
    assert error_to_wire(error) == [4711, "app", [1]]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(values)
def test_any_value_at_all_gives_some_error(value: Any) -> None:
    """Rule C3."""
    error = error_from_wire(value)
    assert isinstance(error, CallError)
    assert isinstance(error.message, str)
    if isinstance(value, str):
        assert type(error) is UnknownError
        assert error.message == value


def test_an_unforeseen_exception_tells_its_class_only() -> None:
    """Rule E1."""
    code, message, data = error_to_wire(RuntimeError("password=hunter2"))
    assert (code, data) == (InternalError.code, None)
    assert "RuntimeError" in message
    assert "hunter2" not in message


def test_an_application_registers_its_own_codes() -> None:
    """Rule E1."""

    @error_code(999_001)
    class DiskFull(CallError):
        pass

    try:
        assert DiskFull.code == 999_001
        assert type(error_from_wire(error_to_wire(DiskFull("sda")))) is DiskFull
        with pytest.raises(UsageError, match="already belongs to"):
            error_code(999_001)(NotFound)
        assert error_code(999_001)(DiskFull) is DiskFull
        assert NotFound.code == 5
    finally:
        del error_code.registered[999_001]
    with pytest.raises(UsageError, match="start at 1000"):
        error_code(999)


def test_errors_keep_what_programs_want_to_know() -> None:
    assert errors.ChannelBusy("busy", holder="pid 4711").holder == "pid 4711"
    assert errors.PeerGone("gone", reason="reboot", may_have_run=False).reason == "reboot"
    assert errors.SessionLost("lost").may_have_run
    assert not errors.DeadlineExceeded("late", may_have_run=False).may_have_run
    assert errors.StreamReset("over", code=8).code == 8
    assert CallError("x", code=77).code == 77
    assert CallError().message == ""
    bare = CallError("x")
    bare.args = ()
    assert bare.message == ""
    assert issubclass(errors.DeadlineExceeded, TimeoutError)
    assert issubclass(errors.InvalidArgument, ValueError)
    assert issubclass(errors.SessionLost, ConnectionError)
