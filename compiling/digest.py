"""Writes the digest of the agent's methods into ``virtagent/guest/catalogue.py``: ``make digest``."""

from __future__ import annotations

import re
from pathlib import Path

from virtagent.guest.catalogue import SERVICES, make_service
from virtagent.guest.resources import Resources
from virtagent.service.description import schema_digest
from virtagent.service.service import handlers_of

__all__ = ["digest", "main"]

CATALOGUE = Path(__file__).parent.parent / "virtagent" / "guest" / "catalogue.py"


def digest() -> str:
    """The digest of the methods of all services as they are in the source."""
    resources = Resources()
    return schema_digest([each for name in SERVICES for each in handlers_of(make_service(name, resources))])


def main() -> None:
    """Write it."""
    text = CATALOGUE.read_text()
    CATALOGUE.write_text(re.sub(r'^DIGEST = ".*"$', f'DIGEST = "{digest()}"', text, flags=re.MULTILINE))


if __name__ == "__main__":
    main()
