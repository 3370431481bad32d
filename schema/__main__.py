"""``make schema``: writes all that is made from the schema."""

from __future__ import annotations

from schema.coverage import PAGE as COVERAGE
from schema.coverage import coverage
from schema.digest import CATALOGUE, with_digest
from schema.reference import PAGE as REFERENCE
from schema.reference import reference

if __name__ == "__main__":
    CATALOGUE.write_text(with_digest(CATALOGUE.read_text()))
    REFERENCE.write_text(reference())
    COVERAGE.write_text(coverage())
