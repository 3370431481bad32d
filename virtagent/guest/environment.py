"""What a measurement depends on: this process, its interpreter and its machine."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from pathlib import Path

from virtagent import __version__
from virtagent.api.bench import Environment
from virtagent.guest import facts
from virtagent.protocol import frames

__all__ = ["environment_here", "is_compiled", "loop_name"]

PACKAGES = ("msgpack", "msgspec", "uvloop")
"""What the hot path runs on; told from the loaded modules, since importlib.metadata would cost the agent 2 MiB."""

CPUINFO = Path("/proc/cpuinfo")
CPU_FIELDS = ("model name", "Processor", "cpu model", "uarch", "Model")
"""What /proc/cpuinfo calls the processor: x86, 32-bit arm, mips, riscv, a board."""


def environment_here(loop: str | None = None) -> Environment:
    """This end's environment.

    Args:
        loop: the event loop's name; None: the one that runs, if one does.
    """
    names = os.uname()
    return Environment(
        kernel=f"{names.sysname} {names.release}",
        machine=names.machine,
        boot_id=facts.boot_id(),
        virtualization=facts.virtualization(),
        cpu=cpu_model(CPUINFO),
        cpus=os.cpu_count(),
        usable_cpus=len(os.sched_getaffinity(0)),
        memory=facts.memory("MemTotal"),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        build=" ".join((platform.python_compiler(), *build_options(sysconfig.get_config_var("CONFIG_ARGS") or ""))),
        compiled=is_compiled(),
        loop=loop_name() if loop is None else loop,
        versions={"virtagent": __version__, **loaded_versions()},
        load=facts.load(),
        date=facts.now(),
    )


def cpu_model(path: Path) -> str:
    """The processor's model; "" where the kernel does not tell."""
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return next((fields[name] for name in CPU_FIELDS if fields.get(name)), "")


def build_options(arguments: str) -> list[str]:
    """The options that make an interpreter faster or slower, of those that it was configured with; no paths."""
    words = (word.strip("'\"") for word in arguments.split())
    return sorted(word for word in words if word.startswith(("--enable-", "--with", "--disable-")) and "/" not in word)


def is_compiled() -> bool:
    """Whether the hot modules are native code: they are compiled all together, or none is."""
    return not frames.__file__.endswith(".py")


def loop_name() -> str:
    """The module of the event loop that runs, such as "asyncio" or "uvloop"; "" outside of one."""
    asyncio = sys.modules.get("asyncio")
    loop = None if asyncio is None else asyncio._get_running_loop()
    return "" if loop is None else type(loop).__module__.partition(".")[0]


def loaded_versions() -> dict[str, str]:
    """The versions of those packages that are loaded."""
    found = {}
    for name in PACKAGES:
        module = sys.modules.get(name)
        version = getattr(module, "__version__", None) or getattr(module, "version", None)
        if version is not None:
            found[name] = version if isinstance(version, str) else ".".join(map(str, version))
    return found
