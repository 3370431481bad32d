"""Two run lengths: what both share cancels out; and a real pair of each subject."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.counted.counters import Counter, Counts
from benchmarks.counted.measure import Job, measure, metrics_of
from benchmarks.counted.pair import Cost, PairFailed, cost_of, environment, per_unit
from benchmarks.counted.tree import ROOT, code_of, copied_tree
from benchmarks.counted.workloads import WORKLOADS, Workload, chosen

names = st.sampled_from(["epoll_wait", "recvfrom", "sendto", "close"])


@given(st.dictionaries(names, st.integers(0, 10**6)), st.dictionaries(names, st.integers(1, 50)), st.integers(0, 99))
def test_what_both_run_lengths_share_cancels_out(start_up: Counts, each: Counts, short: int) -> None:
    def run(count: int) -> Counts:
        return {name: start_up.get(name, 0) + count * each.get(name, 0) for name in {*start_up, *each}}

    assert per_unit(run(short), run(short + 40), (short, short + 40)) == pytest.approx(each)


def test_sums_are_over_both_ends_and_all_names() -> None:
    cost = Cost({"client": {"recvfrom": 1.0, "sendto": 1.0}, "server": {"recvfrom": 1.5}})
    assert cost.totals() == {"client": 2.0, "server": 1.5, "sum": 3.5}


def test_of_both_ends_in_one_process_only_the_sum_is_known() -> None:
    assert Cost({"both": {"recvfrom": 1.0, "sendto": 1.0}}).totals() == {"sum": 2.0}


def test_processes_under_measure_see_the_same_few_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    given_on = environment(Path("/tree"))
    assert given_on["PYTHONHASHSEED"] == "0"
    assert given_on["PYTHONPATH"] == "/tree:/tree/transports"
    assert not {"PYTHONDONTWRITEBYTECODE", "PYTHONASYNCIODEBUG"} & given_on.keys()


class Runs(Counter):
    """Counts nothing, but runs the processes as all counters do: one count for each call of the client."""

    quantity = "system calls"
    tool = "none"

    def command(self, python: list[str], file: Path) -> list[str]:
        count = python[7]
        return ["sh", "-c", f'echo {count} > {file}; exec "$@"', "sh", *python]

    def read(self, file: Path) -> Counts:
        return {"calls": int(file.read_text())}


ON_UVLOOP = [each for each in WORKLOADS if each.key in ("ours/64 in flight", "bare echo/stream of 256 KiB chunks")]


@pytest.mark.parametrize(
    ("workload", "loop"),
    [*((each, "asyncio") for each in WORKLOADS), *((each, "uvloop") for each in ON_UVLOOP)],
    ids=lambda value: value if isinstance(value, str) else value.key,
)
def test_every_workload_runs_to_its_end(workload: Workload, loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    brief = Workload(workload.subject, workload.name, workload.unit, (64, 128), workload.limit, workload.together)
    totals = cost_of(brief, Runs(), ROOT, loop=loop, cpu=None).totals()
    assert totals == (
        {"sum": 1.0} if "system calls" in workload.together else {"client": 1.0, "server": 1.0, "sum": 2.0}
    )


class Breaks(Counter):
    """Ends one end with an error instead of running it."""

    quantity = "instructions"
    tool = "none"

    def __init__(self, end: str) -> None:
        self.end = end

    def command(self, python: list[str], file: Path) -> list[str]:
        if python[3] == self.end:
            return [sys.executable, "-c", "raise SystemExit('it broke')"]
        return python

    def read(self, file: Path) -> Counts:
        return {}


@pytest.mark.parametrize(("end", "who"), [("client", "the client"), ("server", "the server")])
def test_an_end_that_fails_is_named_with_what_it_said(end: str, who: str) -> None:
    [workload] = [each for each in WORKLOADS if each.key == "bare echo/sequential 64 B"]
    with pytest.raises(PairFailed, match=f"bare echo/sequential 64 B, instructions: {who} ended with code 1: it broke"):
        cost_of(workload, Breaks(end), ROOT, loop="asyncio", cpu=None)


def test_a_counter_that_wrote_nothing_is_an_error() -> None:
    class Silent(Runs):
        def command(self, python: list[str], file: Path) -> list[str]:
            return python

    [workload] = [each for each in WORKLOADS if each.key == "bare echo/sequential 64 B"]
    with pytest.raises(PairFailed, match="bare echo/sequential 64 B, system calls: .*No such file"):
        cost_of(workload, Silent(), ROOT, loop="asyncio", cpu=None)


def test_all_jobs_are_counted_and_told_of() -> None:
    [workload] = [each for each in WORKLOADS if each.key == "bare echo/sequential 64 B"]
    jobs = [Job(workload, Runs(), "asyncio") for _ in range(3)]
    told: list[Job] = []
    costs = measure(jobs, ROOT, told.append)
    assert set(told) == set(jobs) == set(costs)
    assert metrics_of(jobs[0], costs[jobs[0]]) == {
        "bare echo/sequential 64 B/client system calls": 1.0,
        "bare echo/sequential 64 B/server system calls": 1.0,
        "bare echo/sequential 64 B/sum system calls": 2.0,
    }


def test_after_a_pair_that_fails_no_further_one_is_begun() -> None:
    [workload] = [each for each in WORKLOADS if each.key == "bare echo/sequential 64 B"]
    jobs = [Job(workload, Breaks("server"), "asyncio"), *(Job(workload, Runs(), "asyncio") for _ in range(100))]
    told: list[Job] = []
    with pytest.raises(PairFailed, match="the server ended with code 1: it broke"):
        measure(jobs, ROOT, told.append)
    assert len(told) < 100


def test_the_copy_under_measure_is_compiled_and_gone_afterwards() -> None:
    with copied_tree() as tree:
        assert list((tree / "virtagent" / "peer" / "__pycache__").glob("peer.*.pyc"))
        assert (tree / "transports" / "virtagent_transports" / "unix.py").exists()
    assert not tree.exists()


def test_a_tree_with_extension_modules_is_compiled_code_and_they_are_copied(tmp_path: Path) -> None:
    for package in ("virtagent", "transports"):
        (tmp_path / package).mkdir()
    assert code_of(tmp_path) == "interpreted"
    (tmp_path / "virtagent" / "frames.cpython-311.so").touch()
    (tmp_path / "group__mypyc.cpython-311.so").touch()
    assert code_of(tmp_path) == "compiled"
    with copied_tree(tmp_path) as tree:
        assert code_of(tree) == "compiled"
        assert (tree / "group__mypyc.cpython-311.so").exists()


def test_a_directory_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), copied_tree(tmp_path):
        pass


def test_rows_are_chosen_with_the_limits_that_they_are_compared_with() -> None:
    assert [each.key for each in chosen(["typed"])] == ["bare echo/sequential 64 B", "ours/typed call"]
    assert chosen([]) == list(WORKLOADS)


def test_a_word_that_no_row_has_is_refused_with_the_rows_that_there_are() -> None:
    with pytest.raises(ValueError, match="no workload has 'sequental' in its name; there are: bare echo/sequential"):
        chosen(["sequental"])


def test_every_limit_is_a_row_itself_and_of_the_same_kind() -> None:
    rows = {each.key: each for each in WORKLOADS}
    assert len(rows) == len(WORKLOADS)
    for each in WORKLOADS:
        assert (each.limit is not None) == (each.subject == "ours")
        if each.limit is not None:
            assert rows[each.limit].limit is None
            assert rows[each.limit].together == each.together
