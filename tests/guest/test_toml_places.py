"""Where things stand in a TOML file."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtagent.guest.toml_places import Place, places_in

EXAMPLE = '''# a comment with [brackets] and "quotes"
title = "a # is no comment"

[agent]  # here it is one
channels = [
  "one", # with ] a bracket
  'two',
  """three
lines""",
]
"quoted key" = 1
a.b."c.d" = { x = 1, y = [1, 2] }

[[policy]]
channel = "unix"

[[policy]]
channel = \'\'\'literal "quotes" and \\ backslash\'\'\'
[policy.more]
deep = true
[[policy.list]]
x = 1
[[policy.list]]
x = 1979-05-27T07:32:00Z
text = """ends with two quotes"""""
after = 1
'''


def at(text: str) -> int:
    """The line with a text."""
    return next(number for number, line in enumerate(EXAMPLE.splitlines(), 1) if text in line)


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("title",), at("title")),
        (("agent",), at("[agent]")),
        (("agent", "channels"), at("channels = ")),
        (("agent", "channels", 0), at('"one"')),
        (("agent", "channels", 1), at("'two'")),
        (("agent", "channels", 2), at('"""three')),
        (("agent", "quoted key"), at("quoted key")),
        (("agent", "a"), at("a.b.")),
        (("agent", "a", "b", "c.d", "y", 1), at("a.b.")),
        (("policy", 0), at("[[policy]]")),
        (("policy", 0, "channel"), at('channel = "unix"')),
        (("policy", 1, "channel"), at("channel = '''")),
        (("policy", 1, "more", "deep"), at("deep")),
        (("policy", 1, "list", 0, "x"), at("[[policy.list]]") + 1),
        (("policy", 1, "list", 1, "x"), at("1979")),
        (("policy", 1, "list", 1, "after"), at("after")),
    ],
)
def test_keys_tables_and_elements_are_found(place: Place, line: int) -> None:
    assert places_in(EXAMPLE)[place] == line


def leaves(value: Any, place: Place = ()) -> set[Place]:
    """Every place in a parsed document."""
    found = {place} if place else set()
    if isinstance(value, dict):
        return found.union(*(leaves(each, (*place, key)) for key, each in value.items()))
    if isinstance(value, list):
        return found.union(*(leaves(each, (*place, index)) for index, each in enumerate(value)))
    return found


names = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=0, max_size=8)
keys = st.one_of(
    st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True),
    names.map(lambda text: json.dumps(text, ensure_ascii=False)),
    names.filter(lambda text: "'" not in text).map(lambda text: f"'{text}'"),
)
strings = st.one_of(
    names.map(json.dumps),
    st.sampled_from(["''", "'# [x]'", '"""a\n"b" # c\n"""', "'''\n]'''", '"""x\\""" """', '"\\\\"']),
)
scalars = st.one_of(strings, st.sampled_from(["1", "-2.5e3", "true", "inf", "1979-05-27", "07:32:00", "0xff"]))


def arrays(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    gap = st.sampled_from(["", " ", "\n", " # ] comment\n"])
    return st.tuples(st.lists(inner, max_size=3), gap, st.sampled_from(["", ","])).map(
        lambda made: f"[{made[1]}{f',{made[1]}'.join(made[0])}{made[2] if made[0] else ''}{made[1]}]"
    )


def inline_tables(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.lists(st.tuples(keys, inner), max_size=3)
    return pairs.map(lambda made: f"{{ {', '.join(f'{key} = {value}' for key, value in made)} }}")


values = st.recursive(scalars, lambda inner: st.one_of(arrays(inner), inline_tables(inner)), max_leaves=6)
lines = st.one_of(
    st.tuples(keys, values).map(" = ".join),
    st.tuples(keys, keys, values).map(lambda made: f"{made[0]} . {made[1]} = {made[2]}"),
    keys.map(lambda key: f"[{key}]"),
    st.tuples(keys, keys).map(lambda made: f"[ {made[0]}.{made[1]} ]"),
    keys.map(lambda key: f"[[{key}]]"),
    st.tuples(keys, keys).map(lambda made: f"[[{made[0]}.{made[1]}]] # comment"),
    st.sampled_from(["", "# comment = [1", "   "]),
)


@given(st.lists(lines, max_size=10))
def test_each_value_of_any_document_has_the_line_where_it_begins(parts: list[str]) -> None:
    """Lines that would break the document are left out, one by one."""
    text = ""
    first_lines: dict[Place, tuple[int, int]] = {}
    for part in parts:
        tried = f"{text}{part}\n"
        try:
            document = tomllib.loads(tried)
        except tomllib.TOMLDecodeError:
            continue
        new = leaves(document) - first_lines.keys()
        start, end = text.count("\n") + 1, tried.count("\n")
        first_lines.update((place, (start, end)) for place in new)
        text = tried
    found = places_in(text)
    assert found.keys() == first_lines.keys()
    for place, (start, end) in first_lines.items():
        assert start <= found[place] <= end, place
