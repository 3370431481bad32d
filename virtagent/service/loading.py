"""Services of third parties: from installed packages, and from a folder of files.

A package names them in the entry-point group ``virtagent.services``; a drop-in file is one module. Either gives service
classes (made without arguments), service instances, or a module, whose service classes count, or its public functions
if it has none. What is broken is reported by name and stops nothing else.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import stat
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from virtagent.errors import UsageError
from virtagent.peer.handler import Handler
from virtagent.service.module import module_service
from virtagent.service.service import Service, handlers_of

__all__ = ["ENTRY_POINTS", "LoadedService", "Loading", "Problem", "load_entry_points", "load_folder"]

ENTRY_POINTS = "virtagent.services"

_MODULES = "virtagent_drop_in_"
"""What the names of drop-in modules start with in ``sys.modules``."""


@dataclass(frozen=True, slots=True)
class LoadedService:
    """One service that was found.

    Attributes:
        source: the file, or the entry point and its package.
        handlers: its methods, to be added to a router.
    """

    source: str
    handlers: list[Handler]


@dataclass(frozen=True, slots=True)
class Problem:
    """One that could not be loaded, and why, in one line."""

    source: str
    message: str

    def __str__(self) -> str:
        return f"{self.source}: {self.message}"


@dataclass(slots=True)
class Loading:
    """What was loaded, and what was not."""

    loaded: list[LoadedService] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    _taken: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._taken.update(each.name for each in self.handlers)

    @property
    def handlers(self) -> list[Handler]:
        """The methods of all loaded services."""
        return [handler for each in self.loaded for handler in each.handlers]

    def attempt(self, source: str, load: Callable[[], Any]) -> None:
        """Load one thing; whatever goes wrong in foreign code becomes a problem."""
        try:
            handlers = [handler for each in _services_in(load()) for handler in each]
            names: set[str] = set()
            for name in (each.name for each in handlers):
                if name in self._taken or name in names:
                    raise UsageError(f"the method {name!r} exists already; give the service another name")
                names.add(name)
        except UsageError as error:
            self.problems.append(Problem(source, str(error)))
        except (Exception, SystemExit) as error:
            text = " ".join(str(error).split())
            self.problems.append(Problem(source, f"{type(error).__name__}: {text}" if text else type(error).__name__))
        else:
            self._taken |= names
            self.loaded.append(LoadedService(source, handlers))


def _services_in(found: Any) -> Iterator[list[Handler]]:
    if isinstance(found, types.ModuleType):
        classes = [
            each
            for each in vars(found).values()
            if isinstance(each, type) and issubclass(each, Service) and each.__module__ == found.__name__
        ]
        classes = [each for each in classes if not (each._service_interface or each.__name__.startswith("_"))]
        if not classes:
            yield module_service(found, getattr(found, "__service_name__", None))
        for cls in classes:
            yield handlers_of(cls())
    elif isinstance(found, type) and issubclass(found, Service):
        yield handlers_of(found())
    else:
        yield handlers_of(found)


def load_entry_points(group: str = ENTRY_POINTS) -> Loading:
    """Load the services that installed packages name. Their code runs with the rights of this process."""
    loading = Loading()
    for each in sorted(importlib.metadata.entry_points(group=group), key=lambda point: (point.name, point.value)):
        package = f" of {each.dist.name}" if each.dist is not None else ""
        loading.attempt(f"entry point {each.name!r}{package}", each.load)
    return loading


def load_folder(path: str | os.PathLike[str]) -> Loading:
    """Load each ``*.py`` file of a folder, by name; those that start with ``_`` or ``.`` are left alone.

    Nobody but root and this process's user may be able to change what runs: the folder, the folders above it and the
    files must belong to one of them, and be writable by no one else (as sshd's StrictModes has it). Links are not
    followed. A folder that does not exist holds nothing.
    """
    loading = Loading()
    folder = Path(os.path.realpath(path))
    if not folder.exists():
        return loading
    try:
        _check_folder(folder)
        files = sorted(each for each in folder.iterdir() if each.suffix == ".py" and each.name[0] not in "._")
    except (UsageError, OSError) as error:
        loading.problems.append(Problem(str(folder), str(error)))
        return loading
    for file in files:
        loading.attempt(str(file), lambda file=file: _load_file(file))  # type: ignore[misc]
    return loading


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise UsageError("is no folder; put services as *.py files into a folder, and name that")
    for each in (folder, *folder.parents):
        found = each.stat()
        # In a sticky folder, such as /tmp, others can add names but not exchange ours.
        sticky = each != folder and bool(found.st_mode & stat.S_ISVTX)
        _check_owner("it" if each == folder else f"the folder above it, {each},", found, sticky=sticky)


def _check_owner(what: str, found: os.stat_result, *, sticky: bool = False) -> None:
    if found.st_uid not in (0, os.geteuid()):
        raise UsageError(f"{what} belongs to user {found.st_uid}; it must belong to root or to user {os.geteuid()}")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky:
        raise UsageError(f"{what} is writable by others; chmod go-w it")


class _DropIn(importlib.abc.SourceLoader):
    """Reads the source through one checked descriptor, and neither reads nor writes cached bytecode."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def get_filename(self, fullname: str) -> str:
        return str(self._file)

    def get_data(self, path: str) -> bytes:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if os.path.islink(path):
                raise UsageError("is a link; put the file itself into the folder") from None
            raise UsageError(f"cannot be opened: {error.strerror}") from None
        with open(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise UsageError("is no regular file")
            _check_owner("it", found)
            return file.read()


def _load_file(file: Path) -> types.ModuleType:
    name = _MODULES + file.stem
    loader = _DropIn(file)
    module = importlib.util.module_from_spec(importlib.machinery.ModuleSpec(name, loader, origin=str(file)))
    module.__file__ = str(file)
    if not hasattr(module, "__service_name__"):
        module.__dict__["__service_name__"] = file.stem
    # Dataclasses and structs look their module up there while it runs.
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
