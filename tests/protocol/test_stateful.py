"""Two real cores over a bad channel, in virtual time, doing anything in any order (hypothesis explores the orders).

What must hold whatever happens: a call ends once, with its own answer or an error; no handler is started twice for
one call; streams deliver a prefix of what was written, and all of it where they say "end"; once the channel is well,
both sides are up, every call has ended and every table is empty.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import Any, ClassVar

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from virtagent.errors import SessionLost, VirtagentError
from virtagent.protocol.announcement import Identity
from virtagent.protocol.connection import Connection
from virtagent.protocol.limits import Limits
from virtagent.protocol.rpc import Call, Notification, Request
from virtagent.protocol.streams import RECEIVES, SENDS, Stream
from virtagent.testing import FakeClock, Faults, FaultyWire
from virtagent_transports import ChannelFacts

SOCKET = ChannelFacts(scheme="tcp", name="socket")
VIRTIO = ChannelFacts(scheme="virtio", name="virtio", stale=True, speaks_first=True, tells_disconnect=False)
SERIAL = ChannelFacts(
    scheme="serial",
    name="line",
    stale=True,
    lossless=False,
    speaks_first=True,
    tells_disconnect=False,
    line_rate=50_000,
)

LIMITS = Limits(
    frame=2048, message=64 * 1024, calls=16, depth=4, streams=8, window=500, surplus=4000, largest_window=1000,
    notifications=16, reassembly=128 * 1024, transfers=4,
)  # fmt: skip

WELL = 200.0
"""Seconds after which everything must have ended: the longest deadline, and time to find each other."""

MOST_STEPS = 20_000
"""Steps of the simulation in one go: more is a loop that makes no progress."""


class RecordingStream(Stream):
    """A stream that writes down what comes, and consumes it at once if told to."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.got = bytearray()
        self.eager = True
        self.end_seen: list[VirtagentError | None] = []
        self.written = bytearray()
        self.log: StreamLog | None = None

    def on_data(self, data: bytes) -> None:
        assert not self.end_seen, "data after the end"
        self.got += data
        if self.eager:
            self.consume(len(data))

    def on_end(self, error: VirtagentError | None) -> None:
        assert not self.end_seen, "a second end"
        self.end_seen.append(error)

    def on_reset(self, error: VirtagentError) -> None:
        self.end_seen.append(error)


@dataclass
class StreamLog:
    """What was written to one end of a stream, to compare with what came out at the other."""

    number: int
    written: bytearray = field(default_factory=bytearray)
    ended: bool = False


class Opens:
    """Stands in params for a stream to be opened."""


@dataclass
class Sent:
    """One call as its caller keeps it."""

    number: int
    call: Call
    ends: int = 0
    cancelled: bool = False


class Side:
    """One side: a core, what it was asked, and what it asked. Restarting gives it a new core."""

    def __init__(self, name: str, facts: ChannelFacts, clock: FakeClock, draws: random.Random) -> None:
        self.name = name
        self.facts = facts
        self.clock = clock
        self.draws = draws
        self.sent: dict[int, Sent] = {}
        self.asked: list[Request] = []
        self.mine: list[tuple[RecordingStream, StreamLog]] = []
        self.theirs: list[tuple[RecordingStream, int]] = []
        self.to_give: list[Any] = []
        self.start()

    def start(self) -> None:
        """A new process: nothing is known of before."""
        self.core = Connection(
            Identity(name=self.name),
            draw=self.draws.getrandbits,
            now=self.clock.now,
            limits=LIMITS.with_line_rate(self.facts.line_rate),
            deadline=60.0,
            make_stream=RecordingStream,
        )
        self.core.encode_special = self._open_stream
        self.sent.clear()
        self.asked.clear()
        self.mine.clear()
        self.theirs.clear()
        self.open_channel()

    def open_channel(self) -> None:
        self.core.channel_made(self.facts, connecting=self.facts.connecting, now=self.clock.now)

    def _open_stream(self, value: Any) -> Any:
        assert isinstance(value, Opens)
        stream, reference = self.core.open_stream(SENDS | RECEIVES)
        assert isinstance(stream, RecordingStream)
        self.to_give.append(stream)
        return reference


class Machine(RuleBasedStateMachine):
    """Anything that two users and a channel may do."""

    facts: ClassVar[tuple[ChannelFacts, ChannelFacts]] = (SOCKET, SOCKET)
    restarts_are_told: ClassVar[bool] = True
    lossy: ClassVar[bool] = False

    @initialize(seed=st.integers(0, 2**32 - 1))
    def begin(self, seed: int) -> None:
        self.clock = FakeClock()
        draws = random.Random(seed)
        self.wires = [FaultyWire(seed=seed), FaultyWire(seed=seed + 1)]
        self.sides = [Side(name, facts, self.clock, draws) for name, facts in zip("ab", self.facts, strict=True)]
        self.numbers = 0
        self.started: set[int] = set()
        self.notified: dict[int, int] = {}
        self.stream_logs: dict[int, dict[int, StreamLog]] = {0: {}, 1: {}}
        self.simulate(1.0)

    # -- the world ----------------------------------------------------------------------------------------------

    def simulate(self, seconds: float) -> None:
        """Let time pass, step by step."""
        until = self.clock.now + seconds
        for _ in range(MOST_STEPS):
            progress = False
            for index in (0, 1):
                progress |= self.exchange(index)
            if progress:
                continue
            following = min(
                *(wire.next_at for wire in self.wires), *(side.core.next_timer_at for side in self.sides), math.inf
            )
            if following > until:
                self.clock.advance_to(until)
                return
            self.clock.advance_to(max(following, self.clock.now))
            for index, side in enumerate(self.sides):
                if side.core.next_timer_at <= self.clock.now:
                    self.take(index, side.core.handle_timer(self.clock.now))
        raise AssertionError("the simulation makes no progress: a side spins")

    def exchange(self, index: int) -> bool:
        """Move bytes out of one side, and out of the wire into the other."""
        side, wire = self.sides[index], self.wires[index]
        progress = False
        while buffers := side.core.data_to_send(self.clock.now):
            wire.send(b"".join(buffers), self.clock.now)
            progress = True
        for piece in wire.receive(self.clock.now):
            progress = True
            self.take(1 - index, self.sides[1 - index].core.receive_data(piece, self.clock.now))
        return progress

    def take(self, index: int, events: list[Any]) -> None:
        side = self.sides[index]
        for event in events:
            if isinstance(event, Call):
                self.take_end(side, event)
            elif isinstance(event, Request):
                self.take_request(side, event)
            elif isinstance(event, Notification):
                number = event.params[0]
                self.notified[number] = self.notified.get(number, 0) + 1
                assert self.notified[number] == 1, "a notification came twice"
            elif isinstance(event, tuple):
                request = event[1]
                if request in side.asked:
                    side.asked.remove(request)
                side.core.respond(request, error=[1, "cancelled", None])

    def take_end(self, side: Side, call: Call) -> None:
        sent = next((each for each in side.sent.values() if each.call is call), None)
        assert sent is not None, "the end of a call that this side does not know"
        sent.ends += 1
        assert sent.ends == 1, "a call ended twice"
        assert not sent.cancelled, "a cancelled call ended"
        if call.error is None:
            assert call.result[0] == sent.number, "the answer to another call"
        del side.sent[sent.number]

    def take_request(self, side: Side, request: Request) -> None:
        number = request.params[0]
        assert number not in self.started, "one call was started twice"
        self.started.add(number)
        request.started = True
        side.asked.append(request)
        for stream in request.streams or ():
            assert isinstance(stream, RecordingStream)
            side.theirs.append((stream, number))

    # -- what users do ------------------------------------------------------------------------------------------

    def issue(self, index: int, size: int, opens: bool, deadline: float | None, priority: int) -> None:
        side = self.sides[index]
        if not side.core.up:
            return
        self.numbers += 1
        number = self.numbers
        params: list[Any] = [number, bytes(size)]
        if opens:
            params.append(Opens())
        at = None if deadline is None else self.clock.now + deadline
        try:
            call = side.core.call("method", params, self.clock.now, deadline=at, priority=priority)
        except SessionLost:
            raise AssertionError("up, but no session") from None
        except VirtagentError:  # too many streams: that is told at once
            side.to_give.clear()
            return
        side.sent[number] = Sent(number, call)
        for stream in side.to_give:
            log = StreamLog(number)
            side.mine.append((stream, log))
            self.stream_logs[index][number] = log
        side.to_give.clear()

    @rule(
        index=st.sampled_from((0, 1)),
        size=st.sampled_from((0, 10, 300, 5000, 40_000)),
        opens=st.booleans(),
        deadline=st.sampled_from((None, 0.5, 5.0, 100.0)),
        priority=st.sampled_from((1, 2, 3)),
    )
    def call(self, index: int, size: int, opens: bool, deadline: float | None, priority: int) -> None:
        self.issue(index, size, opens, deadline, priority)

    @rule(index=st.sampled_from((0, 1)), count=st.integers(2, 30))
    def call_many(self, index: int, count: int) -> None:
        for _ in range(count):
            self.issue(index, 5, False, 20.0, 2)

    @rule(index=st.sampled_from((0, 1)), size=st.sampled_from((0, 3000)))
    def notify(self, index: int, size: int) -> None:
        side = self.sides[index]
        if side.core.up:
            self.numbers += 1
            side.core.notify("note", [self.numbers, bytes(size)])

    @rule(index=st.sampled_from((0, 1)), data=st.data())
    def cancel(self, index: int, data: st.DataObject) -> None:
        side = self.sides[index]
        if side.sent:
            sent = side.sent.pop(data.draw(st.sampled_from(sorted(side.sent))))
            sent.cancelled = True
            side.core.cancel(sent.call)

    @rule(index=st.sampled_from((0, 1)), fails=st.booleans(), size=st.sampled_from((0, 6000)), data=st.data())
    def answer(self, index: int, fails: bool, size: int, data: st.DataObject) -> None:
        side = self.sides[index]
        if side.asked:
            request = side.asked.pop(data.draw(st.integers(0, len(side.asked) - 1)))
            if fails:
                side.core.respond(request, error=[5, "not found", None])
            else:
                side.core.respond(request, [request.params[0], bytes(size)])

    def write_to(self, stream: RecordingStream, log: StreamLog, size: int) -> None:
        start = len(log.written)
        piece = bytes((log.number + position) % 251 for position in range(start, start + size))
        log.written += piece
        stream.send(piece)

    @rule(index=st.sampled_from((0, 1)), size=st.integers(1, 5000), ends=st.booleans())
    def upload(self, index: int, size: int, ends: bool) -> None:
        side = self.sides[index]
        before = len(side.mine)
        self.issue(index, 10, True, 30.0, 2)
        for stream, log in side.mine[before:]:
            self.write_to(stream, log, size)
            if ends:
                log.ended = True
                stream.end()

    @rule(index=st.sampled_from((0, 1)), data=st.data(), size=st.integers(1, 3000))
    def write(self, index: int, data: st.DataObject, size: int) -> None:
        side = self.sides[index]
        open_ends = [(stream, log) for stream, log in side.mine if stream.sends and not log.ended]
        if open_ends:
            self.write_to(*data.draw(st.sampled_from(open_ends)), size)

    @rule(index=st.sampled_from((0, 1)), data=st.data())
    def end_stream(self, index: int, data: st.DataObject) -> None:
        open_ends = [(stream, log) for stream, log in self.sides[index].mine if stream.sends and not log.ended]
        if open_ends:
            stream, log = data.draw(st.sampled_from(open_ends))
            log.ended = True
            stream.end()

    @rule(index=st.sampled_from((0, 1)), data=st.data())
    def reset_stream(self, index: int, data: st.DataObject) -> None:
        side = self.sides[index]
        ends = [stream for stream, _ in side.mine + side.theirs if not stream.closed]
        if ends:
            data.draw(st.sampled_from(ends)).reset([10, "given up", None])

    # -- what channels do ---------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from((0.0, 0.01, 0.3, 2.0, 20.0)))
    def wait(self, seconds: float) -> None:
        self.simulate(seconds)

    @rule(
        split=st.sampled_from((0, 1, 7, 500)), delay=st.sampled_from((0.0, 0.05, 1.0)), stall=st.sampled_from((0, 0.1))
    )
    def disturb(self, split: int, delay: float, stall: float) -> None:
        for wire in self.wires:
            wire.faults = Faults(split=split, delay=delay, stall=stall)

    @precondition(lambda self: self.lossy)
    @rule(
        drop=st.sampled_from((0.0, 0.05, 0.3)),
        corrupt=st.sampled_from((0.0, 0.05, 0.3)),
        duplicate=st.sampled_from((0.0, 0.05, 0.3)),
    )
    def damage(self, drop: float, corrupt: float, duplicate: float) -> None:
        for wire in self.wires:
            wire.faults = Faults(split=200, drop=drop, corrupt=corrupt, duplicate=duplicate)

    @precondition(lambda self: self.lossy or not self.restarts_are_told)
    @rule(index=st.sampled_from((0, 1)), noise=st.binary(min_size=1, max_size=100))
    def noise(self, index: int, noise: bytes) -> None:
        if self.lossy:
            self.wires[index].inject(noise, self.clock.now)

    @rule(index=st.sampled_from((0, 1)))
    def stop_wire(self, index: int) -> None:
        self.wires[index].stop()

    @rule()
    def release_wires(self) -> None:
        for wire in self.wires:
            wire.release()

    @rule()
    def cut(self) -> None:
        """The channel is lost, both sides know, and open it again."""
        for wire in self.wires:
            wire.clear()
        for index, side in enumerate(self.sides):
            self.take(index, side.core.channel_lost(self.clock.now, "cut"))
            side.open_channel()

    @rule(index=st.sampled_from((0, 1)))
    def restart(self, index: int) -> None:
        """One process dies and a new one begins; on a device nobody is told, and old bytes are still under way."""
        self.sides[index].start()
        if self.restarts_are_told:
            for wire in self.wires:
                wire.clear()
            other = self.sides[1 - index]
            self.take(1 - index, other.core.channel_lost(self.clock.now, "the peer died"))
            other.open_channel()

    @rule(index=st.sampled_from((0, 1)))
    def goodbye(self, index: int) -> None:
        side = self.sides[index]
        if side.core.goodbye("stop", "", self.clock.now):
            self.simulate(3.0)
            side.start()
            if self.restarts_are_told:
                self.cut()

    # -- what must hold -----------------------------------------------------------------------------------------

    @invariant()
    def streams_deliver_a_prefix(self) -> None:
        """Rules T3, T7, F5: never anything else than what was written, and all of it before a plain end."""
        for index, side in enumerate(getattr(self, "sides", ())):
            for stream, number in side.theirs:
                log = self.stream_logs[1 - index].get(number)
                if log is None:
                    continue
                assert log.written.startswith(stream.got), "a stream delivered what was not written"
                if stream.end_seen and stream.end_seen[0] is None:
                    assert log.ended
                    assert stream.got == log.written, "a stream ended before all its data came"

    @invariant()
    def quotas_hold(self) -> None:
        """Rules C5, T9, L1."""
        for side in getattr(self, "sides", ()):
            assert side.core.calls.open_requests <= LIMITS.calls
            assert side.core.streams is None or len(side.core.streams) <= 2 * LIMITS.streams

    def teardown(self) -> None:
        """Rules H1, H10, K5, D3: once the channel is well, both are up, all calls end, and nothing is left."""
        if not hasattr(self, "sides"):
            return
        for wire in self.wires:
            wire.heal()
        for _ in range(int(WELL / 10)):
            self.simulate(10.0)
            for side in self.sides:
                for request in side.asked:
                    side.core.respond(request, [request.params[0]])
                side.asked.clear()
        for index, side in enumerate(self.sides):
            assert side.core.up, f"{side.name} is not up"
            assert not side.sent, f"{side.name}: calls without an end: {list(side.sent)}"
            assert not side.core.calls.calls
            assert not side.core.calls.requests
            assert side.core.calls.unsent_answers == 0
            for stream, _ in side.mine + side.theirs:
                stream.reset([1, "over", None])
            self.simulate(1.0)
            self.issue(index, 10, False, 5.0, 2)
            number = self.numbers
            self.simulate(0.5)
            assert any(request.params[0] == number for request in self.sides[1 - index].asked), "up, but deaf"
            self.answer_all()
            assert not side.sent
        self.simulate(1.0)
        for side in self.sides:
            assert side.core.streams is not None
            assert len(side.core.streams) == 0, f"{side.name}: streams are left"
            assert side.core._session is not None
            assert side.core._session.scheduler.waiting_messages == 0
            assert len(side.core._session._reassembly) == 0
            assert side.core.streams._surplus == LIMITS.surplus, "credit was lost"
        assert {side.core.peer.identity.name for side in self.sides if side.core.peer} == {"a", "b"}

    def answer_all(self) -> None:
        for side in self.sides:
            for request in side.asked:
                side.core.respond(request, [request.params[0]])
            side.asked.clear()
        self.simulate(0.5)


class OverASocket(Machine):
    """Lossless, and both sides are told when it ends."""

    facts = (SOCKET, ChannelFacts(scheme="tcp", name="socket", connecting=False))


class OverAPort(Machine):
    """Lossless, with stale bytes, and nobody is told of a restart."""

    facts = (VIRTIO, VIRTIO)
    restarts_are_told = False


class OverALine(Machine):
    """Bytes are dropped, changed, repeated and made up, and nobody is told of anything."""

    facts = (SERIAL, SERIAL)
    restarts_are_told = False
    lossy = True


EXAMPLES = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)


@pytest.mark.parametrize("machine", [OverASocket, OverAPort, OverALine])
@pytest.mark.timeout(240)
def test_nothing_is_lost_doubled_mixed_up_or_left_behind(machine: type[Machine]) -> None:
    """Rules C4, C7, C8, D3, F3, F4, G5, H1, H2, K5, T3, T7, T8."""
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(machine, settings=EXAMPLES)
