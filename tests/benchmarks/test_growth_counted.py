"""Linearity, counted and not timed: function calls for N and for 2 N of something, in cores joined in memory.

What is linear takes twice the calls and a little for the start; what is to stay flat takes the same. The curves with
instructions, which see loops inside of C functions too, are ``make growth``.
"""

from __future__ import annotations

import gc
import sys
from types import FrameType
from typing import Any

import pytest

from benchmarks.growth.workloads import WORKLOADS, Action
from virtagent.peer.handler import Handler
from virtagent.service.loading import LoadedService, Loading
from virtagent.service.service import Service

COUNT = 200
DOUBLE = 2.2
SAME = 1.05
MIB = 1024 * 1024

LINEAR = (
    "answered_calls",
    "cancelled_calls",
    "passing_deadlines",
    "default_deadlines",
    "streams",
    "reset_streams",
    "notifications",
    "drained_handlers",
)
FLAT = ("calls_beside_open_ones", "stream_beside_open_ones")
OF_BYTES = ("long_message", "long_stream")


def function_calls(action: Action) -> int:
    """How many functions an action calls, of Python and of C; garbage is not collected meanwhile."""
    count = 0

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    gc.collect()
    gc.disable()
    sys.setprofile(profile)
    try:
        action()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


def ratio(name: str, small: int, large: int) -> float:
    """How many times the calls for the larger number, once what is made at first use has been made."""
    prepare = WORKLOADS[name]
    prepare(8)()
    return function_calls(prepare(large)) / function_calls(prepare(small))


def test_every_workload_is_tested() -> None:
    assert {*LINEAR, *FLAT, *OF_BYTES} == set(WORKLOADS)


@pytest.mark.parametrize("name", LINEAR)
def test_twice_as_many_take_twice_the_work(name: str) -> None:
    assert ratio(name, COUNT, 2 * COUNT) <= DOUBLE


@pytest.mark.parametrize("name", FLAT)
def test_what_lies_open_costs_others_nothing(name: str) -> None:
    assert ratio(name, COUNT, 4 * COUNT) <= SAME


@pytest.mark.parametrize("name", OF_BYTES)
def test_twice_the_bytes_take_twice_the_work(name: str) -> None:
    assert ratio(name, 4 * MIB, 8 * MIB) <= DOUBLE


class Watched(Handler):
    """A handler that counts how often its name is looked at."""

    looks = 0

    def __getattribute__(self, name: str) -> Any:
        if name == "name":
            Watched.looks += 1
        return super().__getattribute__(name)


class Late(Service, name="late"):
    """One more service."""

    async def method(self, value: int) -> int:
        return value


@pytest.mark.interpreted  # derives from a class that is closed when compiled
def test_loading_a_service_looks_at_none_of_those_that_are_loaded() -> None:
    loading = Loading([LoadedService("test", [Watched("other.method", "inline", lambda context, params: None)])])
    Watched.looks = 0
    loading.attempt("test", Late)
    assert len(loading.loaded) == 2
    assert Watched.looks == 0
