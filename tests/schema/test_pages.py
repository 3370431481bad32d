"""What is made from the schema is what is in the repository."""

from __future__ import annotations

import re

from schema import coverage, reference
from schema.commands import COMMANDS
from schema.digest import digest
from schema.methods import all_methods
from virtagent.guest.catalogue import DIGEST

STALE = "the agent's methods have changed: run make schema"


def test_the_digest_is_that_of_the_source() -> None:
    assert digest() == DIGEST, STALE


def test_the_reference_is_that_of_the_source() -> None:
    assert reference.PAGE.read_text() == reference.reference(), STALE


def test_the_table_beside_qemu_ga_is_that_of_the_source() -> None:
    assert coverage.PAGE.read_text() == coverage.coverage(), STALE


def test_each_command_of_qemu_ga_on_linux_is_covered() -> None:
    assert len(COMMANDS) == 43
    assert all(each.adds for each in COMMANDS.values())


def test_methods_and_parameters_have_names_and_words_of_the_field() -> None:
    for each in all_methods().values():
        assert re.fullmatch(r"[a-z0-9]+\.[a-z_0-9]+", each.name), each.name
        assert each.summary.endswith((".", "?", "``")), each.name
        assert all(re.fullmatch(r"[a-z_0-9]+", parameter.name) for parameter in each.parameters), each.name
