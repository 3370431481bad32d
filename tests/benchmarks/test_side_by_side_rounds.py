"""The rounds of a run: who comes when, what counts, and what a failure leaves."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.side_by_side.found import Found, Measurable
from benchmarks.side_by_side.others import other
from benchmarks.side_by_side.result import Figure, Result, SubjectRecord, UnreadableResult, load, save
from benchmarks.side_by_side.rounds import measure_rounds, rotated


@given(st.lists(st.integers(), unique=True), st.integers(1, 12))
def test_each_round_has_everything_once_and_in_the_same_cyclic_order(items: list[int], rounds: int) -> None:
    for number in range(rounds):
        order = rotated(items, number, rounds)
        assert sorted(order) == sorted(items)
        if items:
            start = items.index(order[0])
            assert order == items[start:] + items[:start]


@given(st.integers(1, 40), st.integers(1, 12))
def test_rounds_begin_with_different_ones_while_there_are_enough(count: int, rounds: int) -> None:
    firsts = [rotated(range(count), number, rounds)[0] for number in range(min(rounds, count))]
    assert len(set(firsts)) == len(firsts)


@given(st.lists(st.floats(1, 1e9), min_size=1))
def test_a_figure_is_the_median_between_the_lowest_and_the_highest(values: list[float]) -> None:
    figure = Figure.of(values)
    assert figure.low <= figure.value <= figure.high
    assert sum(value < figure.value for value in values) <= len(values) / 2
    assert sum(value > figure.value for value in values) <= len(values) / 2


def empty_result() -> Result:
    return Result({}, {}, [])


def test_rounds_are_interleaved_and_the_result_is_given_after_each() -> None:
    measured: list[str] = []

    def measurable(name: str) -> Measurable:
        def measure() -> Found:
            measured.append(name)
            return Found({f"{name}/x/y": float(len(measured))})

        return Measurable(name, measure)

    finished: list[int] = []
    result = empty_result()
    measure_rounds(
        result, [measurable(name) for name in "abcd"], 2, lambda _: None, lambda each: finished.append(len(each.rounds))
    )
    assert measured == [*"abcd", *"cdab"]
    assert finished == [1, 2]
    assert result.rounds[1] == {"c/x/y": 5, "d/x/y": 6, "a/x/y": 7, "b/x/y": 8}


@pytest.mark.parametrize("first", ["own", "other"])
def test_what_yields_does_not_replace_another_measurement_of_the_round(first: str) -> None:
    own = Measurable("own", lambda: Found({"a": 1.0}))
    neighbour = Measurable("other", lambda: Found({"a": 2.0, "b": 3.0}), yields=True)
    result = empty_result()
    order = [own, neighbour] if first == "own" else [neighbour, own]
    measure_rounds(result, order, 1, lambda _: None, lambda _: None)
    assert result.rounds == [{"a": 1.0, "b": 3.0}]


def test_a_failed_measurement_leaves_its_reason_and_the_others() -> None:
    result = empty_result()
    broken = Measurable("broken", lambda: Found(failures={"broken": "it is"}))
    measure_rounds(result, [broken, Measurable("a", lambda: Found({"a": 1.0}))], 2, lambda _: None, lambda _: None)
    assert result.rounds == [{"a": 1.0}] * 2
    assert result.failed() == {"broken": (2, "it is")}


@pytest.mark.parametrize("error", [RuntimeError("no kernel"), SystemExit("no kernel")])
def test_a_neighbour_that_does_not_start_is_a_failure_of_every_round(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def session(*, quick: bool) -> None:
        raise error

    import benchmarks.rows

    monkeypatch.setattr(benchmarks.rows, "session", session)
    with other("rows", quick=True) as measurable:
        assert measurable.measure() == Found(failures={"rows": f"{type(error).__name__}: no kernel"})


def test_a_neighbours_session_is_open_over_all_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    class Session:
        def __init__(self, *, quick: bool) -> None:
            assert quick

        async def one_round(self) -> dict[str, float]:
            said.append("round")
            if said.count("round") == 2:
                raise RuntimeError("the guest is gone")
            return {"a": 1.0}

        async def __aenter__(self) -> Session:
            said.append("begin")
            return self

        async def __aexit__(self, *_: object) -> None:
            said.append("end")

    import benchmarks.rows

    monkeypatch.setattr(benchmarks.rows, "session", Session)
    with other("rows", quick=True) as measurable:
        assert measurable.measure() == Found({"a": 1.0})
        assert measurable.measure() == Found(failures={"rows": "RuntimeError: the guest is gone"})
    assert said == ["begin", "round", "round", "end"]


def test_a_result_survives_its_file(tmp_path: Path) -> None:
    result = Result(
        {"cpu": "one"},
        {"rounds": 1},
        [SubjectRecord("a uvloop", "a", "peer", "uvloop", "unix socket", "as it is", {"a": "1.0"})],
        [{"a uvloop/x/y": 1.25}],
        [{"b": "why"}],
        3.0,
    )
    save(result, tmp_path / "new" / "result.json")
    assert load(tmp_path / "new" / "result.json") == result


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "is no result"),
        ("{", "is no result"),
        ('{"environment": {}, "options": {}, "subjects": []}', "has no rounds"),
        (None, "No such file"),
    ],
)
def test_what_is_no_result_is_said_in_one_line(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "result.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UnreadableResult, match=said) as caught:
        load(path)
    assert "\n" not in str(caught.value)
