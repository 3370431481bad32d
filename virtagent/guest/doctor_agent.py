"""Checks of the agent itself: its channels, its configuration, its libraries, its room."""

from __future__ import annotations

import os
import resource
import shutil
from importlib.util import find_spec

from virtagent.guest import runtime
from virtagent.guest.doctor import Check, Result, fail, ok, warn
from virtagent.guest.resources import Resources

__all__ = ["CHECKS"]

LIBRARIES = {
    "pyroute2": "reading and changing the network",
    "dbus_fast": "units, power, log-ins and their events",
    "asyncinotify": "watching and following files",
    "pyudev": "events of devices",
}

TOOLS = {
    "sh": "shell lines",
    "journalctl": "the journal",
    "systemctl": "telling a reboot from a stop",
    "chpasswd": "setting passwords",
}

CONFIGURATION = "/etc/virtagent/agent.toml"

FULL_BELOW = 1024 * 1024
SCARCE_BELOW = 64 * 1024 * 1024
"""Bytes that are free."""


def channels(resources: Resources) -> Result:
    """Whether each channel has what it needs."""
    told, bad = [], []
    for each in resources.channels:
        peers = len(each.peers)
        told.append(f"{each.url.partition('?')[0]} ({peers} peer{'s' * (peers != 1)})")
        bad += [f"{peer.detail}" for peer in each.peers if peer.channel is None]
    if bad:
        return warn(f"not served at the moment: {'; '.join(bad)}", "see docs/channels.md for the machine's device")
    return ok(f"serves {', '.join(told)}") if told else ok("runs outside of the daemon")


def virtio(resources: Resources) -> Result:
    """Whether there are ports of virtio-serial, and the agent may use its own."""
    folder = "/dev/virtio-ports"
    ports = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    wanted = [each.url.partition("?")[0][7:] for each in resources.channels if each.url.startswith("virtio:")]
    for port in wanted:
        path = port if port.startswith("/") else f"{folder}/{port}"
        if not os.path.exists(path):
            there = f"there are {', '.join(ports)}" if ports else "this machine has none"
            return fail(
                f"the virtio port {port} is missing; {there}",
                f'give the machine a channel of type virtio named "{port}", and modprobe virtio_console here',
            )
        if not os.access(path, os.R_OK | os.W_OK):
            return fail(
                f"the agent may not use {path}", "run it as root, or install its udev rule (virtagentd install)"
            )
    if wanted:
        return ok(f"{', '.join(wanted)} {'is' if len(wanted) == 1 else 'are'} there")
    return ok("no channel needs one" + (f"; there are {', '.join(ports)}" if ports else ""))


def configuration(resources: Resources) -> Result:
    """Whether the file of the agent is still what the agent was started with, and right."""
    from virtagent.guest.configuration import Configuration  # noqa: PLC0415
    from virtagent.guest.configuration_file import ConfigurationError, read_document  # noqa: PLC0415

    file = CONFIGURATION
    if not os.path.exists(file):
        return ok(f"there is no {file}: the defaults")
    try:
        found = read_document(file).configuration()
    except ConfigurationError as error:
        return fail(error.mistakes[0], "virtagentd --check tells all mistakes; the agent would not start again")
    if found.policy != resources.configuration.policy:
        remedy = "restart the agent (systemctl restart virtagentd) to have it"
        return warn(f"the policy in {file} is not the one that the agent was started with", remedy)
    return ok(f"{file} has no mistakes" + ("" if found != Configuration() else ", and says nothing"))


def libraries(resources: Resources) -> Result:
    """Whether the optional libraries are installed."""
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if missing:
        told = "; ".join(f"{name} ({LIBRARIES[name]})" for name in missing)
        return warn(f"not installed: {told}", "pip install virtagent[guest]")
    return ok(f"{', '.join(LIBRARIES)} are installed")


def tools(resources: Resources) -> Result:
    """Whether programs that services may call are there."""
    missing = [name for name in TOOLS if shutil.which(name) is None]
    if "sh" in missing:
        return fail("there is no sh in PATH", "install a shell, or set PATH of the agent's service")
    if missing:
        return warn(f"not found: {'; '.join(f'{each} ({TOOLS[each]})' for each in missing)}", "install what you need")
    return ok(f"{', '.join(TOOLS)} are there")


def state_directory(resources: Resources) -> Result:
    """Whether there is room for what the agent keeps."""
    path = runtime.state_directory()
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    found = os.statvfs(path)
    free = found.f_bavail * found.f_frsize
    told = f"{path} has {free // 2**20} MiB free"
    if found.f_flag & os.ST_RDONLY:
        return warn(
            f"{path} is on a filesystem mounted read-only", "mount it read-write, for what is to outlive a boot"
        )
    if free < FULL_BELOW or (found.f_files and not found.f_favail):
        return fail(f"{told}, {found.f_favail} inodes", "free some: jobs, key/value pairs and uploads fail")
    if free < SCARCE_BELOW:
        return warn(told, "free some soon")
    if not os.access(path, os.W_OK):
        return warn(
            f"the agent may not write to {path}", "run it as root, or let its unit have StateDirectory=virtagent"
        )
    return ok(told)


def descriptors(resources: Resources) -> Result:
    """Whether enough files can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    told = f"{used} of {soft} descriptors are open"
    if soft - used < 64:
        return fail(told, "LimitNOFILE= in the agent's unit lets it have more; health.dump shows what it does")
    if soft < 1024:
        return warn(told, f"LimitNOFILE=1024 in the agent's unit (the hard limit is {hard})")
    return ok(told)


def threads(resources: Resources) -> Result:
    """Whether threads hang that nobody waits for any more."""
    stuck = sum(peer.statistics()["stuck_threads"] for each in resources.channels for peer in each.peers)
    if stuck:
        return warn(f"{stuck} threads run on after their call was cancelled", "health.dump and dmesg may tell on what")
    return ok("none hangs")


def audit(resources: Resources) -> Result:
    """Whether all calls that change something were written down."""
    from virtagent.guest.journal_socket import SOCKET  # noqa: PLC0415

    where = "the journal" if os.path.exists(SOCKET) else "the agent's log, as there is no journal"
    if resources.audit is not None and resources.audit.dropped:
        return warn(
            f"{resources.audit.dropped} lines were lost", "see whether systemd-journald hangs (its disk is full?)"
        )
    return ok(f"goes to {where}; {resources.audit.written if resources.audit is not None else 0} lines so far")


def supervision(resources: Resources) -> Result:
    """Whether something starts the agent again."""
    if os.environ.get("INVOCATION_ID"):
        return ok("systemd started the agent" + ("" if os.environ.get("WATCHDOG_USEC") else ", without a watchdog"))
    return warn("nothing starts the agent again if it ends", "virtagentd install makes it a service of systemd")


CHECKS = (
    Check("channels", channels),
    Check("virtio-port", virtio),
    Check("configuration", configuration),
    Check("supervision", supervision),
    Check("libraries", libraries),
    Check("tools", tools),
    Check("state-directory", state_directory),
    Check("descriptors", descriptors),
    Check("threads", threads),
    Check("audit", audit),
)
