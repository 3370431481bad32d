"""Third parties' services in the daemon: installed packages and the drop-in folder."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from virtagent.peer.handler import Handler

__all__ = ["installed_handlers"]

log = logging.getLogger("virtagent.daemon")


def _has_modules(folder: str) -> bool:
    try:
        return any(name.endswith(".py") for name in os.listdir(folder))
    except OSError:
        return False


def installed_handlers(folder: str | None, taken: Callable[[str], bool], *, packages: bool) -> list[Handler]:
    """The methods that third parties add; what cannot be had is logged, and stops nothing.

    Args:
        folder: the drop-in folder, or None.
        taken: whether a name is that of one of the agent's own methods, which nobody may replace.
        packages: whether installed packages bring services.
    """
    drop_ins = folder is not None and _has_modules(folder)
    if folder is not None and not os.path.isdir(folder):
        log.warning("%s: no such folder of services; create it, or leave --services out", folder)
    if not packages and not drop_ins:
        return []
    # Only now: importlib.metadata and what it loads take 2 MiB.
    from virtagent.service.loading import load_entry_points, load_folder  # noqa: PLC0415

    handlers: dict[str, Handler] = {}
    loadings = [load_entry_points()] if packages else []
    if folder is not None and drop_ins:
        loadings.append(load_folder(folder))
    for loading in loadings:
        for problem in loading.problems:
            log.error("service not loaded: %s", problem)
        for service in loading.loaded:
            clash = next((each.name for each in service.handlers if taken(each.name) or each.name in handlers), None)
            if clash is not None:
                log.error("service not loaded: %s: the method %r exists already; rename it", service.source, clash)
                continue
            handlers.update((each.name, each) for each in service.handlers)
            log.info("service loaded: %s (%d methods)", service.source, len(service.handlers))
    return list(handlers.values())
