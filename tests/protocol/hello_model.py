"""An explicit-state model of two peers, two FIFO channels and a hostile world, around the real ``Handshake``.

A state is a tuple of small integers. Tags are renamed in order of appearance, so that two states that differ only in
which random bits were drawn are one, and the state space is finite although restarts and losses are not bounded.
Each step of a side is computed by the class under test (once: equal steps are remembered), never by a copy of it.

Time is abstract: an armed timer may fire at any moment, and the rate limit (rule H10) is either always long past, or
(``limited``) in force until a *tick*.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from virtagent.protocol.hello import Candidate, Handshake, HelloHead, Outcome

FRESH = 1000
"""The first name of what a step draws; renaming gives it a small one."""

GHOST = -1000
FOREIGN = -1001
"""Tags of the dead are negative and stay so when renamed: nobody may ever be up with one."""

LATER = 10.0
"""After every timer."""


class Local(NamedTuple):
    """One side: the handshake, and of its connection only the sequence numbers."""

    up: bool
    tag: int
    peer: int
    candidate: int
    candidate_peer: int
    retries: int
    due: bool
    offering: bool
    timer: bool
    answered: tuple[int, ...]
    own: tuple[int, ...]
    instance: int
    sent: int
    expected: int


class Hello(NamedTuple):
    """A hello on its way."""

    tag: int
    echo: int
    session: int
    instance: int


class SessionFrame(NamedTuple):
    """A frame on its way: the two tags of its seed, its sequence, and whether it is a goodbye."""

    tag: int
    peer: int
    sequence: int
    goodbye: bool
    kind: str = "frame"  # five fields: never equal to a Hello


Message = Hello | SessionFrame
Channel = tuple[Message, ...]


class Budget(NamedTuple):
    """How many faults of each kind may still happen; -1: any number."""

    restarts: int = 0
    leaves: int = 0
    ghosts: int = 0
    late: int = 0
    restores: int = 0
    echoes: int = 0
    collisions: int = 0


class State(NamedTuple):
    """Everything. ``channels[i]`` leads to side ``i``; ``late`` is a recorded message and where it leads."""

    sides: tuple[Local, Local]
    channels: tuple[Channel, Channel]
    late: tuple[int, Message] | None
    saved: tuple[int, Local, tuple[int, ...]] | None
    replay: tuple[int, tuple[int, ...]]
    budget: Budget


class Step(NamedTuple):
    """A transition, and the message that was received or lost in it."""

    label: str
    state: State
    message: Message | None = None


@dataclass(frozen=True)
class World:
    """What may happen.

    Attributes:
        capacity: messages in flight in one direction.
        loss: any message may be lost, any number of times.
        duplicate: any message may arrive any number of times, in order.
        limited: the rate limit is in force until a tick.
        frames: how many frames a side sends in a session; 0 turns H5 off.
        probes: noise or silence may make a side probe at any moment.
    """

    capacity: int = 2
    budget: Budget = field(default_factory=Budget)
    loss: bool = False
    duplicate: bool = False
    limited: bool = False
    frames: int = 1
    probes: bool = False
    handshake: type[Handshake] = Handshake


class StepResult(NamedTuple):
    local: Local
    message: Message | None
    drawn: tuple[int, ...]


_Tuple = TypeVar("_Tuple", bound=tuple[Any, ...])


def _new(kind: type[_Tuple], values: tuple[Any, ...]) -> _Tuple:
    """A named tuple without its constructor's cost: this is where the time goes."""
    return tuple.__new__(kind, values)


class _Names(dict[int, int]):
    """Small names in order of appearance; of the dead, negative ones."""

    dead = 0
    living = 0

    def __missing__(self, tag: int) -> int:
        if tag > 0:
            self.living += 1
            self[tag] = self.living
            return self.living
        self.dead -= 1
        self[tag] = self.dead
        return self.dead


class Broken(AssertionError):
    """A property does not hold; the trace leads there."""


class Model:
    """Successors, properties and fair schedules of one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._steps: dict[tuple[object, ...], StepResult] = {}

    # -- one side: the real class ---------------------------------------------------------------------------------

    def _load(self, local: Local, draw: Callable[[], int]) -> Handshake:
        shake = self.world.handshake(lambda: 1, local.instance, 0.0)  # a compiled class is made in no other way
        shake._draw_tag = draw
        shake._own_tags = deque(local.own, maxlen=16)
        shake._answered = dict.fromkeys(local.answered, 0.0)
        shake.echoes = 0
        shake.up = local.up
        shake.tag = local.tag
        shake.peer_tag = local.peer
        shake._candidate = Candidate(local.candidate, local.candidate_peer, local.retries) if local.candidate else None
        shake.unanswered = 0
        shake.due = local.due
        shake._offering = local.offering
        shake._retry = 0.05
        shake._retry_at = 0.05 if local.timer else None
        return shake

    def _dump(self, shake: Handshake, sent: int, expected: int) -> Local:
        candidate = shake._candidate
        return Local(
            shake.up,
            shake.tag,
            shake.peer_tag,
            candidate.tag if candidate else 0,
            candidate.peer_tag if candidate else 0,
            min(candidate.retries, 1) if candidate else 0,
            shake.due,
            shake._offering,
            shake._retry_at is not None,
            tuple(shake._answered) if self.world.limited else (),
            tuple(shake._own_tags),
            shake._instance,
            sent,
            expected,
        )

    def new(self, instance: int, draws: tuple[int, ...] = ()) -> Local:
        source = iter((*draws, FRESH + instance))
        return self._dump(self.world.handshake(lambda: next(source), instance, 0.0), 0, 0)

    def step(
        self, local: Local, action: str, message: Message | None = None, draws: tuple[int, ...] = ()
    ) -> StepResult:
        """Let the real class take one step; equal steps are remembered."""
        key = (local, action, message, draws)
        known = self._steps.get(key)
        if known is None:
            known = self._steps[key] = self._step(local, action, message, draws)
        return known

    def _step(self, local: Local, action: str, message: Message | None, draws: tuple[int, ...]) -> StepResult:
        source = iter((*draws, FRESH, FRESH + 1, FRESH + 2))
        drawn: list[int] = []

        def draw() -> int:
            drawn.append(next(source))
            return drawn[-1]

        shake = self._load(local, draw)
        sent, expected = local.sent, local.expected
        out: Message | None = None
        if action == "send":
            out = Hello(*shake.to_send(0.0))
        elif action == "timer":
            shake.handle_timer(LATER)
        elif action == "probe":
            shake.probe(0.0)
        elif action == "leave":
            shake.leave(0.0)
        elif action == "goodbye":
            out = SessionFrame(local.tag, local.peer, local.sent, True)
            shake.leave(0.0, quiet=2.0)
        elif action == "frame":
            out = SessionFrame(local.tag, local.peer, local.sent, False)
            sent += 1
        elif isinstance(message, Hello):
            outcome = shake.receive(HelloHead(*message), 0.0)
            if outcome in (Outcome.ESTABLISHED, Outcome.REPLACED):
                sent = expected = 0
        else:
            assert isinstance(message, SessionFrame)
            sent, expected = self._receive_frame(shake, message, sent, expected)
        self._check_freshness(local, shake, drawn, left=action in ("leave", "goodbye") or not shake.up)
        return StepResult(self._dump(shake, sent, expected), out, tuple(drawn))

    @staticmethod
    def _receive_frame(shake: Handshake, frame: SessionFrame, sent: int, expected: int) -> tuple[int, int]:
        """What FrameReader and the connection make of it (rules F2, F4, G2, H5)."""
        pair = frame.tag, frame.peer
        accepted = False
        if shake.up and pair == (shake.peer_tag, shake.tag):
            if frame.sequence != expected:
                shake.leave(0.0)
                return 0, 0
            accepted = True
            expected += 1
        elif shake.up and shake.candidate is not None and pair == shake.candidate[::-1]:
            if frame.sequence == 0:
                accepted = shake.confirm(candidate=True) is Outcome.REPLACED
                assert accepted
                sent, expected = 0, 1
        elif not shake.up and shake.peer_tag and pair == (shake.peer_tag, shake.tag):
            if frame.sequence == 0:
                accepted = shake.confirm(candidate=False) is Outcome.ESTABLISHED
                assert accepted
                sent, expected = 0, 1
        else:
            shake.probe(0.0)
        if accepted and (shake.peer_tag, shake.tag) != pair:
            raise Broken(f"took a frame of {pair} in the session {shake.peer_tag, shake.tag}")
        if accepted and frame.goodbye:
            shake.leave(0.0, quiet=2.0)
            return 0, 0
        return sent, expected

    @staticmethod
    def _check_freshness(before: Local, after: Handshake, drawn: list[int], *, left: bool) -> None:
        """Rules H1, H3, inductively: T and C were drawn since this side last left UP; T changes for a reason."""
        mine = {before.tag, before.candidate, *drawn}
        if before.up and left:
            mine = set(drawn)
        if after.tag not in mine or (after.candidate is not None and after.candidate[0] not in mine):
            raise Broken(f"an old tag is used again: {before} -> {after.tag, after.candidate}")
        if after.up and after.peer_tag < 0:
            raise Broken(f"established with a ghost (H1): {before}")
        if after.up and after.peer_tag == after.tag:
            raise Broken("both sides have the same tag (H7)")

    # -- the world ------------------------------------------------------------------------------------------------

    def start(self, *, tags: tuple[int, int] | None = None) -> State:
        a, b = tags or (FRESH + 1, FRESH + 2)
        sides = self.new(1, (a,)), self.new(2, (b,))
        return self.rename(State(sides, ((), ()), None, None, (0, ()), self.world.budget))

    def established(self) -> State:
        """Both up with each other, and all quiet: how a world starts that is about what comes after."""
        state = self.start()
        while (after := self.fair(state)) is not None:
            state = after
        return state

    def rename(self, state: State) -> State:
        """Give the tags small names in order of appearance, and forget what can no longer matter."""
        names = _Names({0: 0})

        def rename_message(message: Message) -> Message:
            if len(message) == 4:
                return _new(Hello, (names[message[0]], names[message[1]], names[message[2]], message[3]))
            return _new(SessionFrame, (names[message[0]], names[message[1]], *message[2:]))

        first, second = state.sides
        heads = [(names[side[1]], names[side[2]], names[side[3]], names[side[4]]) for side in (first, second)]
        to_first, to_second = state.channels
        channels = (
            tuple([rename_message(message) for message in to_first]) if to_first else (),
            tuple([rename_message(message) for message in to_second]) if to_second else (),
        )
        late = None if state.late is None else (state.late[0], rename_message(state.late[1]))
        saved = state.saved
        replay = state.replay
        if saved is not None:
            old = saved[1]
            head = names[old[1]], names[old[2]], names[old[3]], names[old[4]]
            tail = tuple([names[tag] for tag in saved[2]])
            replay = replay[0], tuple([names[tag] for tag in replay[1]])
            saved = saved[0], self._renamed(old, head, names), tail
        elif replay[1]:
            replay = replay[0], tuple([names[tag] for tag in replay[1]])
        sides = self._renamed(first, heads[0], names), self._renamed(second, heads[1], names)
        return _new(State, (sides, channels, late, saved, replay, state.budget))

    @staticmethod
    def _renamed(side: Local, head: tuple[int, int, int, int], names: _Names) -> Local:
        own = tuple(sorted([names[tag] for tag in side[10] if tag in names]))
        answered = tuple(sorted([names[tag] for tag in side[9] if tag in names])) if side[9] else ()
        return _new(Local, (side[0], *head, *side[5:9], answered, own, *side[11:]))

    def successors(self, state: State) -> Iterator[Step]:
        for side in (0, 1):
            yield from self._own_steps(state, side)
            yield from self._deliveries(state, side)
            yield from self._misfortunes(state, side)
        if self.world.limited and (state.sides[0].answered or state.sides[1].answered):
            yield Step("tick", self.tick(state))

    def tick(self, state: State) -> State:
        a, b = state.sides
        return self.rename(state._replace(sides=(a._replace(answered=()), b._replace(answered=()))))

    def _own_steps(self, state: State, side: int) -> Iterator[Step]:
        local = state.sides[side]
        name = "AB"[side]
        room = len(state.channels[1 - side]) < self.world.capacity
        if local.due and room:
            yield Step(f"{name} sends hello", self.act(state, side, "send"))
            if state.budget.echoes and len(state.channels[side]) < self.world.capacity:
                echoed = self.act(state, side, "send", echo=True)
                yield Step(f"{name} sends hello, and hears it", self.spend(echoed, "echoes"))
        if local.timer:
            yield Step(f"{name}'s timer", self.act(state, side, "timer"))
        if local.up and self.world.probes and not local.due:
            yield Step(f"{name} probes", self.act(state, side, "probe"))
        if local.up and room and local.sent < self.world.frames:
            yield Step(f"{name} sends frame {local.sent}", self.act(state, side, "frame"))

    def _deliveries(self, state: State, side: int) -> Iterator[Step]:
        name = "AB"[side]
        channel = state.channels[side]
        if channel:
            message = channel[0]
            rest = self.with_channel(state, side, channel[1:])
            yield Step(f"{name} gets", self.deliver(rest, side, message), message)
            for other in self._colliding(rest, side, message):
                yield Step(f"{name} gets, and draws the other's tag", other, message)
            if self.world.loss:
                yield Step(f"lost on the way to {name}", self.rename(rest), message)
            if self.world.duplicate:
                yield Step(f"{name} gets the first time", self.deliver(state, side, message), message)
            if state.budget.late and state.late is None:
                kept = self.rename(state._replace(late=(side, message)))
                yield Step(f"recorded on the way to {name}", self.spend(kept, "late"), message)
        if state.late is not None and state.late[0] == side:
            late = self.deliver(state._replace(late=None), side, state.late[1])
            yield Step(f"{name} gets late", late, state.late[1])
            if self.world.duplicate:
                again = self.deliver(state, side, state.late[1])
                yield Step(f"{name} gets late and again", again, state.late[1])

    def _colliding(self, state: State, side: int, message: Message) -> Iterator[State]:
        """The same, where a tag that is drawn happens to be the other side's."""
        if state.budget.collisions:
            other = state.sides[1 - side]
            for tag in {other.tag, other.candidate} - {0}:
                result = self.step(state.sides[side], "receive", message, (tag,))
                if result.drawn:
                    after = self.with_side(state, side, result.local)
                    yield self.spend(self.rename(after), "collisions")

    def _misfortunes(self, state: State, side: int) -> Iterator[Step]:
        local = state.sides[side]
        name = "AB"[side]
        budget = state.budget
        if budget.restarts:
            fresh = self.new(local.instance)
            dead = self._bury(state, local.instance)
            yield Step(f"{name} restarts", self.spend(self.rename(self.with_side(dead, side, fresh)), "restarts"))
        if budget.leaves and local.up:
            yield Step(f"{name} leaves", self.spend(self.act(state, side, "leave"), "leaves"))
            if len(state.channels[1 - side]) < self.world.capacity:
                yield Step(f"{name} says goodbye", self.spend(self.act(state, side, "goodbye"), "leaves"))
        if budget.ghosts:
            for ghost, old in self._ghosts(local):
                haunted = self.with_side(state, side, local._replace(own=(*local.own, *old)))
                after = self.spend(self.deliver(haunted, side, ghost), "ghosts")
                yield Step(f"{name} gets a ghost's", after, ghost)
        if budget.restores:
            if state.saved is None:
                yield Step(f"snapshot of {name}", self.rename(state._replace(saved=(side, local, ()))))
            elif state.saved[0] == side:
                for replay in ((), state.saved[2]):
                    back = self.with_side(state._replace(saved=None, replay=(side, replay)), side, state.saved[1])
                    yield Step(f"{name} is restored", self.spend(self.rename(back), "restores"))
                    if not state.saved[2]:
                        break

    @staticmethod
    def _ghosts(local: Local) -> Iterator[tuple[Hello, tuple[int, ...]]]:
        """What somebody dead may have said: never a tag that was drawn for who comes next (that would be no ghost)."""
        old = FRESH + 9
        echoes = [(0, ()), (FOREIGN, ()), (old, (old,))]
        if local.up:
            echoes.append((local.tag, ()))
        for echo, own in echoes:
            for session in (0, FOREIGN):
                yield Hello(GHOST, echo, session, 0), own

    @staticmethod
    def _bury(state: State, instance: int) -> State:
        """Messages of a process that ended carry nobody's instance."""

        def buried(message: Message) -> Message:
            if isinstance(message, Hello) and message.instance == instance:
                return message._replace(instance=0)
            return message

        first, second = state.channels
        late = None if state.late is None else (state.late[0], buried(state.late[1]))
        return state._replace(channels=(tuple(map(buried, first)), tuple(map(buried, second))), late=late)

    # -- building states ------------------------------------------------------------------------------------------

    @staticmethod
    def spend(state: State, what: str) -> State:
        left = getattr(state.budget, what)
        return state if left < 0 else state._replace(budget=state.budget._replace(**{what: left - 1}))

    @staticmethod
    def with_side(state: State, side: int, local: Local) -> State:
        a, b = state[0]
        return _new(State, ((local, b) if side == 0 else (a, local), *state[1:]))

    @staticmethod
    def with_channel(state: State, side: int, channel: Channel) -> State:
        first, second = state[1]
        return _new(State, (state[0], (channel, second) if side == 0 else (first, channel), *state[2:]))

    def _apply(self, state: State, side: int, action: str, message: Message | None) -> tuple[State, Message | None]:
        queue = state.replay[1] if state.replay[0] == side else ()
        result = self.step(state.sides[side], action, message, queue)
        after = self.with_side(state, side, result.local)
        if result.drawn and queue:
            after = after._replace(replay=(side, queue[len(result.drawn) :]))
        if result.drawn and state.saved is not None and state.saved[0] == side:
            saved = state.saved
            after = after._replace(saved=(side, saved[1], (*saved[2], *result.drawn)[:3]))
        return after, result.message

    def act(self, state: State, side: int, action: str, *, echo: bool = False) -> State:
        after, message = self._apply(state, side, action, None)
        if message is not None:
            after = self.with_channel(after, 1 - side, (*after.channels[1 - side], message))
            if echo:
                after = self.with_channel(after, side, (*after.channels[side], message))
        return self.rename(after)

    def deliver(self, state: State, side: int, message: Message) -> State:
        return self.rename(self._apply(state, side, "receive", message)[0])

    # -- properties -----------------------------------------------------------------------------------------------

    @staticmethod
    def mutual(state: State) -> bool:
        """Both are up, with each other."""
        a, b = state.sides
        return a.up and b.up and a.tag == b.peer and a.peer == b.tag

    def fair(self, state: State) -> State | None:
        """What happens next where nothing goes wrong any more; None: nothing ever.

        The least helpful fair schedule: time passes only when nothing is in flight, and silence is noticed only
        when everything else has been tried.
        """
        for side in (0, 1):
            if state.channels[side]:
                channel = state.channels[side]
                return self.deliver(self.with_channel(state, side, channel[1:]), side, channel[0])
        for side in (0, 1):
            if state.sides[side].due:
                return self.act(state, side, "send")
        if state.sides[0].answered or state.sides[1].answered:
            return self.tick(state)
        for side in (0, 1):
            if state.sides[side].timer:
                return self.act(state, side, "timer")
        if self.mutual(state):
            return None
        if not (state.sides[0].up and state.sides[1].up):
            raise Broken("nothing will ever happen again, and one side is still in HELLO")
        return self.act(self.act(state, 0, "probe"), 1, "probe")


@dataclass
class Report:
    """What an exploration found."""

    states: int = 0
    steps: int = 0
    longest_recovery: int = 0
    mutual: int = 0


class Explorer:
    """Breadth-first search with a trace to every state."""

    def __init__(self, model: Model, starts: list[State] | None = None, *, most: int = 2_000_000) -> None:
        self.model = model
        self.parents: dict[State, tuple[State | None, str, Message | None]] = {}
        self.report = Report()
        self._distance: dict[State, int] = {}  # fair steps to a session
        self._starts = [model.start()] if starts is None else starts
        self._most = most

    def run(self, *, ghost_proof: bool = False) -> Report:
        """Explore all, checking safety on every step and recovery from every state.

        Args:
            ghost_proof: nothing but a restart, a leave or a restore may end a session that both sides are in.
        """
        queue = deque(self._starts)
        self.parents = dict.fromkeys(queue, (None, "start", None))
        while queue:
            state = queue.popleft()
            together = self.model.mutual(state)
            self.report.mutual += together
            self._check_recovery(state)
            try:
                for label, after, message in self.model.successors(state):
                    self.report.steps += 1
                    if ghost_proof and together and not self._same_session(state, after, label, message):
                        raise Broken(f"the session of two living peers ended: {label} {message}")
                    if after not in self.parents:
                        self.parents[after] = state, label, message
                        queue.append(after)
            except Broken as error:
                raise Broken(f"{error}\n{self.trace(state)}") from None
            if len(self.parents) > self._most:
                raise Broken("too many states")
        self.report.states = len(self.parents)
        self.report.longest_recovery = max(self._distance.values())
        return self.report

    def _same_session(self, before: State, after: State, label: str, message: Message | None) -> bool:
        """Or it ended for a reason: a peer's end, its goodbye, or a restored past."""
        if label.endswith(("restarts", "leaves", "goodbye", "restored")):
            return True
        if isinstance(message, SessionFrame) and message.goodbye:
            return True
        return self.model.mutual(after) and all(
            old.expected <= new.expected and old.sent <= new.sent
            for old, new in zip(before.sides, after.sides, strict=True)
        )

    def _check_recovery(self, start: State, bound: int = 200) -> None:
        """The fair schedule leads to a session that stays (no livelock, no endless hellos)."""
        distance = self._distance
        path: list[State] = []
        state: State | None = start
        while state is not None and state not in distance:
            path.append(state)
            if len(path) > bound:
                raise Broken(f"no session after {bound} fair steps\n{self.trace(start)}\nthen {path[-6:]}")
            try:
                state = self.model.fair(state)
            except Broken as error:
                raise Broken(f"{error}\n{self.trace(start)}\nthen {path}") from None
        base = -1 if state is None else distance[state]
        for steps, passed in enumerate(reversed(path), base + 1):
            distance[passed] = steps

    def trace(self, state: State) -> str:
        """How it came to this, one line a step."""
        lines = [str(state)]
        at: State | None = state
        while at is not None:
            at, label, message = self.parents[at]
            lines.append(f"{label} {message or ''}")
        return "\n".join(reversed(lines))
