"""Each kind of error has its exit code and says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from virtagent import errors
from virtagent.cli import failures
from virtagent.cli.arguments import size
from virtagent.errors import UsageError, VirtagentError


def refused() -> errors.ChannelUnavailable:
    error = errors.ChannelUnavailable("no permission")
    error.__cause__ = PermissionError()
    return error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NotFound("x"), 1),
        (errors.StreamReset("x"), 1),
        (errors.CallError("x", code=4711), 1),
        (errors.UrlError("x"), 2),
        (errors.ChannelBusy("x"), 3),
        (errors.NobodyAnswers("x"), 4),
        (errors.DeadlineExceeded("x"), 5),
        (errors.SessionLost("x"), 6),
        (errors.PeerGone("x"), 6),
        (errors.PeerClosed("x"), 6),
        (errors.PermissionDenied("x"), 7),
        (refused(), 7),
    ],
)
def test_every_error_has_its_exit_code_and_is_one_line(error: VirtagentError, code: int) -> None:
    assert failures.exit_code(error) == code
    assert "\n" not in failures.explain(error)


def test_the_exit_codes_are_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    codes = {getattr(failures, name) for name in failures.__all__ if name.startswith("EXIT_")}
    assert all(f"\n| {code} | " in text for code in codes)


def test_what_a_guest_wrote_into_an_error_stays_one_harmless_line() -> None:
    assert failures.explain(errors.UnknownError("a\nb\x1b[2J")) == "a b\\x1b[2J"


@pytest.mark.parametrize(("text", "value"), [("4096", 4096), ("64K", 65536), ("1MiB", 1 << 20), ("2g", 2 << 30)])
def test_sizes_are_read_as_people_write_them(text: str, value: int) -> None:
    assert size(text) == value


@pytest.mark.parametrize("text", ["", "-1", "1.5M", "K", "9999999T"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no number of bytes"):
        size(text)
