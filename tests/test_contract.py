"""The contract and the code say the same, and every rule of docs/protocol.md is cited by a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from virtagent import errors
from virtagent.protocol import frames, limits

ROOT = Path(__file__).parent.parent
CONTRACT = (ROOT / "docs" / "protocol.md").read_text()
RULES = re.findall(r"^- \*\*([A-Z]\d+)\*\*", CONTRACT, re.MULTILINE)
CITATION = re.compile(r"\brules?\s+((?:[A-Z]\d+)(?:(?:,\s*|\s+and\s+|\s+to\s+|,\s+and\s+)[A-Z]\d+)*)", re.IGNORECASE)
UNITS = {"KiB": 1024, "MiB": 1024 * 1024}


def cited(text: str) -> set[str]:
    """The rules that a text cites: "Rule H7", "Rules F3, F6", "rules P4 to P6"."""
    found = set()
    for match in CITATION.finditer(text):
        found |= set(re.findall(r"[A-Z]\d+", match[1]))
        for letter, first, last in re.findall(r"([A-Z])(\d+)\s+to\s+[A-Z](\d+)", match[1]):
            found |= {f"{letter}{number}" for number in range(int(first), int(last) + 1)}
    return found


def citations() -> dict[str, set[str]]:
    """For each file of the tests, the rules that it cites."""
    files = [path for path in (ROOT / "tests").rglob("*.py") if path.name != Path(__file__).name]
    return {str(path.relative_to(ROOT)): cited(path.read_text()) for path in files}


def table(section: str) -> list[list[str]]:
    """The rows of the first table after a heading, without its head."""
    after = CONTRACT[CONTRACT.index(section) :]
    lines = after[after.index("\n|") + 1 :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_rules_have_unique_numbers_without_holes() -> None:
    assert len(RULES) == len(set(RULES)) > 80
    for letter in {rule[0] for rule in RULES}:
        numbers = [int(rule[1:]) for rule in RULES if rule[0] == letter]
        assert numbers == list(range(1, len(numbers) + 1)), letter


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_cited_by_a_test(rule: str) -> None:
    assert any(rule in rules for rules in citations().values()), f"no test cites rule {rule} of docs/protocol.md"


@pytest.mark.parametrize("folder", ["tests", "virtagent", "transports", "fuzz", "benchmarks"])
def test_every_citation_is_of_a_rule_that_exists(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        unknown = cited(path.read_text()) - set(RULES)
        assert not unknown, f"{path} cites {sorted(unknown)}, which docs/protocol.md does not have"


def test_ranges_and_lists_of_citations_are_understood() -> None:
    assert cited("Rules C4, C7.") == {"C4", "C7"}
    assert cited("(rules P4 to P6)") == {"P4", "P5", "P6"}
    assert cited("rules H8 and H9; rule F3") == {"H8", "H9", "F3"}
    assert cited("a rule of thumb") == set()


def test_the_error_codes_are_those_of_the_code() -> None:
    """Rule E1."""
    documented = {}
    for row in table("## Error codes"):
        for code, name in (row[:2], row[2:]):
            if code.isdigit():
                documented[int(code)] = name
    actual = {code: each.__name__ for code, each in errors.error_code.registered.items() if code < 1000}
    assert documented == actual
    assert f"{errors.FIRST_APPLICATION_CODE}.." in CONTRACT


def test_the_kinds_of_frames_are_those_of_the_code() -> None:
    """Rules F1, F7."""
    rows = table("- **F8**")
    kinds = {row[1]: int(row[0]) for row in rows}
    assert {name: getattr(frames, name) for name in kinds} == kinds
    assert sorted(kinds.values()) == list(range(12))
    flags = {row[1]: {int(flag) for flag in re.findall(r"(\d) =", row[4])} for row in rows}
    assert flags["GOODBYE"] == {frames.FLAG_ACKNOWLEDGEMENT >> 4}
    assert flags["FRAGMENT"] == {frames.FLAG_LAST >> 4, frames.FLAG_FIRST >> 4}
    assert flags["DATA"] == {frames.FLAG_END >> 4, frames.FLAG_ERROR >> 4}


def size(cell: str) -> int:
    """A cell of the table of limits as a number."""
    match = re.match(r"≤?\s*(\d+)\s*(KiB|MiB)?", cell)
    assert match is not None, cell
    return int(match[1]) * UNITS.get(match[2] or "", 1)


def test_the_limits_are_those_of_the_code() -> None:
    """Rules L1, C10, C1, T5."""
    names = {
        "frame payload": "frame", "message": "message", "reassembly, all transfers together": "reassembly",
        "transfers under reassembly": "transfers", "open calls, per direction": "calls", "nesting of calls": "depth",
        "waiting notifications": "notifications", "open streams, per opener": "streams",
        "reserved window of a stream": "window", "shared surplus of credit": "surplus",
        "largest window of a stream": "largest_window",
    }  # fmt: skip
    constants = {
        "hello payload": limits.MAX_HELLO,
        "map of metadata": limits.MAX_METADATA,
        "name of a method": limits.MAX_METHOD_NAME,
    }
    seen = set()
    for name, *cells in table("## L. Limits"):
        seen.add(name)
        for cell, of_class in zip(cells[:3], (limits.SOCKET, limits.VIRTIO, limits.SERIAL), strict=True):
            expected = constants[name] if name in constants else getattr(of_class, names[name])
            assert size(cell) == expected, f"{name}: {cell}"
    assert seen == set(names) | set(constants)
