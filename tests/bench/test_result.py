"""Results in files."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from tests.bench.samples import call_result, stream_result
from virtagent.bench import result as results
from virtagent.bench.result import Result, load_result
from virtagent.errors import UsageError


@pytest.mark.parametrize("made", [call_result(), stream_result()])
def test_a_result_is_read_again_as_it_was_written(made: Result, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(msgspec.json.encode(made))
    assert load_result(str(tmp_path / "a.json")) == made


def test_what_a_newer_version_adds_is_ignored(tmp_path: Path) -> None:
    data = json.loads(msgspec.json.encode(call_result()))
    data["weather"] = data["calls"][0]["weather"] = "fine"
    (tmp_path / "a.json").write_text(json.dumps(data))
    assert load_result(str(tmp_path / "a.json")) == call_result()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", "null", '{"schema": "virtagent-bench/2"}', "[" * 100_000, '{"a": 1}', "\x00\xff"],
)
def test_what_is_no_result_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UsageError, match="is no result of virtagent bench") as caught:
        load_result(str(tmp_path / "a.json"))
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="missing.json cannot be read: No such file"):
        load_result(str(tmp_path / "missing.json"))
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        load_result(str(tmp_path))


def test_a_file_without_end_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "LARGEST_FILE", 10)
    (tmp_path / "a.json").write_bytes(msgspec.json.encode(call_result()))
    with pytest.raises(UsageError, match="larger than any result"):
        load_result(str(tmp_path / "a.json"))
