"""Arguments from the wire, checked and in the order in which the function takes them.

The fast path is one ``msgspec.convert`` into a struct made for the method; where that can only find the arguments to be
right as they are, they go to the function as they came. Only when it refuses, the arguments are looked at one by one to
say which one is wrong and what was expected.
"""

from __future__ import annotations

import functools
import reprlib
from collections.abc import Callable
from datetime import datetime
from typing import Any, NoReturn

import msgspec

from virtagent.errors import InvalidArgument
from virtagent.peer.context import Context
from virtagent.peer.handler import Params
from virtagent.service.annotation import REFUSALS, builtins_in, converter, is_scalar, type_name
from virtagent.service.signature import REQUIRED, Parameter, Signature
from virtagent.service.streams import typed

__all__ = ["Binder", "Invoker", "make_binder", "make_invoker"]

Binder = Callable[[Context, Params], tuple[tuple[Any, ...], dict[str, Any]]]
"""Makes the arguments by position and by keyword. Raises InvalidArgument and nothing else for what a peer sends."""

Invoker = Callable[[Callable[..., Any], Context, Params], Any]
"""Calls a function with arguments from the wire, and raises what a :data:`Binder` does."""

_SHOWN = 8
"""How many names an error lists at most: the peer chose them."""

_OWN_CHECK = (bytes, datetime)
"""Types of the wire that an argument either has or has not."""

_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 60


def _field_type(parameter: Parameter) -> Any:
    return Any if parameter.stream is not None else parameter.annotation


def _giving(value: Any) -> Callable[[], Any]:
    """The very default, as Python gives it: msgspec would copy some, and refuse others."""
    return lambda: value


def _struct(parameters: tuple[Parameter, ...], unchecked: tuple[type, ...] = ()) -> type[msgspec.Struct]:
    """Fields are ``p0``, ``p1``, ... so that no parameter's name can clash with a struct's own.

    Args:
        unchecked: types of parameters that may be anything here.
    """
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for index, each in enumerate(parameters):
        name, kind = f"p{index}", Any if each.annotation in unchecked else _field_type(each)
        if each.default is REQUIRED:
            fields.append((name, kind))
        else:
            fields.append((name, kind, msgspec.field(default_factory=_giving(each.default))))
    rename = {f"p{index}": each.name for index, each in enumerate(parameters)}
    return msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=True, rename=rename, gc=False)


def _explain(error: BaseException, value: Any, parameter: Parameter) -> str:
    """``argument 'rules[0].port': expected int, got str``: the place and what msgspec expected there."""
    text, _, place = str(error).partition(" - at `$")
    place = place.rstrip("`")
    if isinstance(error, msgspec.ValidationError) and place and not place.startswith(("`", "'")):
        words = text.replace("`", "")
        return f"argument '{parameter.name}{place}': {words[:1].lower()}{words[1:]}"
    wanted = type_name(parameter.annotation)
    return f"argument {parameter.name!r}: expected {wanted}, got {_short.repr(value)}"


class _Refusal:
    """Finds out what is wrong with arguments that the fast path refused."""

    def __init__(self, method: str, parameters: tuple[Parameter, ...]) -> None:
        self._method = method
        self._parameters = parameters
        self._names = [each.name for each in parameters]

    @functools.cached_property
    def _checks(self) -> list[tuple[Parameter, Callable[[Any], Any]]]:
        return [(each, converter(_field_type(each))) for each in self._parameters]

    def error(self, text: str) -> InvalidArgument:
        return InvalidArgument(f"{self._method}: {text}")

    def too_many(self, given: int, taken: int) -> InvalidArgument:
        return self.error(
            f"takes {taken} arguments by position, got {given}"
            if taken
            else f"takes no arguments by position, got {given}"
        )

    def unknown(self, names: list[Any]) -> InvalidArgument:
        shown = ", ".join(_short.repr(name) for name in names[:_SHOWN])
        takes = f"it takes {', '.join(self._names)}" if self._names else "it takes none"
        return self.error(f"unknown argument {shown}; {takes}")

    def __call__(self, arguments: dict[Any, Any], cause: BaseException) -> NoReturn:
        unknown = [name for name in arguments if name not in self._names]
        if unknown:
            raise self.unknown(unknown) from None
        for parameter, check in self._checks:
            if parameter.name not in arguments:
                if parameter.default is REQUIRED:
                    text = f"argument {parameter.name!r} is missing: expected {type_name(parameter.annotation)}"
                    raise self.error(text) from None
                continue
            value = arguments[parameter.name]
            try:
                check(value)
            except REFUSALS as error:
                raise self.error(_explain(error, value, parameter)) from None
        raise self.error(f"the arguments are not what it takes ({type(cause).__name__})") from None


def _stream_wrappers(refusal: _Refusal, parameters: tuple[Parameter, ...]) -> list[tuple[int, Callable[[Any], Any]]]:
    """What makes received stream parameters typed, by index. A default (None, say) stays as it is."""

    def wrapper(parameter: Parameter) -> Callable[[Any], Any]:
        name = f"argument {parameter.name!r}"
        wrap = typed(parameter.annotation, lambda text: refusal.error(f"{name}: {text}"))

        def checked(value: Any) -> Any:
            if value is parameter.default:
                return value
            if not hasattr(value, "__aiter__"):
                raise refusal.error(
                    f"{name}: expected a stream of {type_name(parameter.annotation)}, got {_short.repr(value)}"
                )
            return wrap(value)

        return checked

    return [(index, wrapper(each)) for index, each in enumerate(parameters) if each.stream is not None]


def make_binder(method: str, signature: Signature) -> Binder:
    """Build the binder of one method.

    Args:
        method: its name on the wire, for errors.
        signature: what it takes.
    """
    parameters = signature.parameters
    refusal = _Refusal(method, parameters)
    place = _placer(signature)
    by_position = [each.name for each in parameters if each.positional]
    if not parameters:

        def bind_nothing(context: Context, params: Params) -> tuple[tuple[Any, ...], dict[str, Any]]:
            if params:
                raise refusal.unknown(list(params)) if isinstance(params, dict) else refusal.too_many(len(params), 0)
            return place(context, ())

        return bind_nothing

    struct = _struct(parameters)
    builtin = builtins_in(struct)
    streams = _stream_wrappers(refusal, parameters)
    convert, astuple = msgspec.convert, msgspec.structs.astuple

    def bind(context: Context, params: Params) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if not isinstance(params, dict):
            if len(params) > len(by_position):
                raise refusal.too_many(len(params), len(by_position))
            params = dict(zip(by_position, params, strict=False))
        try:
            values = astuple(convert(params, struct, builtin_types=builtin))
        except REFUSALS as error:
            refusal(params, error)
        if streams:
            changed = list(values)
            for index, wrap in streams:
                changed[index] = wrap(changed[index])
            values = tuple(changed)
        return place(context, values)

    return bind


def make_invoker(method: str, signature: Signature) -> Invoker:
    """Build what calls one method's function.

    Args:
        method: its name on the wire, for errors.
        signature: what it takes.
    """
    bind = make_binder(method, signature)
    parameters, place = signature.parameters, signature.context

    def call(function: Callable[..., Any], context: Context, params: Params) -> Any:
        args, kwargs = bind(context, params)
        return function(*args, **kwargs)

    if not parameters or isinstance(place, int) or not all(map(_passes, parameters)):
        return call
    # To keep msgspec from making the wire's own types of text takes it longer than all the rest; so they are ours.
    own = tuple((each.name, each.annotation) for each in parameters if each.annotation in _OWN_CHECK)
    refusal, convert = _Refusal(method, parameters), msgspec.convert
    struct = _struct(parameters, unchecked=_OWN_CHECK)

    def call_by_name(function: Callable[..., Any], context: Context, params: Params) -> Any:
        if type(params) is not dict:
            return call(function, context, params)
        try:
            convert(params, struct)
            for name, kind in own:
                if name in params and type(params[name]) is not kind:
                    raise TypeError(name)
        except REFUSALS as error:
            refusal(params, error)
        return function(**params) if place is None else function(**params, **{place: context})

    return call_by_name


def _passes(parameter: Parameter) -> bool:
    """Whether an argument by name goes to the function as it came, if it is right."""
    kind = parameter.annotation
    checked = is_scalar(kind) and (kind in _OWN_CHECK or not builtins_in(kind))
    return checked and parameter.stream is None and not parameter.positional_only


def _placer(signature: Signature) -> Callable[[Context, tuple[Any, ...]], tuple[tuple[Any, ...], dict[str, Any]]]:
    """A function that splits values into arguments by position and by keyword, with the context in its place."""
    count = sum(each.positional for each in signature.parameters)
    keywords = [each.name for each in signature.parameters[count:]]
    where = signature.context
    if where is None and not keywords:
        nothing: dict[str, Any] = {}
        return lambda _, values: (values, nothing)

    def place(context: Context, values: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        positional, named = values[:count], dict(zip(keywords, values[count:], strict=True))
        if isinstance(where, int):
            positional = (*positional[:where], context, *positional[where:])
        elif where is not None:
            named[where] = context
        return positional, named

    return place
