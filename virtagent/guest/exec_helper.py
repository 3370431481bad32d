"""Becomes a program, after what only the process itself can do: its limits, its controlling terminal, waiting for a
network filesystem.

``subprocess`` can do neither without ``preexec_fn``, whose Python code would run between fork and exec in a process
with threads: it may deadlock. So an interpreter of its own, which takes 8 ms, does :func:`become` and no more: what is
to be done, and the function's code (there may be no source: a zip file, ``.pyc`` files only), lie in a memory file
(memfd_create(2)); an error goes to a pipe as ``STAGE ERRNO``, and the pipe closes at the exec.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal.py takes longer to load than all the rest
import fcntl
import marshal
import os
import resource

__all__ = ["INTERPRETER_ARGUMENTS", "pack_order"]

INTERPRETER_ARGUMENTS = (
    "-I",
    "-S",
    "-c",
    (
        "import _signal, fcntl, marshal, os, resource, sys\n"
        "order, report = map(int, sys.argv[1:])\n"
        "os.set_inheritable(report, False)\n"
        "with open(order, 'rb') as memory:\n"
        "    code, order = marshal.load(memory)\n"
        "type(lambda: 0)(code, globals())(order, report)\n"
    ),
)
"""What the interpreter is given before the numbers of two descriptors: of the memory file, and of the pipe."""


def pack_order(
    program: str,
    argv: list[str],
    environment: dict[str, str],
    *,
    cwd: str = "",
    terminal: int | None,
    limits: dict[int, int],
    umask: int | None,
    identity: tuple[int, ...],
) -> bytes:
    """What the helper is to do; nothing in it may have a NUL byte.

    Args:
        program: an absolute path.
        argv, environment: for execve(2).
        cwd: the directory to go to; "": where it is.
        terminal: the number of TIOCSCTTY where stdin is to be the controlling terminal, or None.
        limits: values by the number of the resource, soft and hard.
        umask: None: as it is.
        identity: user, group and supplementary groups; (): as they are.
    """
    fields = [
        cwd,
        "" if terminal is None else str(terminal),
        " ".join(f"{which}={value}" for which, value in limits.items()),
        "" if umask is None else str(umask),
        " ".join(map(str, identity)),
        str(len(argv)),
        program,
        *argv,
        *(f"{name}={value}" for name, value in environment.items()),
    ]
    return marshal.dumps((become.__code__, b"".join(os.fsencode(each) + b"\0" for each in fields)))


def become(order: bytes, report: int) -> None:
    """Do what the order says; does not return. Uses only what INTERPRETER_ARGUMENTS import."""
    cwd, terminal, limits, umask, identity, count, program, *rest = order.split(b"\0")[:-1]
    argv, environment = rest[: int(count)], rest[int(count) :]
    stage = "terminal"
    try:
        for each in (_signal.SIGPIPE, _signal.SIGXFSZ):
            _signal.signal(each, _signal.SIG_DFL)  # Python ignores them
        if terminal:
            fcntl.ioctl(0, int(terminal), 0)
        stage = "directory"
        if cwd:
            os.chdir(cwd)  # as subprocess does it, before the change of user
        stage = "limits"
        for limit in limits.split():
            which, value = map(int, limit.split(b"="))
            resource.setrlimit(which, (value, value))
        if umask:
            os.umask(int(umask))
        stage = "user"
        if identity:
            uid, gid, *groups = map(int, identity.split())
            os.setgroups(groups)
            os.setgid(gid)
            os.setuid(uid)
        stage = "exec"
        os.execve(program, argv, dict(each.split(b"=", 1) for each in environment))  # noqa: S606 - a shell would be wrong
    except (OSError, ValueError, OverflowError) as error:
        number = getattr(error, "errno", None) or 22  # setrlimit's ValueError is EINVAL
        if "not allowed to raise" in str(error):
            number = 1  # EPERM, which setrlimit tells as a ValueError, too
        os.write(report, f"{stage} {number}".encode())
    os._exit(127)
