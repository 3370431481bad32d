"""The configuration file, and what is told of mistakes in it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtagent.errors import UsageError
from virtagent.guest.configuration import AgentSection, Configuration, PolicyRule
from virtagent.guest.configuration_check import check
from virtagent.guest.configuration_file import ConfigurationError, read_document


def configuration(directory: Path, text: str) -> Configuration:
    file = directory / "agent.toml"
    file.write_text(text)
    file.chmod(0o600)
    return read_document(str(file)).configuration()


def mistakes(directory: Path, text: str) -> list[str]:
    """What is told, without the file's name, which each line must begin with."""
    with pytest.raises(ConfigurationError) as caught:
        configuration(directory, text)
    start = f"{directory / 'agent.toml'}, "
    assert all(each.startswith(start) and "\n" not in each for each in caught.value.mistakes)
    return [each.removeprefix(start) for each in caught.value.mistakes]


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    assert configuration(tmp_path, "") == Configuration()


def test_what_a_file_says_is_taken(tmp_path: Path) -> None:
    found = configuration(
        tmp_path,
        """
        [agent]
        channels = ["virtio:org.virtagent.0", "unix:/run/virtagent.sock"]
        heartbeat = 0
        keepalive = 2.5

        [[policy]]
        channel = "unix"
        users = ["backup", 1000]
        roles = ["files-read"]
        read_roots = ["/srv"]

        [[policy]]
        channel = "tls:*"
        certificates = ["*.ops.example"]
        roles = ["admin"]
        """,
    )
    assert found.agent == AgentSection(
        channels=("virtio:org.virtagent.0", "unix:/run/virtagent.sock"), heartbeat=0, keepalive=2.5
    )
    assert [each.channel for each in found.policy] == ["unix", "tls:*"]
    assert found.policy[0] == PolicyRule(
        channel="unix", users=("backup", 1000), roles=("files-read",), read_roots=("/srv",)
    )


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("[agent]\nchanels = []", 2, "unknown key 'chanels' in [agent]; did you mean channels?"),
        ("[agnet]", 1, "unknown key 'agnet' in the file; did you mean agent?"),
        ("\n\nheartbeat = 1", 3, "unknown key 'heartbeat' in the file; it belongs to [agent]"),
        ("[agent]\nroles = []", 2, "unknown key 'roles' in [agent]; it belongs to [policy]"),
        ("[[policy]]\n[[policy]]\nzzz = 1", 3, "unknown key 'zzz' in [policy]; known are channel, users"),
        ('[agent]\nheartbeat = "10"', 2, 'heartbeat: expected a number, not "10"; write for example heartbeat = 10.0'),
        ("[agent]\nheartbeat = -1", 2, "heartbeat: expected a number >= 0.0, not -1"),
        ("[agent]\nheartbeat = nan", 2, "heartbeat = nan is no number to work with"),
        ("[agent]\nheartbeat = 0.01", 2, "is too often; write 0.1 or more, or 0"),
        ("[agent]\nname = 5", 2, 'name: expected text in quotes, not 5; write for example name = "web1"'),
        ('[agent]\nlog_level = "loud"', 2, 'expected "debug" or "info" or "warning" or "error", not "loud"'),
        ('[agent]\nservices = "here"', 2, "services: expected an absolute path"),
        ('[agent]\nchannels = "unix:/x"', 2, 'channels: expected a list such as ["one", "two"], not "unix:/x"'),
        ('[agent]\nchannels = [\n"unix:/x",\n"uxin:/y",\n]', 4, "unknown scheme"),
        ('[agent]\nchannels = ["unix:/x",\n"unix:/x"]', 3, "the channel unix:/x is given twice; drop one"),
        ("agent = 3", 1, "agent is a table; write [agent] and its keys below"),
        ("[policy]\nroles = []", 1, "there may be several of policy; write [[policy]] with two brackets"),
        ('[[policy]]\nroles = ["root"]', 2, 'expected "observe" or "files-read" or "files-write"'),
        ('[[policy]]\nread_roots = ["srv"]', 2, 'read_roots: expected an absolute path, not "srv"'),
        ('[[policy]]\nread_roots = ["/",\n"/srv/../etc"]', 3, '/srv/../etc climbs with ".."'),
        ("[[policy]]\ncalls = 1.5", 2, "calls: expected a whole number, not 1.5; write for example calls = 1024"),
        ('[[policy]]\nread_only = "yes"', 2, 'read_only: expected true or false, not "yes"'),
        ("[[policy]]\nusers = [true]", 2, "users: expected a whole number or text in quotes, not true"),
        ('[[policy]]\nchannel = "tls"\nusers = ["root"]', 3, "users are known of unix: channels only"),
        ('[[policy]]\nchannel = "unix"\ncertificates = ["x"]', 3, "certificates are known of tls: channels only"),
        ('[[policy]]\nchannel = "unix"\ncids = [3]', 3, "cids are known of vsock: channels only"),
        ("[[policy]]\nusers = []", 2, "users = [] matches nobody; name some, or drop it"),
        ("[[policy]]\nusers = [0]\ncids = [2]", 1, "never two of them; write a rule for each"),
        ('[[policy]]\nroles = ["exec"]\nread_only = true', 3, "read_only = true forbids what the role exec is for"),
        ('[[policy]]\nroles = ["observe"]\ncommands = ["/bin/ls"]', 3, 'add "exec" to roles, or drop commands'),
        ('[telemetry]\nendpoint = "http://x"', 2, "endpoint needs an exporter"),
        ("[agent]\nname =", 2, "no TOML"),
        ('[agent]\nname = "x', 2, "no TOML"),
        ("[agent]\n[agent]", 2, "no TOML"),
        ("=", 1, "no TOML"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_what_to_write(text: str, line: int, told: str, tmp_path: Path) -> None:
    (found,) = mistakes(tmp_path, text)
    assert found.startswith(f"line {line}: ")
    assert told in found


def test_all_mistakes_are_told_in_the_order_of_their_lines(tmp_path: Path) -> None:
    text = '[[policy]]\nroles = "all"\nuser = "x"\n[agent]\nheartbeat = true\n[extra]\n'
    assert [each.partition(":")[0] for each in mistakes(tmp_path, text)] == ["line 2", "line 3", "line 5", "line 6"]


def test_windows_line_ends_do_not_shift_lines(tmp_path: Path) -> None:
    (found,) = mistakes(tmp_path, "[agent]\r\n# comment\r\nname = 5\r\n")
    assert found.startswith("line 3: ")


def test_what_is_no_text_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_bytes(b'[agent]\nname = "\xff"\n')
    with pytest.raises(ConfigurationError, match="line 2: this is not UTF-8"):
        read_document(str(file))


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_may_write_to_is_refused(mode: int, tmp_path: Path) -> None:
    """It says who may do what: whoever can change it can do everything."""
    file = tmp_path / "agent.toml"
    file.touch()
    file.chmod(mode)
    with pytest.raises(ConfigurationError, match="writable by others; chmod go-w it"):
        read_document(str(file))


@pytest.mark.root
def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.touch(0o600)
    os.chown(file, 65534, 65534)
    with pytest.raises(ConfigurationError, match="belongs to user 65534; chown it to root"):
        read_document(str(file))


def test_a_file_that_is_not_there_is_told_as_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_document(str(tmp_path / "none.toml"))


def test_a_file_that_is_nested_too_deep_is_told(tmp_path: Path) -> None:
    assert mistakes_of_nesting(tmp_path, 20_000) == ["nested too deep"]


def mistakes_of_nesting(directory: Path, depth: int) -> list[str]:
    file = directory / "agent.toml"
    file.write_text(f"x = {'[' * depth}{']' * depth}\n")
    with pytest.raises(ConfigurationError) as caught:
        read_document(str(file))
    return [each for each in ("nested too deep",) if each in str(caught.value)]


def test_what_a_key_says_can_be_looked_at_before_it_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('agent = { loop = "nonsense" }')
    document = read_document(str(file))
    assert document.said("agent", "loop") == "nonsense"
    assert document.said("agent", "name") is None
    assert document.said("policy", "roles") is None


def sections() -> list[type[msgspec.Struct]]:
    """All structs of the configuration."""
    found: list[type[msgspec.Struct]] = [Configuration]
    for each in found:
        for field in msgspec.structs.fields(each):
            kinds = [field.type, *getattr(field.type, "__args__", ())]
            kinds += [inner for kind in kinds for inner in getattr(kind, "__args__", ())]
            found += [
                kind
                for kind in kinds
                if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind not in found
            ]
    return found


@pytest.mark.parametrize("section", sections(), ids=lambda each: each.__name__)
def test_each_section_cannot_change_and_refuses_what_it_does_not_know(section: type[msgspec.Struct]) -> None:
    told = section.__struct_config__
    assert (told.frozen, told.forbid_unknown_fields) == (True, True)


def test_each_section_serves_without_a_file() -> None:
    for field in msgspec.structs.fields(Configuration):
        assert not field.required, field.name


def test_what_an_element_must_say_is_told(tmp_path: Path) -> None:
    (found,) = mistakes(tmp_path, "[[events.pressure]]\nstall = 0.1\n")
    assert found == 'line 1: resource is missing in events.pressure; write for example resource = "cpu"'


@pytest.mark.parametrize("section", sections(), ids=lambda each: each.__name__)
def test_each_key_has_a_bound_and_is_documented(section: type[msgspec.Struct]) -> None:
    documented = section.__doc__ or ""
    for field in msgspec.structs.fields(section):
        assert section is Configuration or field.encode_name in documented, f"{section.__name__}.{field.encode_name}"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_whatever_stands_in_a_section_is_told_and_raises_nothing_else(value: object) -> None:
    document = {"agent": value, "policy": [value], "telemetry": value}
    with contextlib.suppress(ConfigurationError):
        assert check("agent.toml", "", document) == Configuration(policy=(PolicyRule(),))


def test_each_section_and_key_is_in_the_docs() -> None:
    """A section on this page or, by its name, on that of its service, which has its keys."""
    docs = Path(__file__).parents[2] / "docs"
    page = (docs / "configuration.md").read_text()
    for field in msgspec.structs.fields(Configuration):
        assert f"`[{field.name}]`" in page or f"`[[{field.name}]]`" in page, field.name
    everything = "".join(each.read_text() for each in [docs / "configuration.md", docs / "policy.md"])
    for section in (AgentSection, PolicyRule):
        for field in msgspec.structs.fields(section):
            assert f"`{field.name}`" in everything, field.name
