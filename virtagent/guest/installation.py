"""What makes the agent a service of a guest with systemd: units, udev rule, configuration; put in place and removed.

It serves guests that have the agent from pip or as virtagentd.pyz; Debian's package brings the same files itself. Each
step says what it did, or would do, and doing it again changes nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

__all__ = ["Installation", "InstallationError", "shipped"]

UNIT = "virtagentd.service"
UNITS = (UNIT, "virtagentd@.service")
RULE = "60-virtagent.rules"
CONFIGURATION = "agent.toml"

UNIT_DIRECTORY = "/etc/systemd/system"
RULE_DIRECTORY = "/etc/udev/rules.d"
CONFIGURATION_DIRECTORY = "/etc/virtagent"
ARCHIVE = "/usr/local/lib/virtagent/virtagentd.pyz"
"""Where an agent in a single file is copied to: the place from which it was run may be a memory stick."""

PORT = "/dev/virtio-ports/org.virtagent.0"
PACKAGED = f"/usr/lib/systemd/system/{UNIT}"
"""Where the Debian package has the unit."""
PROGRAM = "ExecStart=/usr/bin/virtagentd"
"""In the units, as the Debian package has them."""

STATE, MADE_AT_RUN_TIME = "/var/lib/virtagent", ("/var/cache/virtagent", "/run/virtagent")

_PRESENT = {"wrote": "write", "made": "make", "enabled": "enable", "removed": "remove"}

COMMAND_TIMEOUT = 30.0
"""Seconds for one command of systemd or udev."""


class InstallationError(Exception):
    """Why nothing, or not all, was done, and what to do about it; one line."""


def shipped(name: str) -> str:
    """A file of packaging/, from the wheel, or from the checkout that this is run from."""
    here = Path(__file__)
    for directory in (here.with_name("packaging"), here.parents[2] / "packaging"):
        if (directory / name).is_file():
            return (directory / name).read_text(encoding="utf-8")
    raise InstallationError(f"this installation lacks {name}: install virtagent from its wheel again")


class Installation:
    """The agent as a service, below `root`.

    Args:
        command: what starts the agent in the guest.
        root: the guest's root directory: "/", or an image that is mounted there.
        archive: the virtagentd.pyz to copy into the guest, for a `command` that runs :data:`ARCHIVE`.
        dry_run: nothing is changed, and what would be is said.
        say: called with each line.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        root: Path = Path("/"),
        archive: Path | None = None,
        dry_run: bool = False,
        say: Callable[[str], None] = print,
    ) -> None:
        self._command = command
        self._root = root.absolute()
        self._archive = archive
        self._dry_run = dry_run
        self._say = say

    def install(self) -> None:
        """Put everything in place, and start the agent if this is the running system and has the port.

        Raises:
            InstallationError: not root, no systemd, the package is installed, or a file cannot be written.
        """
        self._check()
        self._check_guest()
        changed = False
        if self._archive is not None:
            changed |= self._write(ARCHIVE, self._archive.read_bytes(), 0o755)
        for name in UNITS:
            text = shipped(name).replace(PROGRAM, f"ExecStart={unit_words(self._command)}")
            changed |= self._write(f"{UNIT_DIRECTORY}/{name}", text.encode())
        changed |= self._write(f"{RULE_DIRECTORY}/{RULE}", shipped(RULE).encode())
        self._configure()
        changed |= self._link(f"{UNIT_DIRECTORY}/{wanted_by(shipped(UNIT))}.wants/{UNIT}", f"{UNIT_DIRECTORY}/{UNIT}")
        if self._running:
            self._reload()
            self._run("udevadm", "trigger", "--action=change", "--subsystem-match=virtio-ports")
            if os.path.exists(PORT):
                self._run("systemctl", "restart" if changed else "start", UNIT)
            else:
                self._say(f"{UNIT} starts when there is {PORT}: give the machine such a port")

    def uninstall(self, *, purge: bool = False) -> None:
        """Stop the agent and remove what :meth:`install` put in place, and what the agent has written meanwhile.

        A configuration that was changed and what the agent keeps in /var/lib/virtagent stay, unless `purge`.

        Raises:
            InstallationError: not root, the package is installed, or a file cannot be removed.
        """
        self._check()
        if self._running:
            self._run("systemctl", "stop", UNIT, "virtagentd@*.service")
        for name in self._links():
            self._remove(name)
        for name in UNITS:
            self._remove(f"{UNIT_DIRECTORY}/{name}")
        self._remove(f"{RULE_DIRECTORY}/{RULE}")
        configuration = f"{CONFIGURATION_DIRECTORY}/{CONFIGURATION}"
        if purge or self._content(configuration) in (None, shipped(CONFIGURATION).encode()):
            self._remove(configuration)
        else:
            self._say(f"kept {configuration}, which was changed (--purge removes it)")
        self._remove(ARCHIVE)
        if purge:
            self._remove_tree(STATE)
        for directory in (f"{CONFIGURATION_DIRECTORY}/services", CONFIGURATION_DIRECTORY, os.path.dirname(ARCHIVE)):
            self._remove_empty(directory)
        self._remove_empty(STATE)
        if self._place(STATE).is_dir() and not self._dry_run:
            self._say(f"kept {STATE}, which is not empty (--purge removes it)")
        if self._running:
            self._reload()
        # Last: virtagentd.pyz itself may run from there.
        for directory in MADE_AT_RUN_TIME:
            self._remove_tree(directory)

    # -- checks --------------------------------------------------------------------------------------------------

    @property
    def _running(self) -> bool:
        """Whether this is the system that runs, and not an image."""
        return self._root == Path("/") and os.path.isdir("/run/systemd/system")

    def _check(self) -> None:
        if self._root == Path("/") and os.geteuid() != 0 and not self._dry_run:
            raise InstallationError("only root can change a system's services: run it with sudo, or as root")
        if self._running and not self._dry_run and below_agent(Path("/proc/self/cgroup").read_text()):
            raise InstallationError(
                "this was started through the agent, which it would end, and itself with it: put systemd-run before it"
            )
        if not self._root.is_dir():
            raise InstallationError(f"{self._root} is no directory: mount the image and name its root")
        if self._place(PACKAGED).exists():
            raise InstallationError("the Debian package has this in place: use apt install or apt remove virtagent")

    def _check_guest(self) -> None:
        if not any(self._place(f"{usr}/lib/systemd/systemd").exists() for usr in ("/usr", "")):
            raise InstallationError("there is no systemd in this guest: have its own init start virtagentd")
        program = self._command[0]
        if not os.path.lexists(self._place(program)):
            raise InstallationError(f"{self._root} has no {program}: install virtagent there, or use virtagentd.pyz")

    def _place(self, path: str) -> Path:
        """A guest's path below the root, followed through the guest's own links in the directories above it."""
        place = self._root
        links = 0
        names = [name for name in reversed(path.split("/")) if name]
        while names:
            name = names.pop()
            if name == "..":
                place = place if place == self._root else place.parent
                continue
            if names and (place / name).is_symlink():
                links += 1
                if links > 40:  # as the kernel has it (path_resolution(7))
                    raise InstallationError(f"too many symbolic links on the way to {path}")
                target = os.readlink(place / name)
                place = self._root if target.startswith("/") else place
                names += [part for part in reversed(target.split("/")) if part not in ("", ".")]
                continue
            place /= name
        return place

    # -- steps ---------------------------------------------------------------------------------------------------

    def _configure(self) -> None:
        path = f"{CONFIGURATION_DIRECTORY}/{CONFIGURATION}"
        if self._content(path) not in (None, shipped(CONFIGURATION).encode()):
            self._say(f"kept {path}, which was changed")
        else:
            self._write(path, shipped(CONFIGURATION).encode())
        services = self._place(f"{CONFIGURATION_DIRECTORY}/services")
        if not services.is_dir():
            self._did("made", f"{CONFIGURATION_DIRECTORY}/services", lambda: services.mkdir(mode=0o755, parents=True))

    def _content(self, path: str) -> bytes | None:
        place = self._place(path)
        return place.read_bytes() if place.is_file() and not place.is_symlink() else None

    def _write(self, path: str, content: bytes, mode: int = 0o644) -> bool:
        place = self._place(path)
        if self._content(path) == content and place.stat().st_mode & 0o777 == mode:
            self._say(f"unchanged {path}")
            return False
        self._did("wrote", path, lambda: _write_atomically(place, content, mode))
        return True

    def _link(self, path: str, target: str) -> bool:
        place = self._place(path)
        if place.is_symlink() and os.readlink(place) == target:
            self._say(f"unchanged {path}")
            return False

        def make() -> None:
            place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            place.symlink_to(target)

        self._did("enabled", path, make)
        return True

    def _links(self) -> Iterator[str]:
        """All links below systemd's configuration that enable one of the units, instances among them."""
        directory = self._place(UNIT_DIRECTORY)
        for link in sorted((*directory.glob("*.wants/virtagentd*.service"), *directory.glob("*.requires/virtagentd*"))):
            if link.is_symlink():
                yield f"{UNIT_DIRECTORY}/{link.relative_to(directory)}"

    def _remove(self, path: str) -> None:
        place = self._place(path)
        if os.path.lexists(place):
            self._did("removed", path, place.unlink)
            if place.parent.name.endswith((".wants", ".requires")):
                with contextlib.suppress(OSError):
                    place.parent.rmdir()

    def _remove_tree(self, path: str) -> None:
        place = self._place(path)
        if place.is_dir() and not place.is_symlink():
            self._did("removed", path, lambda: shutil.rmtree(place))

    def _remove_empty(self, path: str) -> None:
        place = self._place(path)
        if place.is_dir() and not place.is_symlink() and not any(place.iterdir()):
            self._did("removed", path, place.rmdir)

    def _did(self, what: str, path: str, act: Callable[[], object]) -> None:
        if self._dry_run:
            self._say(f"would {_PRESENT[what]} {path}")
            return
        try:
            act()
        except OSError as error:
            raise InstallationError(f"{path}: {error.strerror}") from error
        self._say(f"{what} {path}")

    def _reload(self) -> None:
        self._run("systemctl", "daemon-reload")
        if shutil.which("udevadm") is not None:
            self._run("udevadm", "control", "--reload")

    def _run(self, *command: str) -> None:
        line = " ".join(command)
        if self._dry_run:
            self._say(f"would run {line}")
            return
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise InstallationError(f"{line}: {error}") from error
        if done.returncode:
            complaint = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
            raise InstallationError(f"{line}: {complaint}")
        self._say(f"ran {line}")


def below_agent(control_groups: str) -> bool:
    """Whether a process with this /proc/PID/cgroup belongs to the agent's unit, and ends with it."""
    return re.search(r"/virtagentd(@[^/]*)?\.service", control_groups) is not None


def wanted_by(unit: str) -> str:
    """The unit that ``WantedBy=`` names."""
    found = re.search(r"^WantedBy=(\S+)$", unit, re.MULTILINE)
    assert found is not None
    return found.group(1)


def unit_words(words: Iterable[str]) -> str:
    """A command as ``ExecStart=`` wants it (systemd.service(5), "Command lines")."""
    return " ".join(map(_unit_word, words))


def _unit_word(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$").replace('"', '\\"')
    return escaped if re.fullmatch(r"[\w./:=@%$+,-]+", escaped) else f'"{escaped}"'


def _write_atomically(place: Path, content: bytes, mode: int) -> None:
    place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor, scratch = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.chmod(scratch, mode)
        os.replace(scratch, place)
    except BaseException:
        os.unlink(scratch)
        raise
