"""Sources of events: when they run, and what becomes of those that cannot, or die."""

from __future__ import annotations

import ast
import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.guest.event_watching import LIMIT
from virtagent.api.event_kinds import GAP, KINDS, SOURCE_FAILED, SOURCE_STARTED, SUBSCRIBED
from virtagent.api.events import Event
from virtagent.errors import InvalidArgument, ResourceExhausted, Unavailable
from virtagent.guest import event_sources
from virtagent.guest.event_sources import SOURCES, EventSources, Source
from virtagent.guest.events import EventsService
from virtagent.guest.grants import Grant, Grants
from virtagent.guest.resources import Resources
from virtagent.peer.context import Context

GUEST = Path(__file__).parents[2] / "virtagent" / "guest"


class Switchboard:
    """Sources "mounts" and "units" that do as they are told.

    Attributes:
        runs: how often each was started.
        fail: put an error here, and the source fails with it.
        refuse: why the source cannot work; "": it can.
    """

    def __init__(self, linger: float = 0.0, grants: Grants | None = None) -> None:
        self.resources = Resources(grants=grants)
        self.runs = {"mounts": 0, "units": 0}
        self.fail: asyncio.Queue[Exception] = asyncio.Queue()
        self.refuse = {"mounts": "", "units": ""}
        self.sources = EventSources(self.resources, linger, {"mounts": self._watch, "units": self._watch})
        self.service = EventsService(self.resources, self.sources)

    async def _watch(self, source: Source) -> None:
        self.runs[source.name] += 1
        if self.refuse[source.name]:
            raise Unavailable(self.refuse[source.name])
        source.ready()
        raise await self.fail.get()

    def publish(self, kind: str = "mount.added", **fields: Any) -> int:
        return self.resources.events.publish(kind, **fields)


async def first(stream: AsyncIterator[Event]) -> Event:
    return await asyncio.wait_for(anext(stream), LIMIT)


async def close(stream: AsyncIterator[Event]) -> None:
    await stream.aclose()  # type: ignore[attr-defined]


async def test_a_source_runs_when_somebody_wants_its_kinds_and_ends_after_the_last_one_left() -> None:
    board = Switchboard()
    assert board.runs == {"mounts": 0, "units": 0}
    one, two = board.service.subscribe(("mount.*",)), board.service.subscribe(("mount.added", "agent.*"))
    opening = await first(one)
    assert opening.kind == SUBSCRIBED
    assert opening.fields == {"run": board.resources.events.run, "unavailable": {}, "unmatched": []}
    await first(two)
    assert board.runs == {"mounts": 1, "units": 0}
    assert [(each.source, each.state, each.subscribers) for each in await board.service.sources()] == [
        ("mounts", "running", 2),
        ("units", "idle", 0),
    ]
    board.publish("mount.added", mountpoint="/srv")
    board.publish("unit.failed", unit="nobody asked")
    assert (await first(one)).fields == {"mountpoint": "/srv"}
    await close(one)
    assert board.sources.all["mounts"].state == "running"
    await close(two)
    await close(two)
    while board.sources.all["mounts"].state != "idle":
        await asyncio.sleep(0)
    await board.sources.aclose()


async def test_a_source_lingers_for_who_comes_back_and_then_nothing_was_missed() -> None:
    board = Switchboard(linger=3600.0)
    stream = board.service.subscribe(("mount.*",))
    number = (await first(stream)).number
    run = board.resources.events.run
    await close(stream)
    board.publish("mount.added", mountpoint="/while/away")
    again = board.service.subscribe(("mount.*",), after=number, run=run)
    assert (await first(again)).kind == SUBSCRIBED
    event = await first(again)
    assert event.fields == {"mountpoint": "/while/away"}
    await close(again)
    board.publish("mount.removed", mountpoint="/while/away")
    third = board.service.subscribe(("mount.*",), after=event.number, run=run)
    assert [(await first(third)).kind for _ in range(2)] == [SUBSCRIBED, "mount.removed"]
    await close(third)
    assert board.runs["mounts"] == 1
    await board.sources.aclose()


async def test_who_comes_back_after_a_source_ended_is_told_that_nobody_watched() -> None:
    board = Switchboard()
    stream = board.service.subscribe(("mount.*",))
    await first(stream)
    number = board.publish("mount.added")
    assert (await first(stream)).number == number
    await close(stream)
    while board.sources.all["mounts"].state != "idle":
        await asyncio.sleep(0)
    again = board.service.subscribe(("mount.*",), after=number)
    assert (await first(again)).kind == SUBSCRIBED
    gap = await first(again)
    assert (gap.kind, gap.fields) == (GAP, {"reason": "unwatched", "sources": ["mounts"]})
    await close(again)
    await board.sources.aclose()


@pytest.mark.parametrize("after", [3, 10_000])
async def test_numbers_of_another_run_give_a_gap_and_all_that_this_run_has_kept(after: int) -> None:
    board = Switchboard()
    board.publish("agent.up", reason="restart")
    board.publish("agent.up", reason="x")
    board.publish("agent.up", reason="y")
    stream = board.service.subscribe(("agent.*",), after=after, run="another" if after == 3 else "")
    items = [await first(stream) for _ in range(3)]
    assert [each.kind for each in items] == [SUBSCRIBED, GAP, "agent.up"]
    assert items[1].fields == {"reason": "restarted"}
    assert items[2].number == 1
    await close(stream)


async def test_a_subscriber_who_is_slow_is_told_how_many_it_missed() -> None:
    board = Switchboard()
    stream = board.service.subscribe(("mount.*",))
    await first(stream)
    for number in range(1000):
        board.publish("mount.changed", mountpoint=str(number))
    gap = await first(stream)
    assert gap.kind == GAP
    following = await first(stream)
    assert gap.fields == {"missed": int(following.fields["mountpoint"]), "reason": "slow"}
    await close(stream)
    await board.sources.aclose()


async def test_a_source_that_cannot_work_is_told_and_fails_no_other_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_sources, "FIRST_RETRY", 0.0)
    board = Switchboard()
    board.refuse["units"] = "there is no systemd here"
    stream = board.service.subscribe(("mount.*", "unit.*", "mistyped.*"))
    opening = await first(stream)
    assert opening.fields["unavailable"] == {"units": "there is no systemd here"}
    assert opening.fields["unmatched"] == ["mistyped.*"]
    board.publish("mount.added")
    assert (await first(stream)).kind == "mount.added"
    states = {each.source: (each.state, each.detail) for each in await board.service.sources()}
    assert states == {"mounts": ("running", ""), "units": ("unavailable", "there is no systemd here")}
    board.refuse["units"] = ""
    started = await first(stream)
    assert (started.kind, started.fields) == (SOURCE_STARTED, {"source": "units"})
    await close(stream)
    await board.sources.aclose()


async def test_a_source_that_dies_is_started_again_and_subscribers_know(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(event_sources, "FIRST_RETRY", 0.0)
    board = Switchboard()
    stream, other = board.service.subscribe(("mount.*",)), board.service.subscribe(("unit.*",))
    await first(stream)
    await first(other)
    board.sources.all["units"].release()
    board.sources.all["units"].subscribers = 1
    board.fail.put_nowait(OSError("the bus is gone"))
    items = [await first(stream) for _ in range(2)]
    assert [(each.kind, each.fields["source"]) for each in items] == [
        (SOURCE_FAILED, "mounts"),
        (SOURCE_STARTED, "mounts"),
    ]
    assert items[0].fields["reason"] == "OSError: the bus is gone"
    assert "starting that anew" in caplog.text
    board.publish("unit.failed", unit="x.service")
    assert (await first(other)).kind == "unit.failed"  # nothing of another source's failure
    await close(stream)
    await close(other)
    await board.sources.aclose()


async def test_a_library_that_is_missing_is_named() -> None:
    resources = Resources()

    async def watch(source: Source) -> None:
        raise ModuleNotFoundError("No module named 'pyudev'", name="pyudev.core")

    sources = EventSources(resources, 0.0, {"devices": watch})
    stream = EventsService(resources, sources).subscribe(("device.*",))
    told = (await first(stream)).fields["unavailable"]
    assert told == {"devices": "needs pyudev in the guest: install virtagent[guest]"}
    await close(stream)
    await sources.aclose()


async def test_without_follow_nothing_is_started_and_what_is_kept_ends_the_stream() -> None:
    board = Switchboard()
    board.publish("mount.added", mountpoint="/a")
    board.publish("unit.failed")
    stream = board.service.subscribe(("mount.*",), after=0, follow=False)
    assert [each.kind async for each in stream] == [SUBSCRIBED, "mount.added"]
    await close(stream)
    assert board.runs == {"mounts": 0, "units": 0}


async def test_a_peer_has_no_more_subscriptions_than_its_policy_lets_it() -> None:
    class Peer:
        """What a grant hangs on."""

    peer = Peer()
    board = Switchboard(grants=Grants(lambda _: (Grant(watches=2), None)))
    context = Context(peer, "events.subscribe", lambda: 0.0)  # type: ignore[arg-type]
    streams = [board.service.subscribe(("agent.*",), ctx=context) for _ in range(2)]
    with pytest.raises(ResourceExhausted, match="2 watches"):
        board.service.subscribe(("agent.*",), ctx=context)
    await close(streams[0])
    await close(board.service.subscribe(("agent.*",), ctx=context))
    await close(streams[1])


async def test_a_pattern_with_characters_that_no_kind_has_is_refused() -> None:
    for pattern in ("mount added", "../x", "ä"):
        with pytest.raises(InvalidArgument, match="is no pattern of kinds"):
            Switchboard().service.subscribe((pattern,))


async def test_a_source_that_never_settles_does_not_keep_the_others_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    from virtagent.guest import events

    monkeypatch.setattr(events, "PATIENCE", 0.01)
    resources = Resources()

    async def hangs(source: Source) -> None:
        await asyncio.Event().wait()

    sources = EventSources(resources, 0.0, {"units": hangs})
    stream = EventsService(resources, sources).subscribe(("unit.*",))
    assert "has not started within" in (await first(stream)).fields["unavailable"]["units"]
    await close(stream)
    await sources.aclose()


async def test_the_agents_end_ends_subscriptions_and_sources() -> None:
    board = Switchboard(linger=3600.0)
    stream = board.service.subscribe(("mount.*", "agent.*"))
    await first(stream)
    reading = asyncio.create_task(first(stream))
    stopping = asyncio.create_task(board.resources.stop("stop", "the agent was stopped"))
    down = await reading
    assert (down.kind, down.fields["reason"]) == ("agent.down", "stop")
    with pytest.raises(Unavailable, match="the agent was stopped"):
        await first(stream)
    await stopping
    assert board.sources.all["mounts"].state == "idle"
    await close(stream)


def published() -> list[tuple[str, str, set[str]]]:
    """Each call of ``publish`` in the agent with a kind that is written there: the file, the kind, the fields."""
    found = []
    for path in sorted(GUEST.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "publish"
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                fields = {each.arg for each in node.keywords if each.arg is not None}
                found.append((path.name, str(node.args[0].value), fields))
    return found


def test_whatever_the_agent_publishes_is_in_the_table_of_kinds() -> None:
    calls = published()
    assert {"user.login", "unit.failed", "agent.down"} <= {kind for _, kind, _ in calls}
    for file, kind, fields in calls:
        assert kind in KINDS, f"{file} publishes {kind}: add it to virtagent/api/event_kinds.py"
        assert fields <= KINDS[kind].fields.keys(), f"{file}: fields of {kind} that the table does not have"


def test_each_source_has_kinds_and_each_kind_a_source_that_there_is() -> None:
    assert {kind.source for kind in KINDS.values()} - {""} == SOURCES.keys()


async def test_the_kinds_are_told_as_the_table_has_them() -> None:
    told = await EventsService().kinds()
    assert {each.kind: (each.source, each.fields) for each in told} == {
        name: (kind.source, dict(kind.fields)) for name, kind in KINDS.items()
    }


def test_the_documentation_has_the_table_of_kinds() -> None:
    page = (GUEST.parents[1] / "docs" / "services" / "events.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `") and line.count(" | ") == 3]
    shown = [
        f"| `{name}` | {kind.source and f'`{kind.source}`'} | {kind.summary} | "
        f"{'; '.join(f'`{field}`: {meaning}' for field, meaning in kind.fields.items())} |"
        for name, kind in KINDS.items()
    ]
    assert rows[-len(shown) :] == shown


def test_who_wants_what_needs_no_source_loads_none() -> None:
    code = (
        "import asyncio, sys\n"
        "from virtagent.guest.events import EventsService\n"
        "async def main():\n"
        "    stream = EventsService().subscribe(('agent.*', 'clipboard.*'))\n"
        "    assert (await anext(stream)).fields['unavailable'] == {}\n"
        "    await stream.aclose()\n"
        "asyncio.run(main())\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=LIMIT)
    loaded = set(done.stdout.split())
    assert "virtagent.guest.event_sources" in loaded
    assert not {"dbus_fast", "pyudev", "pyroute2", "asyncinotify"} & loaded
    assert not {where.partition(":")[0] for where in SOURCES.values()} & loaded
