"""Modules as services: their annotated public functions are what a peer may call."""

from __future__ import annotations

import types

from virtagent.errors import UsageError
from virtagent.peer.handler import Handler
from virtagent.service.handlers import make_handler
from virtagent.service.method import Method
from virtagent.service.options import options_of
from virtagent.service.service import check_name

__all__ = ["module_service"]


def module_service(module: types.ModuleType, name: str | None = None) -> list[Handler]:
    """Make handlers from the public functions that a module defines itself (and lists, if it has an ``__all__``).

    Args:
        module: the module.
        name: the service's name; by default the last part of the module's.

    Raises:
        UsageError: a function that the wire cannot have, or no public function at all.
    """
    prefix = check_name(module.__name__, name or module.__name__.rpartition(".")[2])
    listed = getattr(module, "__all__", None)
    functions = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, types.FunctionType)
        and value.__module__ == module.__name__
        and not key.startswith("_")
        and (listed is None or key in listed)
    }
    if not functions:
        raise UsageError(f"{module.__name__} defines no public function")
    handlers: dict[str, Handler] = {}
    for key, function in functions.items():
        where = f"{prefix}.{key}"
        options = options_of(function)
        wire = check_name(where, f"{prefix}.{options.name or key}")
        if wire in handlers:
            raise UsageError(f"{where}: another function has the name {wire!r}; rename one")
        method = Method(where, function, wire=options.name or key, options=options, bound=False)
        _ = method.signature  # a mistake in it is told now
        handlers[wire] = make_handler(wire, function, method)
    return list(handlers.values())
