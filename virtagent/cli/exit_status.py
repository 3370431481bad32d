"""Exit codes of commands that pass a program's on: as ``docker exec`` and ``timeout`` have them (docs/cli.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

from virtagent.cli.failures import EXIT_FAILED
from virtagent.cli.output import complain
from virtagent.cli.text import one_line
from virtagent.errors import CallError, InvalidArgument, NotFound, PermissionDenied, UsageError

if TYPE_CHECKING:
    from virtagent.api.processes import ProcessExited

__all__ = ["EXIT_CANNOT_RUN", "EXIT_NO_PROGRAM", "EXIT_OURS", "EXIT_TIMED_OUT", "PassingCommand", "Status", "status_of"]

EXIT_TIMED_OUT = 124
EXIT_OURS = 125
"""What failed was not the program: no guest, wrong usage, a lost session, ..."""
EXIT_CANNOT_RUN = 126
EXIT_NO_PROGRAM = 127

_OURS = range(EXIT_FAILED, 10)
"""What this program's other commands end with (failures.py)."""

Result = TypeVar("Result")


def status_of(exited: ProcessExited) -> int:
    """A program's end as a shell tells it: its exit status, or 128 and the signal's number."""
    if exited.timed_out:
        return EXIT_TIMED_OUT
    return 128 + exited.signal_number if exited.code is None else exited.code


class Status:
    """The exit code of a program, if it came to its end: a lost session must not look like one.

    Attributes:
        code: what the program gave; None: it did not come to its end.
    """

    def __init__(self) -> None:
        self.code: int | None = None

    def refused(self, error: CallError) -> bool:
        """Tell of a program that could not be started; False: the error is about something else."""
        if not (isinstance(error.data, dict) and "program" in error.data):
            return False
        if isinstance(error, NotFound):
            self.code = EXIT_NO_PROGRAM
        elif isinstance(error, (PermissionDenied, InvalidArgument)):
            self.code = EXIT_CANNOT_RUN
        else:
            return False
        complain(one_line(str(error)))
        return True

    def final(self, code: int) -> int:
        """The exit code of this program, which would be ``code`` without the other's."""
        if self.code is not None:
            return self.code
        return EXIT_OURS if code in _OURS else code


class PassingCommand(click.Command):
    """A command whose own mistakes in usage end with 125, as 2 may be the program's; options end at the first word."""

    allow_interspersed_args = False

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return _ours(ctx, lambda: super(PassingCommand, self).parse_args(ctx, args))

    def invoke(self, ctx: click.Context) -> object:
        return _ours(ctx, lambda: super(PassingCommand, self).invoke(ctx))


def _ours(context: click.Context, work: Callable[[], Result]) -> Result:
    from virtagent.cli.main import usage_text  # noqa: PLC0415 - main loads the commands

    try:
        return work()
    except click.UsageError as error:
        complain(usage_text(error))
        context.exit(EXIT_OURS)
    except UsageError as error:
        complain(str(error))
        context.exit(EXIT_OURS)
