"""The agent becomes a service of a guest, and leaves it as it was."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtagent.cli.installing import install_or_uninstall, own_command
from virtagent.guest.installation import (
    ARCHIVE,
    Installation,
    InstallationError,
    below_agent,
    shipped,
    unit_words,
    wanted_by,
)

COMMAND = ["/usr/local/bin/virtagentd"]
WANTS = r"etc/systemd/system/dev-virtio\x2dports-org.virtagent.0.device.wants/virtagentd.service"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A guest's root directory with systemd, Python and an agent."""
    root = tmp_path / "image"
    for name in ("usr/lib/systemd/systemd", "usr/bin/python3", "usr/local/bin/virtagentd"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch(0o755)
    for name in ("etc/systemd/system", "etc/udev/rules.d", "var/lib", "var/cache", "run"):
        (root / name).mkdir(parents=True, exist_ok=True)
    return root


def listing(root: Path) -> dict[str, tuple[int, str | bytes]]:
    """All that is below a directory: mode, and link target or content."""
    found: dict[str, tuple[int, str | bytes]] = {}
    for path in root.rglob("*"):
        content: str | bytes = b""
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_bytes()
        found[str(path.relative_to(root))] = (path.lstat().st_mode, content)
    return found


def installation(image: Path, said: list[str] | None = None, *, dry_run: bool = False) -> Installation:
    lines = [] if said is None else said
    return Installation(COMMAND, root=image, dry_run=dry_run, say=lines.append)


def test_install_puts_units_rule_and_configuration_in_place_and_enables_the_unit(image: Path) -> None:
    said: list[str] = []
    installation(image, said).install()
    unit = (image / "etc/systemd/system/virtagentd.service").read_text()
    assert "\nExecStart=/usr/local/bin/virtagentd\n" in unit
    serial = (image / "etc/systemd/system/virtagentd@.service").read_text()
    assert "\nExecStart=/usr/local/bin/virtagentd --channel serial:/dev/%I?baud=${BAUD}\n" in serial
    assert os.readlink(image / WANTS) == "/etc/systemd/system/virtagentd.service"
    assert (image / "etc/udev/rules.d/60-virtagent.rules").read_text() == shipped("60-virtagent.rules")
    assert (image / "etc/virtagent/agent.toml").read_text() == shipped("agent.toml")
    assert (image / "etc/virtagent/services").is_dir()
    assert "wrote /etc/systemd/system/virtagentd.service" in said


def test_installing_again_changes_nothing_and_says_so(image: Path) -> None:
    installation(image).install()
    before = listing(image)
    said: list[str] = []
    installation(image, said).install()
    assert listing(image) == before
    assert said
    assert all(line.startswith("unchanged ") for line in said)


def test_uninstall_leaves_nothing(image: Path) -> None:
    before = listing(image)
    installation(image).install()
    for directory in ("var/lib/virtagent", "var/cache/virtagent/build", "run/virtagent"):
        (image / directory).mkdir(parents=True)
    (image / "etc/systemd/system/dev-ttyS1.device.wants").mkdir()
    (image / "etc/systemd/system/dev-ttyS1.device.wants/virtagentd@ttyS1.service").symlink_to("../virtagentd@.service")
    installation(image).uninstall()
    assert listing(image) == before
    said: list[str] = []
    installation(image, said).uninstall()
    assert (said, listing(image)) == ([], before)


def test_a_changed_configuration_and_kept_state_stay_unless_purged(image: Path) -> None:
    before = listing(image)
    installation(image).install()
    configuration = image / "etc/virtagent/agent.toml"
    configuration.write_text("[agent]\nname = 'mine'\n")
    (image / "var/lib/virtagent").mkdir()
    (image / "var/lib/virtagent/kv").write_text("1")
    said: list[str] = []
    installation(image, said).install()
    assert configuration.read_text() == "[agent]\nname = 'mine'\n"
    assert "kept /etc/virtagent/agent.toml, which was changed" in said
    said.clear()
    installation(image, said).uninstall()
    assert configuration.exists()
    assert (image / "var/lib/virtagent/kv").exists()
    assert [line for line in said if line.startswith("kept ")] == [
        "kept /etc/virtagent/agent.toml, which was changed (--purge removes it)",
        "kept /var/lib/virtagent, which is not empty (--purge removes it)",
    ]
    installation(image).uninstall(purge=True)
    assert listing(image) == before


def test_a_dry_run_changes_nothing_and_says_what_would_be_done(image: Path) -> None:
    before = listing(image)
    said: list[str] = []
    installation(image, said, dry_run=True).install()
    assert listing(image) == before
    assert "would have wrote" not in " ".join(said)
    assert "would write /etc/systemd/system/virtagentd.service" in said
    installation(image).install()
    before = listing(image)
    said.clear()
    installation(image, said, dry_run=True).uninstall()
    assert listing(image) == before
    assert "would remove /etc/systemd/system/virtagentd.service" in said


def test_links_of_an_image_do_not_lead_out_of_it(image: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (image / "etc/udev/rules.d").rmdir()
    (image / "etc/udev/rules.d").symlink_to("/rules")
    (image / "etc/virtagent").symlink_to("../../../../../../../../etc-of-the-image")
    installation(image).install()
    assert (image / "rules/60-virtagent.rules").exists()
    assert (image / "etc-of-the-image/agent.toml").exists()
    assert not Path("/rules").exists()
    (image / "etc/udev/rules.d").unlink()
    (image / "etc/udev/rules.d").symlink_to("rules.d/again")
    with pytest.raises(InstallationError, match="too many symbolic links"):
        installation(image).install()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda root: (root / "usr/lib/systemd/systemd").unlink(), "no systemd in this guest"),
        (lambda root: (root / "usr/local/bin/virtagentd").unlink(), "has no /usr/local/bin/virtagentd"),
        (
            lambda root: [
                (root / "usr/lib/systemd/system").mkdir(),
                (root / "usr/lib/systemd/system/virtagentd.service").touch(),
            ],
            "apt install or apt remove virtagent",
        ),
    ],
)
def test_what_stands_in_the_way_is_told_and_nothing_is_done(image: Path, spoil: object, told: str) -> None:
    spoil(image)  # type: ignore[operator]
    before = listing(image)
    with pytest.raises(InstallationError, match=told):
        installation(image).install()
    assert listing(image) == before


@pytest.mark.root
def test_without_root_nothing_is_done_to_the_running_system() -> None:
    source = (
        "import os, sys, virtagent.cli.installing; from virtagent.cli.daemon import main; os.setuid(65534);"
        " sys.exit(main(['install']) or main(['uninstall']))"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert done.stderr == (
        "virtagentd install: only root can change a system's services: run it with sudo, or as root\n"
    )


def test_an_image_that_is_not_there_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert install_or_uninstall(["install", "--root", str(tmp_path / "none")]) == 1
    assert "is no directory: mount the image" in capsys.readouterr().err


def test_an_agent_in_a_single_file_is_copied_into_the_image(image: Path, tmp_path: Path) -> None:
    archive = tmp_path / "virtagentd.pyz"
    archive.write_bytes(b"PK")
    before = listing(image)
    service = Installation(own_command(archive), root=image, archive=archive, say=lambda _: None)
    service.install()
    copy = image / ARCHIVE.lstrip("/")
    assert (copy.read_bytes(), copy.stat().st_mode & 0o777) == (b"PK", 0o755)
    unit = (image / "etc/systemd/system/virtagentd.service").read_text()
    assert f"\nExecStart=/usr/bin/python3 -I {ARCHIVE}\n" in unit
    service.uninstall()
    made = set(listing(image)) - set(before)
    assert made <= {"usr/local/lib"}


def unquoted(line: str) -> list[str]:
    """What systemd makes of a command line (systemd.service(5)), for what `unit_words` may write."""
    words = re.findall(r'"(?:[^"\\]|\\.)*"|\S+', line)
    found = []
    for word in words:
        inner = re.sub(r"\\(.)", r"\1", word[1:-1]) if word.startswith('"') else word
        found.append(inner.replace("%%", "%").replace("$$", "$"))
    return found


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1), min_size=1)
)
def test_a_command_comes_back_whole_from_a_unit(words: list[str]) -> None:
    assert unquoted(unit_words(words)) == words


def test_the_unit_is_wanted_by_the_ports_device() -> None:
    assert wanted_by(shipped("virtagentd.service")) == r"dev-virtio\x2dports-org.virtagent.0.device"


@pytest.mark.parametrize(
    ("control_groups", "below"),
    [
        ("0::/system.slice/virtagentd.service\n", True),
        ("0::/system.slice/system-virtagentd.slice/virtagentd@ttyS1.service/payload\n", True),
        ("12:pids:/user.slice\n0::/system.slice/virtagentd.service\n", True),
        ("0::/system.slice/run-r1.service\n", False),
        ("0::/user.slice/user-0.slice/session-1.scope\n", False),
    ],
)
def test_it_is_known_what_was_started_through_the_agent(control_groups: str, below: bool) -> None:
    assert below_agent(control_groups) is below
