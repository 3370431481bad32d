"""The files of a measurement: what it reads and writes, looked at before anything is measured."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from virtagent.bench.result import Result, load_result
from virtagent.errors import UsageError

__all__ = ["Earlier", "Outputs", "check_endings", "check_writable", "label", "prepare"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What becomes of a result.

    Attributes:
        save: the file to write it to.
        plots: pages and pictures to write.
        beside: earlier results that are plotted with it.
        compare: the earlier result that it is compared with.
        fail_above: the slowdown that is allowed: 0.05 is 5 %.
    """

    save: str | None
    plots: tuple[str, ...]
    beside: tuple[str, ...]
    compare: str | None
    fail_above: float


@dataclass(frozen=True, slots=True)
class Earlier:
    """Results that were read before the measurement, so that a wrong name does not cost one."""

    beside: dict[str, Result]
    compare: Result | None


def prepare(outputs: Outputs) -> Earlier:
    """Find out what is wrong with the files before anything is measured.

    Raises:
        UsageError: one cannot be read or written.
    """
    if outputs.beside and not outputs.plots:
        raise UsageError("--with adds to a plot; add --plot FILE, too")
    for path in (*outputs.plots, *([outputs.save] if outputs.save else [])):
        check_writable(path)
    if outputs.plots:
        check_endings(outputs.plots)
    return Earlier(
        {label(path): load_result(path) for path in outputs.beside},
        None if outputs.compare is None else load_result(outputs.compare),
    )


def check_endings(paths: tuple[str, ...]) -> None:
    """Refuse what is no kind of plot.

    Raises:
        UsageError: one is.
    """
    from virtagent.bench.plot import KINDS  # noqa: PLC0415 - matplotlib takes half a second

    for path in paths:
        if Path(path).suffix.lower() not in KINDS:
            raise UsageError(f"{path}: a plot is one of {', '.join(KINDS)}; give a name that ends so")


def check_writable(path: str) -> None:
    """Refuse a file that could not be written later.

    Raises:
        UsageError: it could not.
    """
    file = Path(path)
    try:
        if file.is_dir():
            raise UsageError(f"{path} is a directory; give a file")
        fine = os.access(file if file.exists() else file.parent, os.W_OK)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    if not fine:
        why = "no permission" if file.parent.is_dir() else f"there is no directory {file.parent}"
        raise UsageError(f"{path} cannot be written: {why}; give another file")


def label(path: str) -> str:
    """What to call a result that came from a file."""
    return Path(path).stem
