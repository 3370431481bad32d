"""What the agent is told by its configuration file, ``/etc/virtagent/agent.toml``."""

from __future__ import annotations

import msgspec

__all__ = ["Configuration"]


class Configuration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file; each section is a struct of its own, with defaults that serve without any file."""
