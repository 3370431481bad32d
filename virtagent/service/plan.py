"""How a method is run under one name: what calls its function, and what makes its result plain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from virtagent.peer.context import Context
from virtagent.peer.handler import Mode, Params
from virtagent.service.annotation import plainer
from virtagent.service.binding import Invoker, make_invoker
from virtagent.service.description import Description
from virtagent.service.method import Method
from virtagent.service.streams import outgoing

__all__ = ["Invoke", "Plan", "Way", "plan_of"]

Invoke = Callable[[Context, Params], Any]


class Way(NamedTuple):
    """How a function of its kind becomes a handler's ``invoke``.

    Attributes:
        mode: how the handler runs.
        make: makes ``invoke`` of the whole name, the bound function and the plan.
        unwrap: the function to run is the one below an awaitable one.
    """

    mode: Mode
    make: Callable[[str, Callable[..., Any], Plan], Invoke]
    unwrap: bool = False


class Plan:
    """Made at the first call from what the method's annotations say; all instances of a service share it.

    Args:
        name: the method's whole name on the wire.
        method: the method.

    Attributes:
        call: calls the function with arguments from the wire.
        finish: makes its result what the peer sends; None where it is that already. Known once ``call`` was used.
        description: what introspection tells of it.
        way: how its function becomes a handler's; None until the first handler was made.
    """

    __slots__ = ("_method", "_name", "call", "description", "finish", "way")

    def __init__(self, name: str, method: Method) -> None:
        self._name = name
        self._method = method
        self.call: Invoker = self._call_first
        self.finish: Callable[[Any], Any] | None = None
        self.description = Description(name, method)
        self.way: Way | None = None

    def _call_first(self, function: Callable[..., Any], context: Context, params: Params) -> Any:
        signature = self._method.signature
        kind, returns = signature.stream, signature.returns
        self.finish = plainer(returns) if kind is None else outgoing(returns, kind)
        self.call = make_invoker(self._name, signature)
        return self.call(function, context, params)


def plan_of(name: str, method: Method) -> Plan:
    """The plan of a method under a name, made once."""
    return method.plans.get(name) or method.plans.setdefault(name, Plan(name, method))
