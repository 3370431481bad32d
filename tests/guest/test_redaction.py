"""Arguments without secrets."""

from __future__ import annotations

import json
import shlex
import string
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from virtagent.errors import CallError, InternalError, InvalidArgument, NotFound
from virtagent.guest.redaction import MASK, holds_secret, is_secret_name, redacted, secrets_of, without_secrets
from virtagent.peer.handler import Handler


def handler(*secrets: str, names: tuple[str, ...] = ()) -> Handler:
    described = {"parameters": [{"name": each, "positional": True} for each in names]}
    return Handler("x.y", "inline", lambda context, params: None, description=described, secrets=secrets)


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "new_password",
        "PASSWD",
        "pwd",
        "passphrase",
        "secret",
        "client-secret",
        "token",
        "AWS_SESSION_TOKEN",
        "key",
        "keys",
        "ssh_key",
        "KEY_FILE",
        "api.key",
        "apiKey",
        "privatekey",
        "credentials",
        "Authorization",
        "cookie",
    ],
)
def test_names_of_secrets_are_known(name: str) -> None:
    assert is_secret_name(name)
    assert redacted(handler(), {name: "hunter22"}) == {name: MASK}


@pytest.mark.parametrize("name", ["path", "keyboard", "monkey", "mode", "user", "keep", "data", "passive"])
def test_other_names_are_not_taken_for_secrets(name: str) -> None:
    assert redacted(handler(), {name: "hunter22"}) == {name: "hunter22"}


def test_a_key_is_a_name_where_the_method_says_what_its_secrets_are() -> None:
    assert redacted(handler("value"), {"key": "colour", "value": "red"}) == {"key": "colour", "value": MASK}
    assert redacted(handler("value"), {"api_key": "x"}) == {"api_key": MASK}


@pytest.mark.parametrize("name", ["kv.delete", "config.output", "config.forget"])
def test_a_key_that_names_something_is_shown_also_where_nothing_is_secret(name: str) -> None:
    method = Handler(name, "inline", lambda context, params: None)
    assert redacted(method, {"key": "web/nginx"}) == {"key": "web/nginx"}
    told = NotFound("there is no web/nginx")
    assert without_secrets(method, {"key": "web/nginx"}, told) is told


def test_what_the_method_says_is_secret_is_hidden_by_position_too() -> None:
    told = redacted(handler("value", names=("name", "value")), ["alice", "hunter22", "more"])
    assert told == {"name": "alice", "value": MASK, "2": "more"}


async def test_bytes_and_streams_are_shown_by_their_size_and_kind() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b""

    stream = chunks()
    told = redacted(handler(), {"data": b"hunter22", "more": stream, "other": object()})
    await stream.aclose()  # type: ignore[attr-defined]
    assert told == {"data": "<8 bytes>", "more": "<stream>", "other": "<object>"}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"env": {"PASSWORD": "hunter22", "PATH": "/bin"}}, {"env": {"PASSWORD": MASK, "PATH": "/bin"}}),
        (["mysql", "--password", "hunter22", "db"], ["mysql", "--password", MASK, "db"]),
        (["mysql", "--password=hunter22", "db"], ["mysql", f"--password={MASK}", "db"]),
        (["API_TOKEN=hunter22", "env"], [f"API_TOKEN={MASK}", "env"]),
        ("mysql --password hunter22 db", f"mysql --password {MASK} db"),
        ("PASSWORD=hunter22; rm -rf /srv", f"PASSWORD={MASK} rm -rf /srv"),
        ('export TOKEN="hunter 22"; reboot', f"export TOKEN={MASK}; reboot"),
        ('curl -H "Authorization: Bearer hunter22" http://x', f'curl -H "Authorization: {MASK}" http://x'),
        ("https://alice:hunter22@example.org/x", f"https://alice:{MASK}@example.org/x"),
        ("a=1\npassword: hunter22\nb=2", f"a=1\npassword: {MASK}\nb=2"),
        ({"a": {"b": {"c": {"d": {"e": "hunter22"}}}}}, {"a": {"b": {"c": {"d": "..."}}}}),
    ],
)
def test_secrets_inside_of_values_are_hidden_and_what_surrounds_them_is_shown(value: object, shown: object) -> None:
    assert redacted(handler(), {"value": value})["value"] == shown


def test_what_is_long_is_cut() -> None:
    told = redacted(handler(), {"text": "x" * 10_000, "items": list(range(100)), "map": {str(n): n for n in range(99)}})
    assert told["text"] == f"{'x' * 200}... (10000 characters)"
    assert told["items"][-1] == "... 84 more"
    assert told["map"]["..."] == 83
    assert len(redacted(handler(), {str(number): number for number in range(1000)})) == 16


def test_a_long_text_costs_little() -> None:
    """What a peer sends must not keep the event loop: the lines are bounded before they are searched."""
    hostile = "password password " * 50_000
    assert len(str(redacted(handler(), {"text": hostile}))) < 1000


passwords = st.text(string.ascii_letters + string.digits + "!#%&()*+,-./:;<=>?@[]^_{|}~", min_size=6, max_size=40)
plain = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.binary(max_size=8)
nested = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


@given(passwords, st.sampled_from(["password", "api_key", "TOKEN", "client_secret"]), nested, st.integers(0, 6))
def test_a_password_is_seen_nowhere_whatever_surrounds_it(password: str, name: str, around: Any, way: int) -> None:
    """Each way in which programs are given passwords."""
    assume(password not in repr(around) and not password.startswith("-"))
    told: Any = [
        {name: password},
        {"env": {name: password}, "around": around},
        {"argv": ["tool", f"--{name}", password, "x"]},
        {"argv": ["tool", f"--{name}={password}"]},
        {"line": f"tool --{name} {shlex.quote(password)} x"},
        {"line": f"export {name}={shlex.quote(password)}; tool"},
        {"deep": [[{"config": {name: [password, {"again": password}]}}]]},
    ][way]
    assert password not in json.dumps(redacted(handler(), told), ensure_ascii=False)


@given(st.text(min_size=1, max_size=60), st.text(max_size=20), st.text(max_size=20), st.integers(0, 3))
def test_no_error_quotes_a_secret_argument(secret: str, before: str, after: str, way: int) -> None:
    quoted = [secret, repr(secret), ascii(secret), secret[: max(6, len(secret) // 2)]][way]
    text = f"{before}{quoted}{after}"
    params = {"value": secret}
    clean = without_secrets(handler("value"), params, InvalidArgument(text))
    assert isinstance(clean, InvalidArgument)
    assert clean is not None
    assert "its message held a secret" in str(clean) or not holds_secret(text, [secret])
    unforeseen = without_secrets(handler("value"), params, KeyError(text))
    assert isinstance(unforeseen, (KeyError, InternalError))
    assert isinstance(unforeseen, InternalError) or secret not in str(unforeseen)


@given(st.text(min_size=13, max_size=100).filter(lambda text: len(set(text)) > 5), st.integers(0, 80))
def test_a_part_of_a_secret_counts_as_one(secret: str, start: int) -> None:
    """Messages show the ends of long values."""
    part = secret[start : start + 8]
    assume(len(part) == 8)
    assert holds_secret(f"got {part}...", [secret])


def test_the_data_of_an_error_and_what_it_came_from_count_too() -> None:
    params = {"value": "hunter22"}
    with_data = InvalidArgument("no", data={"got": "hunter22"})
    clean = without_secrets(handler("value"), params, with_data)
    assert clean is not with_data
    assert isinstance(clean, CallError)
    assert clean.data is None
    found = ValueError("could not be found")
    found.__cause__ = KeyError("hunter22")
    assert isinstance(without_secrets(handler("value"), params, found), InternalError)


def test_an_error_without_a_secret_is_left_alone() -> None:
    error = NotFound("there is no user alice")
    assert without_secrets(handler("value"), {"value": "hunter22", "user": "alice"}, error) is error
    assert without_secrets(handler(), {"user": "alice"}, error) is error


def test_an_error_keeps_its_code() -> None:
    clean = without_secrets(handler("value"), {"value": "hunter22"}, CallError("hunter22", code=1234))
    assert isinstance(clean, CallError)
    assert clean.code == 1234


def test_secrets_are_found_in_what_is_nested() -> None:
    assert secrets_of(handler("value"), {"value": [{"a": "one"}, b"two", 3], "other": "x"}) == ["one", "two", "3"]
