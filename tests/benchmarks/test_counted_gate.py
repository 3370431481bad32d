"""The gate: a tenth more fails; by absolute counts here, by how many times the limit they are elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.counted import baseline
from benchmarks.counted.baseline import Run, differences, load, save
from benchmarks.counted.gate import Change, changes, judge, verdict
from benchmarks.counted.metric import ENDS, LOOPS, Metric
from benchmarks.counted.workloads import QUANTITIES, WORKLOADS

ENVIRONMENT: dict[str, Any] = {
    "code": "interpreted",
    "machine": "x86_64",
    "python": "CPython 3.11.7",
    "build": "GCC 12.2.0",
    "libc": "glibc 2.36",
    "versions": {"msgpack": "1.1.0", "msgspec": "0.19.0", "uvloop": "0.21.0"},
    "tools": {"instructions": "valgrind 3.19.0", "allocations": "memray 1.20.0", "system calls": "strace 6.1"},
}
OURS = "ours/sequential 64 B/client instructions"
SERVER = "ours/sequential 64 B/server instructions"
SUM = "ours/sequential 64 B/sum instructions"
BARE = "bare echo/sequential 64 B/client instructions"


def run(metrics: dict[str, float], **environment: Any) -> Run:
    return Run({**ENVIRONMENT, **environment}, metrics)


def only_change(old: Run, new: Run) -> Change:
    [found] = [change for change in changes(old, new) if change.metric == OURS]
    return found


@pytest.mark.parametrize(
    ("now", "kind"), [(111.0, "grown"), (109.0, "kept"), (110.0, "kept"), (91.0, "kept"), (89.0, "shrunk")]
)
def test_a_tenth_more_or_less_is_the_bound(now: float, kind: str) -> None:
    found = only_change(run({OURS: 100.0}), run({OURS: now}))
    assert found.kind == kind
    assert found.failed == (kind == "grown")


def test_what_grew_is_named_with_old_new_and_what_to_do() -> None:
    lines, is_open = verdict(changes(run({OURS: 100_000.0}), run({OURS: 111_000.0})))
    assert not is_open
    assert lines == [
        (
            "grown: ours/sequential 64 B/client instructions: 100,000 before, 111,000 now (+11.0%): mend it, or "
            "make counted-accept, and say why in the commit"
        ),
    ]


def test_what_shrank_is_to_be_accepted_but_fails_nothing() -> None:
    lines, is_open = verdict(changes(run({OURS: 100.0}), run({OURS: 80.0})))
    assert is_open
    assert lines == [
        (
            "shrunk: ours/sequential 64 B/client instructions: 100 before, 80 now (-20.0%): keep the gain with "
            "make counted-accept"
        ),
    ]


def test_a_row_that_nothing_bounds_yet_fails() -> None:
    lines, is_open = verdict(changes(run({}), run({OURS: 80.0})))
    assert not is_open
    assert lines == [
        (
            "new: ours/sequential 64 B/client instructions: 80 is not in the baseline: make counted-accept, and say "
            "why in the commit"
        ),
    ]


def test_a_row_that_nothing_counts_any_more_fails_if_all_were_counted() -> None:
    old, new = run({OURS: 80.0}), run({})
    assert changes(old, new) == []
    assert changes(old, new, [("uvloop", "instructions"), ("asyncio", "allocations")]) == []
    lines, is_open = verdict(changes(old, new, [("asyncio", "instructions")]))
    assert not is_open
    assert lines == [
        (
            "missing: ours/sequential 64 B/client instructions: is in the baseline, and nothing counts it now: "
            "make counted-accept, and say why in the commit"
        ),
    ]


def test_one_end_that_grew_is_not_hidden_by_the_other() -> None:
    old = run({OURS: 100.0, SERVER: 100.0, SUM: 200.0})
    new = run({OURS: 115.0, SERVER: 85.0, SUM: 200.0})
    assert {change.metric: change.kind for change in changes(old, new)} == {OURS: "grown", SERVER: "shrunk"}


def test_a_sum_counts_where_it_is_all_that_is_known() -> None:
    name = "ours/stream of 256 KiB chunks/sum instructions"
    [found] = changes(run({name: 100.0}), run({name: 120.0}))
    assert found.kind == "grown"


def test_a_sum_counts_though_another_quantity_of_its_row_is_known_by_end() -> None:
    calls = "ours/sequential 64 B/sum system calls"
    old, new = run({OURS: 100.0, calls: 0.09}), run({OURS: 100.0, calls: 0.12})
    assert {change.metric: change.kind for change in changes(old, new)} == {OURS: "kept", calls: "grown"}


def test_in_another_environment_growth_with_the_limit_is_the_environments() -> None:
    old, new = run({OURS: 200.0, BARE: 100.0}), run({OURS: 300.0, BARE: 150.0}, python="CPython 3.13.0")
    found = only_change(old, new)
    assert (found.kind, found.old, found.new, found.differing) == ("kept", 2.0, 2.0, ("python",))


@pytest.mark.parametrize(
    ("python", "now", "kind"),
    [
        ("CPython 3.11.9", 222.0, "grown"),
        ("CPython 3.13.0", 222.0, "kept"),
        ("CPython 3.13.0", 248.0, "kept"),
        ("CPython 3.13.0", 252.0, "grown"),
        ("CPython 3.13.0", 148.0, "shrunk"),
    ],
)
def test_another_minor_version_of_python_has_a_wider_bound(python: str, now: float, kind: str) -> None:
    old, new = run({OURS: 200.0, BARE: 100.0}), run({OURS: now, BARE: 100.0}, python=python)
    assert only_change(old, new).kind == kind


def test_in_another_environment_growth_beyond_the_limit_fails() -> None:
    old, new = run({OURS: 200.0, BARE: 100.0}), run({OURS: 220.0, BARE: 95.0}, libc="glibc 2.41")
    lines, is_open = verdict(changes(old, new))
    assert not is_open
    assert lines == [
        (
            "grown: ours/sequential 64 B/client instructions: 2 times the limit before, 2.31579 times the limit now "
            "(+15.8%): mend it, or make counted-accept, and say why in the commit"
        ),
        (
            "the baseline was counted with another libc: costs were compared by how many times their limit they are; "
            "1 that have no limit were not compared"
        ),
    ]


def test_in_the_same_environment_a_limit_that_grew_hides_nothing() -> None:
    old, new = run({OURS: 200.0, BARE: 100.0}), run({OURS: 230.0, BARE: 120.0})
    assert {change.metric: change.kind for change in changes(old, new)} == {OURS: "grown", BARE: "grown"}


def test_in_another_environment_limits_themselves_are_not_compared() -> None:
    [found] = changes(run({BARE: 100.0}), run({BARE: 150.0}, python="CPython 3.13.0"))
    assert (found.kind, found.failed, found.growth) == ("not compared", False, None)


@pytest.mark.parametrize(
    ("quantity", "changed"),
    [
        ("instructions", {"build": "Clang 19"}),
        ("instructions", {"versions": {**ENVIRONMENT["versions"], "msgpack": "1.2.0"}}),
        ("instructions", {"tools": {"instructions": "perf 6.1"}}),
        ("allocations", {"versions": {**ENVIRONMENT["versions"], "msgspec": "0.20.0"}}),
        ("system calls", {"python": "CPython 3.12.1"}),
    ],
)
def test_a_quantity_is_comparable_only_where_what_it_depends_on_is_the_same(
    quantity: str, changed: dict[str, Any]
) -> None:
    assert differences(run({}), run({}, **changed), quantity, "asyncio")
    assert not differences(run({}), run({}), quantity, "asyncio")


def test_system_calls_do_not_depend_on_a_compiler_nor_asyncio_on_uvloop() -> None:
    other = run({}, build="Clang 19", libc="musl", versions={**ENVIRONMENT["versions"], "uvloop": "0.22.0"})
    assert not differences(run({}), other, "system calls", "asyncio")
    assert differences(run({}), other, "system calls", "uvloop") == ["uvloop"]


@given(st.floats(0.01, 1e9), st.floats(0.01, 1e9))
def test_every_pair_of_costs_is_judged_by_its_quotient(before: float, now: float) -> None:
    expected = "grown" if now / before > 1.1001 else "shrunk" if now / before < 0.8999 else judge(before, now)
    assert judge(before, now) == expected


def test_less_than_once_in_a_hundred_calls_is_nothing() -> None:
    assert judge(0.0, 0.009) == "kept"
    assert judge(0.0, 0.02) == "grown"


@given(
    st.builds(
        Metric,
        st.sampled_from([workload.key for workload in WORKLOADS]),
        st.sampled_from(LOOPS),
        st.sampled_from(ENDS),
        st.sampled_from(QUANTITIES),
    )
)
def test_every_metric_is_read_back_from_its_name(metric: Metric) -> None:
    assert Metric.parse(metric.name) == metric
    assert metric.limit is None or metric.limit == replace(metric, key=metric.limit.key)


@pytest.mark.parametrize(
    "name", ["", "ours", "ours/x", "ours/x/y", "ours/x/client seconds", "ours/x/third instructions"]
)
def test_what_is_no_counted_cost_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no counted cost"):
        Metric.parse(name)


def test_runs_are_read_back_as_they_were_stored_by_code(tmp_path: Path) -> None:
    interpreted, compiled = run({OURS: 1.5, BARE: 2.0}), run({OURS: 1.0}, code="compiled")
    path = tmp_path / "baseline.json"
    save(run({OURS: 9.0}), path)
    save(compiled, path)
    save(interpreted, path)
    assert (load("interpreted", path), load("compiled", path)) == (interpreted, compiled)


def test_no_baseline_is_none_and_a_broken_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    assert load("interpreted", path) is None
    path.write_text("{}")
    assert load("interpreted", path) is None
    for text in ("{", "[]", '{"interpreted": {}}', '{"interpreted": {"environment": {}, "rounds": []}}'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"baseline\.json holds no runs of counted costs"):
            load("interpreted", path)


def test_the_committed_baseline_bounds_every_row_of_asyncio() -> None:
    accepted = load("interpreted", baseline.BASELINE)
    assert accepted is not None
    rows = {Metric(workload.key, "asyncio", "sum", quantity).name for workload in WORKLOADS for quantity in QUANTITIES}
    assert rows <= accepted.metrics.keys()
    assert set(accepted.environment["tools"]) == set(QUANTITIES)
