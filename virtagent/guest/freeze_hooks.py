"""The guest's freeze hooks: programs run with "freeze" before a freeze and with "thaw" after it, as qemu-ga's are."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Sequence

__all__ = ["find_hooks"]

log = logging.getLogger("virtagent.storage")

MOST = 64
"""Hooks that are run."""

_LEFT_OVER = (
    "~",
    ".bak",
    ".orig",
    ".rpmnew",
    ".rpmorig",
    ".rpmsave",
    ".sample",
    ".dpkg-old",
    ".dpkg-new",
    ".dpkg-dist",
)
"""Ends of names that no hook has: what editors and package managers leave, and samples."""


def find_hooks(folders: Sequence[str]) -> list[str]:
    """The programs in these folders, in the order of folders and names; the thaw goes the other way round.

    What others than root or this user may change is left out, and logged: it would be run with the agent's rights.
    """
    found: list[str] = []
    for folder in folders:
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            continue
        if not _trusted(folder):
            log.warning("freeze hooks in %s are not run: others than root may change the folder", folder)
            continue
        for name in names:
            path = os.path.join(folder, name)
            if name.startswith(".") or name.endswith(_LEFT_OVER) or not _is_program(path):
                continue
            if _trusted(path):
                found.append(path)
            else:
                log.warning("the freeze hook %s is not run: others than root may change it", path)
    return found[:MOST]


def _is_program(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def _trusted(path: str) -> bool:
    try:
        found = os.stat(path)
    except OSError:
        return False
    return found.st_uid in (0, os.geteuid()) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
