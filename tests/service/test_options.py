from __future__ import annotations

import threading
from typing import Any

import pytest

from virtagent.errors import InternalError, NotFound, UsageError
from virtagent.service.options import MethodOptions, in_thread, is_in_thread, method, options_of


def test_what_a_decorator_says_is_kept_with_the_function() -> None:
    @method(inline=True, idempotent=True, since="0.2", name="other-name", errors=(NotFound,), doc="Does.")
    def function() -> None: ...

    assert options_of(function) == MethodOptions(True, True, "0.2", "other-name", (NotFound,), "Does.")


def test_an_undecorated_function_says_nothing() -> None:
    def function() -> None: ...

    assert options_of(function) == MethodOptions()
    assert not is_in_thread(function)


def test_an_override_completes_its_options_from_what_it_overrides_but_for_inline() -> None:
    base = MethodOptions(inline=True, idempotent=True, since="0.1", errors=(NotFound,))
    assert MethodOptions(since="0.2").over(base) == MethodOptions(None, True, "0.2", None, (NotFound,))
    assert MethodOptions(idempotent=False, inline=True).over(base).idempotent is False
    assert MethodOptions(errors=(InternalError,)).over(base).errors == (InternalError,)


def test_errors_that_are_no_call_errors_are_refused() -> None:
    wrong: Any = (KeyError,)
    with pytest.raises(UsageError, match=r"KeyError.* is no CallError class"):
        method(errors=wrong)


class Disk:
    @method(idempotent=True)
    @in_thread
    def outside(self, path: str) -> str:
        return f"{path} {threading.current_thread() is threading.main_thread()}"

    @in_thread
    @method(idempotent=True)
    def inside(self, path: str) -> str:
        """Has a doc."""
        return path


async def test_a_blocking_function_can_be_awaited_and_runs_in_a_thread() -> None:
    assert await Disk().outside("/x") == "/x False"


def test_in_thread_and_method_may_stand_in_either_order() -> None:
    for function in (Disk.outside, Disk.inside):
        assert options_of(function).idempotent
        assert is_in_thread(function)
    assert Disk.inside.__doc__ == "Has a doc."


def test_in_thread_refuses_what_is_async_already() -> None:
    async def function(self: object) -> None: ...

    with pytest.raises(UsageError, match="is async already"):
        in_thread(function)
