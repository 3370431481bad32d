"""``docs/qga.md``: what does the work of each of qemu-ga's commands here, and what it adds."""

from __future__ import annotations

from pathlib import Path

from schema.commands import COMMANDS, WINDOWS_ONLY
from schema.methods import all_methods

__all__ = ["PAGE", "coverage"]

PAGE = Path(__file__).parent.parent / "docs" / "qga.md"

HEAD = """# Coming from qemu-ga

Made from the schema by `make schema`: each command of the QEMU guest agent (as of QEMU 11.2), the method that does its
work here, and what that adds. Signatures are in [reference.md](reference.md), the programs' verbs in [cli.md](cli.md).

Common to all: any number of calls at a time over one channel, by any number of clients; no `guest-sync` dance, as every
answer carries its call's id; a deadline for every call, and cancellation that reaches the guest; bytes, not base64; an
error code, not only a text; a policy by role and peer with an audit line for each change.

| qemu-ga | virtagent | adds |
|---|---|---|
"""


def coverage() -> str:
    """The page.

    Raises:
        LookupError: a method that the agent does not have.
    """
    known = all_methods()
    lines = []
    for command, covered in COMMANDS.items():
        missing = [each for each in covered.methods if each not in known]
        if missing:
            raise LookupError(f"{command}: the agent has no {', '.join(missing)}")
        methods = ", ".join(f"`{each}`" for each in covered.methods) or "(not needed)"
        lines.append(f"| `{command}` | {methods} | {covered.adds} |")
    named = ", ".join(f"`{each}`" for each in WINDOWS_ONLY)
    tail = f"\nOf Windows only, and not here: {named}.\n"
    return HEAD + "\n".join(lines) + "\n" + tail
