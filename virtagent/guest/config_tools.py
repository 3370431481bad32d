"""How each kind of configuration is run, and what that needs in the guest."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence

from virtagent.api.config import ConfigKind, ConfigTool
from virtagent.errors import InvalidArgument, Unavailable

__all__ = ["command_line", "digest_of", "succeeded", "tools"]

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/puppetlabs/bin"
SHELL = "/bin/sh"
LONGEST_FIRST_LINE = 255
"""Bytes of a ``#!`` line that the kernel looks at (BINPRM_BUF_SIZE)."""

PROGRAMS: Mapping[ConfigKind, tuple[str, str]] = {
    "script": ("sh", "install a shell"),
    "ansible": ("ansible-playbook", "install ansible-core in the guest"),
    "puppet": ("puppet", "install puppet-agent in the guest"),
}


def tools() -> list[ConfigTool]:
    """What can be run here."""
    found = []
    for kind, (program, remedy) in PROGRAMS.items():
        path = shutil.which(program, path=PATH) or ""
        found.append(ConfigTool(kind=kind, program=program, path=path, remedy="" if path else remedy))
    return found


def command_line(kind: ConfigKind, file: str, content: str, interpreter: str, arguments: Sequence[str]) -> list[str]:
    """What runs a piece.

    Args:
        file: where its content is.

    Raises:
        Unavailable: the tool is missing.
        InvalidArgument: an interpreter for what has none.
    """
    if kind == "script":
        return [*(_interpreter(content) if interpreter == "" else [interpreter]), file, *arguments]
    if interpreter:
        raise InvalidArgument(f"only scripts have an interpreter; {kind} content is run by {PROGRAMS[kind][0]}")
    program, remedy = PROGRAMS[kind]
    path = shutil.which(program, path=PATH)
    if path is None:
        raise Unavailable(f"the guest has no {program}: {remedy}")
    if kind == "ansible":
        return [path, "-i", "localhost,", "-c", "local", *arguments, file]
    return [path, "apply", "--detailed-exitcodes", *arguments, file]


def _interpreter(content: str) -> list[str]:
    """That of the first line, as the kernel reads it: a program, and all the rest as one argument."""
    if not content.startswith("#!"):
        return [SHELL]
    words = content.partition("\n")[0][2:LONGEST_FIRST_LINE].split(None, 1)
    return [each.strip() for each in words] or [SHELL]


def succeeded(kind: ConfigKind, code: int | None) -> bool:
    """Whether an exit status tells of success. 2 is "there were changes" to ``puppet apply --detailed-exitcodes``."""
    return code == 0 or (kind == "puppet" and code == 2)


def digest_of(
    kind: ConfigKind, content: str, interpreter: str, arguments: Sequence[str], env: Mapping[str, str]
) -> str:
    """Tells a piece from another one."""
    told = json.dumps([kind, content, interpreter, [*arguments], sorted(env.items())])
    return hashlib.sha256(told.encode()).hexdigest()
