"""What /proc tells of processes, and signals by name."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtagent.errors import InvalidArgument
from virtagent.guest.proc_stat import parse_stat, pids, read_stat
from virtagent.guest.process_list import MOST_OF_ARGUMENTS, split_arguments, terminal_name
from virtagent.guest.session_members import groups_of_session
from virtagent.guest.signals import signal_name, signal_number


@given(st.binary(min_size=1, max_size=15), st.lists(st.integers(0, 2**40), min_size=49, max_size=49))
def test_a_line_is_understood_whatever_the_programs_name(name: bytes, numbers: list[int]) -> None:
    line = b"7 (" + name + b") S " + b" ".join(b"%d" % each for each in numbers) + b"\n"
    stat = parse_stat(line)
    assert os.fsencode(stat.name) == name
    assert (stat.pid, stat.state, stat.ppid) == (7, "S", numbers[0])
    assert (stat.group, stat.session, stat.terminal) == tuple(numbers[1:4])
    assert stat.ticks == numbers[10] + numbers[11]
    assert (stat.nice, stat.threads, stat.start_ticks, stat.rss) == (numbers[15], numbers[16], numbers[18], numbers[20])


@given(st.binary(max_size=80))
def test_anything_else_is_a_value_error(text: bytes) -> None:
    try:
        parse_stat(text)
    except ValueError:
        pass
    else:
        assert b" (" in text


def test_this_process_is_among_them() -> None:
    stat = read_stat(os.getpid())
    assert stat is not None
    assert (stat.ppid, stat.group, stat.session) == (os.getppid(), os.getpgrp(), os.getsid(0))
    assert os.getpid() in pids()
    assert read_stat(2**22 + 1) is None


def test_a_session_is_not_mistaken_for_a_later_one_of_its_number() -> None:
    session = os.getsid(0)
    leader = read_stat(session)
    ticks = leader.start_ticks if leader is not None else 0
    assert os.getpgrp() in groups_of_session(session, ticks)
    if leader is not None:
        assert groups_of_session(session, ticks + 1) == set()


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20), min_size=1))
def test_arguments_are_split_as_they_were_given(arguments: list[str]) -> None:
    line = b"".join(each.encode() + b"\0" for each in arguments)
    if len(line) <= MOST_OF_ARGUMENTS:
        assert split_arguments(line) == arguments


def test_long_arguments_are_cut_and_a_kernel_thread_has_none() -> None:
    found = split_arguments(b"x" * (MOST_OF_ARGUMENTS + 1))
    assert found == ["x" * MOST_OF_ARGUMENTS + "..."]
    assert split_arguments(b"") is None


@pytest.mark.parametrize(
    ("major", "minor", "name"),
    [(136, 3, "pts/3"), (137, 1, "pts/257"), (4, 1, "tty1"), (4, 65, "ttyS1"), (5, 1, "5:1")],
)
def test_terminals_have_their_usual_names(major: int, minor: int, name: str) -> None:
    assert terminal_name(os.makedev(major, minor)) == name
    assert terminal_name(0) == ""


@pytest.mark.parametrize("name", ["SIGTERM", "TERM", "term", "15"])
def test_a_signal_has_several_names(name: str) -> None:
    assert signal_number(name) == signal.SIGTERM


@given(st.integers(1, signal.NSIG - 1))
def test_every_signal_that_can_end_a_process_has_a_name_that_means_it(number: int) -> None:
    if number < 32 or number >= signal.SIGRTMIN:
        assert signal_number(signal_name(number)) == number


@pytest.mark.parametrize("name", ["", "NOPE", "0", "-1", "65", "999", "RTMIN+99", "TERM+1", "SIG_IGN", "RTMIN+x", "٣"])
def test_what_is_no_signal_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match="there is no signal"):
        signal_number(name)
