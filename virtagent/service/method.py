"""One method of a service: its function, what decorators said of it, and, read when it is needed, its annotations."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from virtagent.errors import UsageError
from virtagent.service.options import MethodOptions
from virtagent.service.outline import outline_of
from virtagent.service.signature import Signature, read_signature

if TYPE_CHECKING:
    from virtagent.service.plan import Plan

__all__ = ["Method", "gives_nothing"]


class Method:
    """One method of a service class, or one function of a module.

    Args:
        where: what errors call it, such as "Backup.snapshot".
        function: the function, as it stands in its class or module.
        wire: its name on the wire, without the service's.
        options: what decorators said, here and in the methods that it overrides.
        overridden: the functions that it overrides, nearest first: one of them may have its documentation.
        bound: whether the function's first parameter is ``self``.
        declared_only: whether it stands in an interface and is not implemented.
        declarations: the methods of interfaces that it implements.

    Attributes:
        plans: how it is run, by its whole name on the wire; made when handlers are.
    """

    def __init__(
        self,
        where: str,
        function: Callable[..., Any],
        *,
        wire: str,
        options: MethodOptions,
        overridden: tuple[Callable[..., Any], ...] = (),
        bound: bool = True,
        declared_only: bool = False,
        declarations: tuple[Method, ...] = (),
    ) -> None:
        self.where = where
        self.function = function
        self.wire = wire
        self.options = options
        self.declared_only = declared_only
        self.plans: dict[str, Plan] = {}
        self._overridden = overridden
        self._bound = bound
        self._declarations = declarations

    @cached_property
    def doc(self) -> str:
        """Its documentation: what ``@method`` said, else its docstring or that of a method which it overrides."""
        documented = (body.__doc__ for body in (self.function, *self._overridden) if body.__doc__)
        return self.options.doc or inspect.cleandoc(next(documented, ""))

    @cached_property
    def signature(self) -> Signature:
        """What it takes and gives.

        Raises:
            UnresolvedName: an annotation names what does not exist (yet).
            UsageError: the wire cannot have it, or it does not do what its interface declares.
        """
        signature = read_signature(self.where, self.function, bound=self._bound)
        if self.declared_only and not (signature.awaitable or signature.stream or gives_nothing(signature)):
            raise UsageError(
                f"{self.where}: an interface declares `async def`; a `def` that gives None declares a notification"
            )
        for each in self._declarations:
            _check_override(self.where, signature, each.signature)
        return signature

    @cached_property
    def outline(self) -> str:
        """What the digest of a side's methods takes of it."""
        return outline_of(self.function, bound=self._bound)


def gives_nothing(signature: Signature) -> bool:
    """Whether the result is None."""
    return signature.returns in (None, type(None))


def _check_override(where: str, ours: Signature, declared: Signature) -> None:
    """An implementation must accept every call that its interface allows."""
    mine = {each.name: each for each in ours.parameters}
    theirs = {each.name for each in declared.parameters}
    for missing in theirs - mine.keys():
        raise UsageError(f"{where}: parameter {missing!r} of the interface is missing")
    for name in mine.keys() - theirs:
        if mine[name].default is inspect.Parameter.empty:
            raise UsageError(f"{where}: parameter {name!r} is not in the interface; give it a default")
    if ours.stream != declared.stream:
        words = {None: "a result", "bytes": "a stream of bytes", "items": "a stream of items"}
        raise UsageError(f"{where}: gives {words[ours.stream]}, but the interface says {words[declared.stream]}")
