"""The digest of the agent's methods, which its hello tells without loading them."""

from __future__ import annotations

import re
from pathlib import Path

from schema.methods import lazy_handlers
from virtagent.service.description import schema_digest

__all__ = ["CATALOGUE", "digest", "with_digest"]

CATALOGUE = Path(__file__).parent.parent / "virtagent" / "guest" / "catalogue.py"


def digest() -> str:
    """The digest of the methods as they are in the source."""
    return schema_digest(lazy_handlers())


def with_digest(text: str) -> str:
    """The text of ``catalogue.py`` with the present digest."""
    return re.sub(r'^DIGEST = ".*"$', f'DIGEST = "{digest()}"', text, flags=re.MULTILINE)
