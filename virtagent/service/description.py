"""What introspection tells of a method, and the digest of all methods."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, lru_cache
from typing import Any, Literal

import msgspec

from virtagent.peer.handler import Handler
from virtagent.service.annotation import REFUSALS, schema_of, type_name
from virtagent.service.method import Method
from virtagent.service.signature import REQUIRED, Parameter

__all__ = [
    "Description",
    "ErrorDescription",
    "MethodDescription",
    "ParameterDescription",
    "describe",
    "schema_digest",
]


class ParameterDescription(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter.

    Attributes:
        type: the type as people read it, such as ``int >= 0``.
        schema: its JSON schema; of an item, if the parameter is a stream. Bytes are ``string`` of format ``binary``.
        stream: the kind of stream that it is, or None.
        positional: whether it may be given by position.
        default: where ``required`` is False: its default, if plain data can tell it.
    """

    name: str
    type: str
    schema: dict[str, Any]
    required: bool
    positional: bool = True
    stream: Literal["bytes", "items"] | None = None
    default: Any = None


class ErrorDescription(msgspec.Struct, frozen=True, kw_only=True):
    """An error that a method answers with on purpose."""

    name: str
    code: int


class MethodDescription(msgspec.Struct, frozen=True, kw_only=True):
    """One method.

    Attributes:
        summary: the first line of ``doc``.
        returns: the result's type as people read it; of an item, if it answers with a stream.
        schema: the JSON schema of ``returns``.
        stream: the kind of stream that it answers with, or None.
        role: what a policy must grant to a caller.
        typed: False for a handler of which only the name is known.
    """

    name: str
    summary: str = ""
    doc: str = ""
    parameters: list[ParameterDescription] = []
    returns: str = "Any"
    schema: dict[str, Any] = {}
    stream: Literal["bytes", "items"] | None = None
    idempotent: bool = False
    since: str | None = None
    errors: list[ErrorDescription] = []
    role: str = ""
    typed: bool = True


def _describe_parameter(parameter: Parameter) -> ParameterDescription:
    default = None
    if parameter.default is not REQUIRED:
        try:
            default = msgspec.to_builtins(parameter.default, builtin_types=(bytes,))
        except REFUSALS:
            default = None
    return ParameterDescription(
        name=parameter.name,
        type=type_name(parameter.annotation),
        schema=schema_of(parameter.annotation),
        required=parameter.default is REQUIRED,
        positional=parameter.positional,
        stream=parameter.stream,
        default=default,
    )


class Description(Mapping[str, Any]):
    """The description of a method as plain data, which a :class:`~virtagent.peer.handler.Handler` carries.

    It is made when somebody asks for it: JSON schemas of all methods would be a third of the agent's start.

    Args:
        name: the method's whole name on the wire.
        method: the method.
    """

    def __init__(self, name: str, method: Method) -> None:
        self._name = name
        self._method = method

    @cached_property
    def outline(self) -> str:
        """Text that changes when the method changes; documentation does not count."""
        options = self._method.options
        errors = [(each.__name__, each.code) for each in options.errors or ()]
        return f"{self._method.outline} {options.since} {errors} {options.role}"

    @cached_property
    def _made(self) -> dict[str, Any]:
        signature, options, doc = self._method.signature, self._method.options, self._method.doc
        description = MethodDescription(
            name=self._name,
            summary=doc.partition("\n")[0].strip(),
            doc=doc,
            parameters=[_describe_parameter(each) for each in signature.parameters],
            returns=type_name(signature.returns),
            schema=schema_of(signature.returns),
            stream=signature.stream,
            idempotent=bool(options.idempotent),
            since=options.since,
            errors=[ErrorDescription(name=each.__name__, code=each.code) for each in options.errors or ()],
            role=options.role or "admin",
        )
        plain: dict[str, Any] = msgspec.to_builtins(description, builtin_types=(bytes,))
        return plain

    def __getitem__(self, key: str) -> Any:
        return self._made[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)


def describe(handler: Handler) -> MethodDescription:
    """The description of a handler; of one that was not made by this layer, its name and whether it is idempotent."""
    if handler.description is None:
        return MethodDescription(name=handler.name, idempotent=handler.idempotent, typed=False)
    return msgspec.convert(dict(handler.description), MethodDescription)


def schema_digest(handlers: Iterable[Handler]) -> str:
    """A short text that changes when methods change, whatever their order; documentation does not count.

    Args:
        handlers: a :class:`~virtagent.peer.handler.Router`, or handlers.
    """
    return _digest(tuple(sorted((each.name, each.idempotent, _outline(each.description)) for each in handlers)))


@lru_cache(maxsize=64)
def _digest(told: tuple[tuple[str, bool, str], ...]) -> str:
    return hashlib.sha256(ascii(list(told)).encode("ascii")).hexdigest()[:16]


def _outline(description: Mapping[str, Any] | None) -> str:
    if isinstance(description, Description):
        return description.outline
    return repr(sorted((key, value) for key, value in (description or {}).items() if key not in ("doc", "summary")))
