"""Stubs: an interface's methods, as its caller calls them.

Arguments go by name, and those that were not given are left out: a peer that is older than an optional argument never
sees it unless it is used. Results may hold more than is known here; the rest is ignored. That is all of versioning.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

from virtagent.errors import InternalError, UsageError
from virtagent.peer.caller import Caller
from virtagent.service.annotation import REFUSALS, converter, plainer, type_name
from virtagent.service.method import Method, gives_nothing
from virtagent.service.service import Service, check_name, methods_of, service_name, unchecked_methods
from virtagent.service.signature import REQUIRED, Parameter
from virtagent.service.streams import TypedStream, outgoing, typed

__all__ = ["stub"]

S = TypeVar("S", bound=Service)

_MOST_SHAPES = 64
"""Orders in which the arguments of one method may be named: programs write a few."""


class _Stub:
    """What all stubs share; a method is made at its first use. Names are private, lest they hide a method's."""

    __slots__ = ("_caller", "_name")
    _interface: type[Service]

    def __init__(self, caller: Caller, name: str) -> None:
        self._caller = caller
        self._name = name

    def __repr__(self) -> str:
        return f"<stub of {self._interface.__qualname__} {self._name!r} over {self._caller!r}>"

    def __dir__(self) -> list[str]:
        return sorted(methods_of(self._interface))

    def __getattr__(self, name: str) -> Any:
        names = methods_of(self._interface)
        if name in names:
            setattr(type(self), name, _stub_method(f"{self._interface.__qualname__}.{name}", names[name]))
            return getattr(self, name)
        from difflib import get_close_matches  # noqa: PLC0415 - for mistakes only

        near = get_close_matches(name, names, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(sorted(names))}"
        raise AttributeError(f"{self._name} has no method {name!r}; {hint}", name=name, obj=self)


def stub(interface: type[S], caller: Caller, *, name: str | None = None) -> S:
    """The caller's side of a service: an object with the interface's methods, each a call to the peer.

    ``async def`` methods are calls; methods that give an ``AsyncIterator`` are streams (a
    :class:`~virtagent.service.streams.TypedStream`: leave its ``async with`` block or ``aclose`` it to end it early); a
    ``def`` that gives None is a notification: sent, never answered. Deadlines and the like travel with the caller:
    ``stub(System, peer.with_options(deadline=5))``.

    Args:
        interface: a service class; for a type checker, the result is an instance of it.
        caller: sends the calls.
        name: another name than the interface's.

    Raises:
        UsageError: the interface cannot be called from afar: no name, or a plain ``def`` with a result.

    Calls raise ``TypeError`` for arguments that the method does not have, as Python does, what
    :meth:`~virtagent.peer.caller.Caller.call` raises, and ``InternalError`` if the result is not of the stated type.
    """
    wire = service_name(interface) if name is None else check_name(interface.__qualname__, name)
    return cast(S, _stub_class(interface)(caller, wire))


_classes: dict[type[Service], type[_Stub]] = {}
"""One for each interface, made at its first use."""


def _stub_class(interface: type[Service]) -> type[_Stub]:
    if interface in _classes:
        return _classes[interface]
    for each in unchecked_methods(interface):
        _check_kind(each)
    body: dict[str, Any] = {"__slots__": (), "__doc__": interface.__doc__, "_interface": interface}
    made = _classes[interface] = type(f"{interface.__name__}Stub", (_Stub,), body)
    return made


def _check_kind(method: Method) -> None:
    signature = method.signature
    if not (signature.stream or signature.awaitable or gives_nothing(signature)):
        raise UsageError(
            f"{method.where} is a plain `def` with a result; a stub needs `async def` (with @in_thread, if it blocks)"
        )


def _stub_method(where: str, method: Method) -> Callable[..., Any]:
    _check_kind(method)
    signature, function = method.signature, inspect.unwrap(method.function)
    shape = _call_shape(method)
    pack = _Packer(where, signature.parameters, shape)
    if signature.stream is not None:
        made = _streaming(where, method, pack)
    else:
        made = _calling(method, pack) if signature.awaitable else _notifying(method, pack)
    made.__name__, made.__qualname__, made.__module__ = function.__name__, where, function.__module__
    made.__doc__ = method.doc or None
    made.__signature__ = shape.replace(  # type: ignore[attr-defined]
        parameters=[inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY), *shape.parameters.values()]
    )
    return made


def _call_shape(method: Method) -> inspect.Signature:
    """The function's signature as a caller sees it: without ``self`` and the context."""
    names = {each.name for each in method.signature.parameters}
    full = inspect.signature(inspect.unwrap(method.function))
    return full.replace(parameters=[each for each in full.parameters.values() if each.name in names])


class _Packer:
    """Makes params by name from a Python call's arguments.

    Attributes:
        known: the names of arguments that were found to be params as they are. To look for them here costs a third of
            comparing them anew; whoever calls has a few such shapes, and more than :data:`_MOST_SHAPES` are not kept.
    """

    __slots__ = ("_allowed", "_encoders", "_none_is_left_out", "_positional", "_required", "_shape", "_where", "known")

    def __init__(self, where: str, parameters: tuple[Parameter, ...], shape: inspect.Signature) -> None:
        self._where = where
        self._shape = shape
        self._positional = [each.name for each in parameters if each.positional]
        self._allowed = frozenset(each.name for each in parameters if not each.positional_only)
        self._required = frozenset(each.name for each in parameters if each.default is REQUIRED)
        self._none_is_left_out = frozenset(each.name for each in parameters if each.default is None)
        encoders = {
            each.name: plainer(each.annotation) if each.stream is None else outgoing(each.annotation, each.stream)
            for each in parameters
        }
        self._encoders = {name: encode for name, encode in encoders.items() if encode is not None}
        self.known: set[tuple[str, ...]] = set()

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        params = {**dict(zip(self._positional, args, strict=False)), **kwargs} if args else kwargs
        # Fewer params than arguments: too many by position, or one given twice.
        if len(params) < len(args) + len(kwargs) or not (
            params.keys() >= self._required and kwargs.keys() <= self._allowed
        ):
            try:
                self._shape.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{self._where}() {error}") from None
        for name in self._none_is_left_out:
            if name in params and params[name] is None:
                del params[name]
        for name, encode in self._encoders.items():
            if name in params:
                params[name] = encode(params[name])
        if not args and not (self._encoders or self._none_is_left_out) and len(self.known) < _MOST_SHAPES:
            self.known.add(tuple(kwargs))
        return params


def _refuser(name: str) -> Callable[[str], InternalError]:
    return lambda text: InternalError(f"{name}: the peer's answer is not what the interface says: {text}")


def _calling(method: Method, pack: _Packer) -> Callable[..., Any]:
    wire, returns, known = f".{method.wire}", method.signature.returns, pack.known
    nothing, to_type = gives_nothing(method.signature), converter(returns)

    async def finish(call: Any, name: str) -> Any:
        result = await call
        if nothing:
            return None
        try:
            return to_type(result)
        except REFUSALS as error:
            told = f"expected {type_name(returns)}, got {type(result).__name__} ({ascii(str(error))[1:-1]})"
            raise _refuser(name)(told) from None

    def call(self: _Stub, /, *args: Any, **kwargs: Any) -> Any:
        name = self._name + wire
        params = kwargs if tuple(kwargs) in known and not args else pack(args, kwargs)
        return finish(self._caller.call(name, **params), name)

    return call


def _streaming(where: str, method: Method, pack: _Packer) -> Callable[..., Any]:
    wrap = typed(method.signature.returns, _refuser(where))
    wire = f".{method.wire}"

    def stream(self: _Stub, /, *args: Any, **kwargs: Any) -> TypedStream[Any]:
        return wrap(self._caller.stream(self._name + wire, **pack(args, kwargs)))

    if not method.signature.awaitable:
        return stream

    async def awaited_stream(self: _Stub, /, *args: Any, **kwargs: Any) -> TypedStream[Any]:
        return stream(self, *args, **kwargs)

    return awaited_stream


def _notifying(method: Method, pack: _Packer) -> Callable[..., Any]:
    wire = f".{method.wire}"

    def notify(self: _Stub, /, *args: Any, **kwargs: Any) -> None:
        self._caller.notify(self._name + wire, **pack(args, kwargs))

    return notify
