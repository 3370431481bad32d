"""Services: classes whose annotated public methods are what a peer may call."""

from __future__ import annotations

import re
import types
from functools import lru_cache
from typing import Any, ClassVar

from virtagent.errors import UsageError
from virtagent.peer.handler import Handler
from virtagent.service.handlers import make_handler
from virtagent.service.method import Method
from virtagent.service.options import MethodOptions, options_of
from virtagent.service.signature import UnresolvedName

__all__ = ["Service", "check_name", "handlers_of", "is_interface", "methods_of", "service_name", "unchecked_methods"]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(\.[A-Za-z][A-Za-z0-9_-]*)*")
_LONGEST = 255  # rule C1
_OWN = __name__.partition(".")[0]


class Service:
    """Base class of services: its annotated public methods become ``name.method`` on the wire.

    ::

        class Backup(Service, name="backup"):
            async def snapshot(self, path: str, *, level: int = 3, ctx: Context | None = None) -> Snapshot: ...

    A parameter annotated with ``Context`` gets the call's context and is not on the wire. A leading underscore keeps a
    method local; so do ``@property``, ``@classmethod`` and ``@staticmethod``. A subclass inherits methods and name.

    Args:
        name: the service's name on the wire; inherited.
        interface: the class only declares. Its methods are not registered until a subclass overrides them, and
            :func:`~virtagent.service.stub.stub` makes the caller's side from it. Not inherited.

    Raises:
        UsageError: when the class is defined, for a method that the wire cannot have.
    """

    _service_name: ClassVar[str | None] = None
    _service_interface: ClassVar[bool] = False
    _service_methods: ClassVar[dict[str, Method] | None] = None

    def __init_subclass__(cls, *, name: str | None = None, interface: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if name is not None:
            cls._service_name = check_name(cls.__qualname__, name)
        cls._service_interface = interface
        cls._service_methods = None
        for each in unchecked_methods(cls):
            try:
                _ = each.signature
            except UnresolvedName:
                continue  # the name may be defined further down in the module; registration asks again, and tells


def unchecked_methods(cls: type[Service]) -> list[Method]:
    """The methods whose annotations have to be read to find mistakes: this package's own have none (tests read them).

    Reading all of the agent's would take a sixth of its start.
    """
    methods = methods_of(cls)
    return [] if cls.__module__.partition(".")[0] == _OWN else list(methods.values())


@lru_cache(maxsize=1024)
def check_name(where: str, name: str) -> str:
    """The name, if it can be one on the wire.

    Raises:
        UsageError: it cannot.
    """
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise UsageError(
            f"{where}: {name[:64]!r} is no name for the wire; use letters, digits, '_' and '-', parts joined by '.'"
        )
    return name


def service_name(cls: type[Service]) -> str:
    """The service's name on the wire.

    Raises:
        UsageError: it was given none.
    """
    if cls._service_name is None:
        raise UsageError(f'{cls.__qualname__} has no name; write class {cls.__name__}(Service, name="...")')
    return cls._service_name


def is_interface(cls: type[Service]) -> bool:
    """Whether the class itself only declares."""
    return cls._service_interface


def methods_of(cls: type[Service]) -> dict[str, Method]:
    """The methods of a service class by their Python names, in the order of their first definition.

    Raises:
        UsageError: a method whose name the wire cannot have, or two methods of one name.
    """
    if cls._service_methods is None:
        services = [each for each in reversed(cls.__mro__) if issubclass(each, Service) and each is not Service]
        names = {
            name: None
            for each in services
            for name, value in vars(each).items()
            if not name.startswith("_") and isinstance(value, types.FunctionType)
        }
        methods = {name: each for name in names if (each := _find_method(cls, name)) is not None}
        _refuse_twins(cls, methods)
        cls._service_methods = methods
    return cls._service_methods


def _find_method(cls: type[Service], name: str) -> Method | None:
    owners = [each for each in cls.__mro__ if name in vars(each)]
    function = vars(owners[0])[name]
    if not isinstance(function, types.FunctionType):
        return None  # a subclass took it away, with `name = None`
    bodies = [body for each in owners if isinstance(body := vars(each)[name], types.FunctionType)]
    declaring = [each for each in owners if issubclass(each, Service) and each._service_interface and vars(each)[name]]
    where = f"{owners[0].__qualname__}.{name}"
    options = MethodOptions()
    for body in reversed(bodies):
        options = options_of(body).over(options)
    return Method(
        where,
        function,
        wire=check_name(where, options.name or name),
        options=options,
        overridden=tuple(bodies[1:]),
        declared_only=owners[0] in declaring,
        declarations=tuple(methods_of(each)[name] for each in declaring if each is not owners[0]),
    )


def _refuse_twins(cls: type[Service], methods: dict[str, Method]) -> None:
    wires: dict[str, str] = {}
    for name, each in methods.items():
        other = wires.setdefault(each.wire, name)
        if other != name:
            raise UsageError(f"{cls.__qualname__}: {other} and {name} have the same name {each.wire!r}; rename one")


def handlers_of(service: Service | Any, *, name: str | None = None) -> list[Handler]:
    """The handlers of a service: one for each method that its class implements.

    Args:
        service: the instance that serves.
        name: another name than its class has, for a second instance.

    Raises:
        UsageError: the service has no name, or a method that the wire cannot have.
    """
    if not isinstance(service, Service):
        what = f"the class {service.__name__}; give an instance" if isinstance(service, type) else repr(service)
        raise UsageError(f"a service is needed, not {what}")
    cls = type(service)
    prefix = service_name(cls) if name is None else check_name(cls.__qualname__, name)
    for each in unchecked_methods(cls):
        _ = each.signature
    return [
        make_handler(check_name(cls.__qualname__, f"{prefix}.{each.wire}"), getattr(service, attribute), each)
        for attribute, each in methods_of(cls).items()
        if not each.declared_only
    ]
