"""The outline of a method, for the digest of a side's methods: what its definition says, told without evaluating it.

Annotations that are text stay text; names in them are looked up, so that the fields of structs and the constraints of
aliases belong to the outline too. That takes a tenth of what it takes to make JSON schemas, and a hello needs no more.
"""

from __future__ import annotations

import enum
import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from virtagent.peer.context import Context
from virtagent.service.annotation import type_name

__all__ = ["outline_of"]

_NAME = re.compile(r"[^\W\d]\w*")
_PLAIN = (type(None), bool, int, float, str, bytes)


def outline_of(function: Callable[..., Any], *, bound: bool) -> str:
    """Text that changes when the parameters, their defaults or the types that they or the result name change.

    Args:
        function: the function; what ``functools.wraps`` put around another one is looked through.
        bound: whether its first parameter is ``self``.
    """
    inner = inspect.unwrap(function)
    code, annotations, scope = inner.__code__, inner.__annotations__, inner.__globals__
    count = code.co_argcount
    names = code.co_varnames[: count + code.co_kwonlyargcount]
    positional = inner.__defaults__ or ()
    defaults = dict(zip(names[count - len(positional) : count], positional, strict=True)) | (inner.__kwdefaults__ or {})
    outline = _Outline()
    for index, name in enumerate(names):
        if index or not bound:
            kind = "positional" if index < code.co_posonlyargcount else "any" if index < count else "keyword"
            outline.parameter(name, kind, annotations.get(name), scope, _default(defaults, name))
    outline.told += ["->", *outline.annotation(annotations.get("return"), scope)]
    return " ".join(outline.told)


def _default(defaults: Mapping[str, Any], name: str) -> str:
    return f"= {_plain(defaults[name])}" if name in defaults else ""


def _plain(value: Any) -> str:
    """A default; of one that is not plain only the type, since others tell where they are in memory."""
    return ascii(value) if isinstance(value, _PLAIN) else type(value).__name__


class _Outline:
    """Collects what is told of one method; each class and alias once."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self._seen: set[int] = set()

    def parameter(self, name: str, kind: str, annotation: Any, scope: Mapping[str, Any], default: str) -> None:
        """One parameter; the context is not on the wire."""
        if not any(isinstance(each, type) and issubclass(each, Context) for each in _named(annotation, scope)):
            self.told += [kind, name, *self.annotation(annotation, scope), default]

    def annotation(self, annotation: Any, scope: Mapping[str, Any]) -> Iterator[str]:
        """An annotation, and what the names in it stand for."""
        if isinstance(annotation, typing.ForwardRef):
            annotation = annotation.__forward_arg__
        yield annotation if isinstance(annotation, str) else type_name(annotation)
        for each in _named(annotation, scope):
            if id(each) not in self._seen:
                self._seen.add(id(each))
                yield from self._definition(each, scope)

    def _definition(self, found: Any, scope: Mapping[str, Any]) -> Iterator[str]:
        if isinstance(found, type) and typing.get_origin(found) is None:
            yield from self._class(found)
        elif typing.get_origin(found) is not None or isinstance(found, str | typing.ForwardRef):
            yield from self.annotation(found, scope)
        elif hasattr(found, "__value__"):  # `type Name = ...`
            yield from self.annotation(found.__value__, scope)

    def _class(self, cls: type) -> Iterator[str]:
        if issubclass(cls, enum.Enum):
            yield type_name(cls)
        for owner in reversed(cls.__mro__):
            fields = inspect.get_annotations(owner)
            if fields:
                yield owner.__name__
                yield from (_plain(each) for each in getattr(owner, "__struct_defaults__", ()))
                yield from getattr(owner, "__struct_encode_fields__", ())
                scope = getattr(sys.modules.get(owner.__module__), "__dict__", {})
                for name, annotation in fields.items():
                    yield name
                    yield from self.annotation(annotation, scope)


def _named(annotation: Any, scope: Mapping[str, Any]) -> list[Any]:
    """What an annotation names, or consists of."""
    if isinstance(annotation, str):
        return [scope[name] for name in _NAME.findall(annotation) if name in scope]
    return list(typing.get_args(annotation)) or [annotation]
