"""What a method takes and gives, read once from its annotations."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from virtagent.errors import UsageError
from virtagent.peer.context import Context
from virtagent.service.annotation import Unsupported, builtins_in, stream_item

__all__ = ["REQUIRED", "Parameter", "Signature", "StreamKind", "UnresolvedName", "read_signature"]

StreamKind = Literal["bytes", "items"]

REQUIRED: Final = inspect.Parameter.empty
"""The default of a parameter that has none."""


class UnresolvedName(UsageError):
    """An annotation names something that does not exist yet: at class definition it may still come."""


class Parameter(msgspec.Struct, frozen=True):
    """One parameter as the wire sees it.

    Attributes:
        annotation: its type; for a stream, the type of an item.
        positional: whether it may be given by position.
        default: the value, or :data:`REQUIRED`.
        stream: the kind of stream that it is, or None for a value.
        positional_only: whether Python code can give it by position only; on the wire it has its name.
    """

    name: str
    annotation: Any
    positional: bool
    default: Any = REQUIRED
    stream: StreamKind | None = None
    positional_only: bool = False


class Signature(msgspec.Struct, frozen=True):
    """One method as the wire sees it.

    Attributes:
        parameters: those by position first, without ``self`` and the context.
        context: where the context goes: an index among the positional arguments, a keyword, or None for nowhere.
        returns: the result's type; for a stream, the type of an item.
        stream: the kind of stream that it answers with, or None.
        awaitable: whether calling the function gives a coroutine.
        generator: whether it is an ``async def`` with ``yield``.
    """

    parameters: tuple[Parameter, ...]
    context: int | str | None
    returns: Any
    stream: StreamKind | None
    awaitable: bool
    generator: bool


def _is_context(annotation: Any) -> bool:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return Context in typing.get_args(annotation)
    return isinstance(annotation, type) and issubclass(annotation, Context)


def _without_none(annotation: Any) -> Any:
    """``AsyncIterator[T] | None`` without its None, which only a default can be; any other annotation as it is."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        others = [each for each in typing.get_args(annotation) if each is not type(None)]
        if len(others) == 1 and stream_item(others[0]) is not None:
            return others[0]
    return annotation


def _hints(where: str, function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise UnresolvedName(
            f"{where}: an annotation names {error.name!r}, which its module does not have at run time; "
            "import it outside of TYPE_CHECKING"
        ) from None
    except (TypeError, SyntaxError, AttributeError) as error:
        raise UsageError(f"{where}: an annotation cannot be evaluated: {error}") from None


def _checked(where: str, annotation: Any) -> tuple[Any, StreamKind | None]:
    """The type and, for a stream, its kind."""
    try:
        item = stream_item(annotation)
        kind: StreamKind | None = None if item is None else "bytes" if item is bytes else "items"
        value = annotation if item is None else item
        builtins_in(value)
    except Unsupported as error:
        raise UsageError(f"{where}: unsupported type: {error}") from None
    except TypeError:
        raise UsageError(f"{where}: unsupported type: {annotation!r} cannot be hashed") from None
    except NameError as error:
        raise UnresolvedName(f"{where}: a type in its annotation names {error.name!r}, which does not exist") from None
    return value, kind


def read_signature(where: str, function: Callable[..., Any], *, bound: bool) -> Signature:
    """Read a method's signature.

    Args:
        where: what errors call it, such as "Backup.snapshot".
        function: the function, as it stands in its class or module.
        bound: whether its first parameter is ``self``.

    Raises:
        UnresolvedName: an annotation names what does not exist (yet).
        UsageError: a parameter that the wire cannot have: without annotation, ``*args``, of an unsupported type.
    """
    inner = inspect.unwrap(function)
    found = list(inspect.signature(inner).parameters.values())[1 if bound else 0 :]
    for each in found:
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            raise UsageError(f"{where}: parameter {each}: a method has named parameters only; take a list or a dict")
        if each.annotation is each.empty:
            raise UsageError(
                f"{where}: parameter {each.name!r} has no annotation; write {each.name}: str, or whatever it is"
            )
    hints = _hints(where, inner)
    if "return" not in hints:
        raise UsageError(f"{where}: the result has no annotation; write -> None if it gives nothing")
    context: int | str | None = None
    parameters: list[Parameter] = []
    for each in found:
        keyword = each.kind is each.KEYWORD_ONLY
        if _is_context(hints[each.name]):
            if context is not None:
                raise UsageError(f"{where}: parameter {each.name!r} is a second Context; keep one")
            context = each.name if keyword else len(parameters)
            continue
        annotation, kind = _checked(f"{where}: parameter {each.name!r}", _without_none(hints[each.name]))
        only = each.kind is each.POSITIONAL_ONLY
        parameters.append(Parameter(each.name, annotation, not keyword, each.default, kind, only))
    returns, stream = _checked(f"{where}: the result", hints["return"])
    return Signature(
        parameters=tuple(parameters),
        context=context,
        returns=returns,
        stream=stream,
        awaitable=inspect.iscoroutinefunction(function),
        generator=inspect.isasyncgenfunction(function),
    )
