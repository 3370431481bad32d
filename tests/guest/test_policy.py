"""What a policy grants to whom."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtagent.guest.configuration import Configuration, PolicyRule
from virtagent.guest.explanation import explain
from virtagent.guest.peer_identity import PeerIdentity, user_name
from virtagent.guest.policy import Policy, default_roles

ADMIN, OBSERVE = frozenset({"admin"}), frozenset({"observe"})

SOMEBODY = 4242 if os.geteuid() != 4242 else 4243


def unix(uid: int, gid: int = 0, channel: str = "unix:/run/virtagent.sock") -> PeerIdentity:
    return PeerIdentity(channel, "unix", uid=uid, gid=gid, pid=1)


def roles_of(identity: PeerIdentity, *rules: PolicyRule) -> frozenset[str]:
    return Policy(rules).grant(identity).roles


@pytest.mark.parametrize(
    ("identity", "roles"),
    [
        (PeerIdentity("virtio:org.virtagent.0", "virtio"), ADMIN),
        (PeerIdentity("serial:/dev/ttyS1", "serial"), ADMIN),
        (PeerIdentity("stdio:", "stdio"), ADMIN),
        (PeerIdentity("exec:ssh web1", "exec"), ADMIN),
        (unix(0), ADMIN),
        (unix(os.geteuid()), ADMIN),
        (unix(SOMEBODY), OBSERVE),
        (PeerIdentity("vsock:any:7000", "vsock", cid=2), ADMIN),
        (PeerIdentity("vsock:any:7000", "vsock", cid=3), OBSERVE),
        (PeerIdentity("vsock:any:7000", "vsock", cid=1), OBSERVE),
        (PeerIdentity("tcp:127.0.0.1:7000", "tcp"), OBSERVE),
        (PeerIdentity("tls:any:7000", "tls", certificate="admin"), OBSERVE),
        (PeerIdentity("carrier-pigeon:", "carrier-pigeon"), OBSERVE),
    ],
)
def test_without_rules_only_who_owns_the_machine_may_do_everything(
    identity: PeerIdentity, roles: frozenset[str]
) -> None:
    grant = Policy().grant(identity)
    assert grant.roles == roles
    assert grant.who == str(identity)
    assert grant.rule == f"the default for {identity.scheme}: channels"


def test_the_first_rule_that_fits_counts_and_no_other() -> None:
    rules = [
        PolicyRule(channel="unix", users=(SOMEBODY,), roles=("exec",)),
        PolicyRule(channel="unix", roles=("files-read",)),
        PolicyRule(channel="unix", users=(0,), roles=("admin",)),
    ]
    assert roles_of(unix(SOMEBODY), *rules) == {"exec"}
    assert roles_of(unix(0), *rules) == {"files-read"}
    assert Policy(rules).grant(unix(0)).rule == "rule 2 of the policy"


def test_a_rule_without_roles_takes_the_defaults_away() -> None:
    assert roles_of(unix(0), PolicyRule()) == frozenset()


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("*", True),
        ("unix", True),
        ("unix:*", True),
        ("unix:/run/*", True),
        ("unix:/run/virtagent.sock", True),
        ("[tu]*", True),
        ("unix:/run/other.sock", False),
        ("tcp", False),
        ("uni", False),
        ("UNIX:*", False),
    ],
)
def test_a_channel_is_meant_by_its_scheme_or_a_pattern_of_its_url(pattern: str, fits: bool) -> None:
    assert (roles_of(unix(0), PolicyRule(channel=pattern, roles=("power",))) == {"power"}) is fits


def test_users_are_meant_by_name_or_number() -> None:
    rule = PolicyRule(users=("root", SOMEBODY), roles=("power",))
    assert roles_of(unix(0), rule) == {"power"}
    assert roles_of(unix(SOMEBODY), rule) == {"power"}
    assert roles_of(unix(SOMEBODY + 1), rule) == OBSERVE


def test_a_user_that_does_not_exist_is_told_and_is_nobody() -> None:
    policy = Policy([PolicyRule(users=("no-such-user-here",), roles=("admin",))])
    assert policy.notes == [
        "rule 1 of the policy: there is no user 'no-such-user-here'; the rule does not fit that one"
    ]
    assert policy.grant(unix(SOMEBODY)).roles == OBSERVE


def test_groups_are_those_of_the_process_and_those_that_list_its_user() -> None:
    import grp

    rule = PolicyRule(groups=("root",), roles=("power",))
    assert roles_of(unix(SOMEBODY, gid=0), rule) == {"power"}
    assert roles_of(unix(SOMEBODY, gid=SOMEBODY), rule) == OBSERVE
    assert roles_of(unix(SOMEBODY, gid=SOMEBODY), PolicyRule(groups=(SOMEBODY,), roles=("power",))) == {"power"}
    listed = next((each for each in grp.getgrall() if each.gr_mem and each.gr_mem != ["root"]), None)
    if listed is not None:
        import pwd

        member = pwd.getpwnam(listed.gr_mem[0]).pw_uid
        assert roles_of(unix(member, gid=SOMEBODY), PolicyRule(groups=(listed.gr_name,), roles=("power",))) == {"power"}
    assert "no group" in Policy([PolicyRule(groups=("no-such-group-here",))]).notes[0]


def test_certificates_are_meant_by_patterns_of_their_names() -> None:
    rule = PolicyRule(channel="tls", certificates=("*.ops.example", "backup"), roles=("files-read",))

    def roles(name: str | None) -> frozenset[str]:
        return roles_of(PeerIdentity("tls:any:7000", "tls", certificate=name), rule)

    assert roles("one.ops.example") == {"files-read"}
    assert roles("backup") == {"files-read"}
    assert roles("backup.evil.example") == OBSERVE
    assert roles(None) == OBSERVE


def test_a_condition_that_a_channel_cannot_meet_is_not_met() -> None:
    """A rule for users says nothing of peers that have none."""
    for rule in (PolicyRule(users=(0,), roles=("admin",)), PolicyRule(groups=(0,), roles=("admin",))):
        assert roles_of(PeerIdentity("tcp:127.0.0.1:1", "tcp"), rule) == OBSERVE
    assert roles_of(unix(SOMEBODY), PolicyRule(cids=(2,), roles=("admin",))) == OBSERVE
    assert roles_of(unix(SOMEBODY), PolicyRule(certificates=("*",), roles=("admin",))) == OBSERVE


def test_what_a_rule_says_is_the_grant() -> None:
    rule = PolicyRule(
        roles=("exec",),
        allow=("a.*",),
        deny=("b.*",),
        read_roots=("/srv/",),
        write_roots=("/srv//in",),
        commands=("/bin/ls",),
        calls=1,
        processes=2,
        watches=3,
        bytes=4,
    )
    grant = Policy([rule]).grant(unix(0))
    assert (grant.allow, grant.deny, grant.commands) == (("a.*",), ("b.*",), ("/bin/ls",))
    assert (grant.read_roots, grant.write_roots) == (("/srv",), ("/srv/in",))
    assert (grant.calls, grant.processes, grant.watches, grant.bytes) == (1, 2, 3, 4)
    assert Policy([PolicyRule()]).grant(unix(0)).bytes is None


def test_who_may_only_read_may_write_nowhere() -> None:
    grant = Policy([PolicyRule(roles=("files-read",), read_only=True)]).grant(unix(0))
    assert (grant.read_only, grant.write_roots) == (True, ())


identities = st.builds(
    PeerIdentity,
    channel=st.sampled_from(["unix:/run/a", "tls:any:1", "vsock:any:1", "tcp:h:1", "virtio:x"]),
    scheme=st.just(""),
    uid=st.none() | st.integers(0, 5),
    gid=st.none() | st.integers(0, 5),
    certificate=st.none() | st.sampled_from(["a", "b.c"]),
    cid=st.none() | st.integers(0, 5),
).map(lambda each: each._replace(scheme=each.channel.partition(":")[0]))

rules = st.builds(
    PolicyRule,
    channel=st.sampled_from(["*", "unix", "tls", "vsock:*", "virtio:x", "tcp"]),
    users=st.none() | st.lists(st.integers(0, 5), max_size=3).map(tuple),
    groups=st.none() | st.lists(st.integers(1_000_000, 1_000_005), max_size=3).map(tuple),
    certificates=st.none() | st.lists(st.sampled_from(["a", "*", "b.*"]), max_size=2).map(tuple),
    cids=st.none() | st.lists(st.integers(0, 5), max_size=2).map(tuple),
    roles=st.lists(st.sampled_from(["observe", "exec", "admin"]), max_size=2).map(tuple),
)


@given(identities, st.lists(rules, max_size=4), rules)
def test_a_later_rule_never_changes_what_an_earlier_one_decides(
    identity: PeerIdentity, earlier: list[PolicyRule], later: PolicyRule
) -> None:
    before = Policy(earlier).grant(identity)
    after = Policy([*earlier, later]).grant(identity)
    assert before == after or before.rule.startswith("the default")


@given(identities, st.lists(rules, max_size=4))
def test_a_peer_gets_what_one_rule_says_or_the_default_and_never_a_mixture(
    identity: PeerIdentity, given_rules: list[PolicyRule]
) -> None:
    grant = Policy(given_rules).grant(identity)
    if grant.rule.startswith("rule "):
        rule = given_rules[int(grant.rule.split()[1]) - 1]
        assert grant.roles == set(rule.roles)
        assert rule.users is None or identity.uid in rule.users
        assert rule.cids is None or identity.cid in rule.cids
    else:
        assert grant.roles == default_roles(identity)


# -- who they are, in words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("identity", "told"),
    [
        (unix(0), "user root (uid 0) at unix:/run/virtagent.sock"),
        (unix(3_999_999_999), "uid 3999999999 at unix:/run/virtagent.sock"),
        (PeerIdentity("tls:any:1", "tls", certificate="ops"), "certificate 'ops' at tls:any:1"),
        (PeerIdentity("vsock:any:1", "vsock", cid=2), "the host at vsock:any:1"),
        (PeerIdentity("vsock:any:1", "vsock", cid=7), "cid 7 at vsock:any:1"),
        (PeerIdentity("virtio:org.virtagent.0", "virtio"), "the peer at virtio:org.virtagent.0"),
    ],
)
def test_a_peer_is_told_by_what_the_kernel_knows_of_it(identity: PeerIdentity, told: str) -> None:
    assert str(identity) == told


def test_names_of_users_come_from_the_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "passwd"
    file.write_text("broken\nalice:x:1000:1000::/home/alice:/bin/sh\n")
    assert user_name(1000, str(file)) == "alice"
    assert user_name(1001, str(file)) == ""
    assert user_name(0, str(tmp_path / "none")) == "root"


# -- --check ------------------------------------------------------------------------------------------------------


def explained(channels: tuple[str, ...], *rules: PolicyRule) -> list[str]:
    from msgspec import structs

    configuration = Configuration(policy=rules)
    return list(explain(structs.replace(configuration, agent=structs.replace(configuration.agent, channels=channels))))


def test_each_channel_is_explained_with_the_rules_that_may_fit_it() -> None:
    assert explained(("virtio:x", "unix:/a"), PolicyRule(channel="unix", users=(5,), roles=("exec",), calls=3)) == [
        "channel virtio:x:",
        "  others, by default: admin",
        "channel unix:/a:",
        "  rule 1 (users 5): exec; calls = 3",
        "  others, by default: root and the agent's own user: admin; others: observe",
    ]


def test_what_no_peer_can_reach_is_noted() -> None:
    assert explained(("tcp:127.0.0.1:1",), PolicyRule(), PolicyRule(roles=("admin",))) == [
        "channel tcp:127.0.0.1:1:",
        "  rule 1: nothing but what allow says",
        "note: rule 2 of the policy is never reached: earlier ones fit all of its peers",
    ]


def test_a_rule_for_a_channel_that_is_not_served_is_noted() -> None:
    assert explained(("virtio:x",), PolicyRule(channel="tls"))[-1] == (
        "note: rule 1 of the policy fits none of the channels (tls)"
    )
