"""What classes that complete a stub have in common: ``guest.system``, ``guest.stats``.

To a type checker such a class derives from the interface, at run time from :class:`Delegate`::

    if TYPE_CHECKING:
        _Base = System
    else:
        _Base = Delegate

so that an attribute which neither of them has is an error before the program runs, too.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Delegate"]


class Delegate:
    """Hands everything that it does not have to its stub, ``self._stub``."""

    _stub: Any

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
        return getattr(self._stub, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self._stub)})
