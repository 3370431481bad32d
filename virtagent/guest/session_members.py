"""Which processes belong to a session (setsid(2))."""

from __future__ import annotations

from virtagent.guest.proc_stat import pids, read_stat

__all__ = ["groups_of_session"]


def groups_of_session(session: int, start_ticks: int | None) -> set[int]:
    """The process groups of a session: a shell with job control makes one for each of its jobs.

    Args:
        session: the pid of its leader.
        start_ticks: when the leader began; None: it has ended. Any other process of its pid leads another session.
    """
    found: set[int] = set()
    for pid in pids():
        stat = read_stat(pid)
        if stat is None or stat.session != session:
            continue
        if stat.pid == session and stat.start_ticks != start_ticks:
            return set()
        found.add(stat.group)
    return found
