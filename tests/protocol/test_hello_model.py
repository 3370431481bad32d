"""Every reachable state of two peers around the real ``Handshake`` (docs/protocol.md, section H).

In each world below: nobody is ever up with a ghost or on a tag it drew before it last left UP (H1), no frame is
taken from another session than the current one (F2), and from every single state a fair schedule without further
faults leads to one session that both sides are in, and then to silence. The same search must find the faults of the
broken variants at the end, or it would prove nothing.
"""

from __future__ import annotations

import pytest

from tests.protocol.hello_model import Broken, Budget, Explorer, Model, Report, World
from virtagent.protocol.hello import Handshake, HelloHead, Outcome

LOSSLESS_GHOST = World(capacity=2, frames=1, probes=True, budget=Budget(ghosts=1))
GHOST_AND_RESTART = World(capacity=2, frames=1, budget=Budget(ghosts=1, restarts=1))
LOSS_FROM_THE_START = World(capacity=2, frames=0, loss=True, budget=Budget(restarts=1))
EQUAL_TAGS = World(capacity=1, frames=1, loss=True, budget=Budget(collisions=2))
RESTORE = World(capacity=2, frames=2, budget=Budget(restores=1))


def explore(world: World, *, established: bool = False, equal_tags: bool = False, ghost_proof: bool = False) -> Report:
    model = Model(world)
    start = model.established() if established else model.start(tags=(1, 1) if equal_tags else None)
    report = Explorer(model, [start]).run(ghost_proof=ghost_proof)
    print(f"{report.states} states, {report.steps} steps, at most {report.longest_recovery} fair steps to a session")
    assert report.mutual
    return report


def test_without_faults_two_peers_meet_and_stay_together() -> None:
    """Rules H1, H4, H5: three messages in flight, either side may start, probe and send at any moment."""
    explore(World(capacity=3, frames=2, probes=True), ghost_proof=True)


def test_a_ghost_never_ends_a_session_of_two_living_peers() -> None:
    """Rules H1, H2: at any moment of a lossless channel."""
    explore(LOSSLESS_GHOST, ghost_proof=True)


def test_a_ghost_and_a_restart_together_never_end_a_new_session() -> None:
    """Rules H2, H3: what the sides said before the restart is still in flight."""
    explore(GHOST_AND_RESTART, established=True, ghost_proof=True)


def test_loss_and_repetition_and_a_restart_are_recovered_from() -> None:
    """Rules H2, H5, H10, F4: any message is lost or arrives many times, any number of times."""
    explore(World(capacity=1, frames=2, loss=True, duplicate=True, budget=Budget(restarts=1)), established=True)


def test_loss_while_the_sides_meet_is_recovered_from() -> None:
    """Rules H4, H10: hellos only, two in flight each way, any of them lost."""
    explore(LOSS_FROM_THE_START)


def test_leaving_and_goodbyes_with_loss_are_recovered_from() -> None:
    """Rules H1, H3, H10, G2, G4."""
    explore(World(capacity=1, frames=1, loss=True, budget=Budget(leaves=1, restarts=1)), established=True)


def test_a_recorded_message_of_any_age_establishes_nothing_that_lasts() -> None:
    """Rules H1, H2, H5: it is delivered after restarts, and the sides find each other nevertheless."""
    explore(World(capacity=1, frames=1, budget=Budget(late=1, restarts=1)), established=True)


def test_a_restored_snapshot_leads_to_a_new_session() -> None:
    """Rules H1, F4: taken at any moment of a session; the kernel may then draw the same tags again, or others."""
    explore(RESTORE, established=True)


def test_a_snapshot_of_a_handshake_leads_to_a_session() -> None:
    """Rule H1: the same, taken and restored while the sides meet."""
    explore(World(capacity=1, frames=1, budget=Budget(restores=1)))


def test_the_rate_limit_never_stops_an_establishment() -> None:
    """Rule H10: the limit holds for any length of time, with loss and a restart."""
    explore(World(capacity=1, frames=1, limited=True, loss=True, budget=Budget(restarts=1)))


def test_equal_tags_are_told_apart() -> None:
    """Rule H7: both start with the same tag, and draw the other's again up to twice, with loss."""
    explore(EQUAL_TAGS, equal_tags=True)


def test_a_line_that_echoes_for_a_while_is_survived() -> None:
    """Rule H7."""
    explore(World(capacity=2, frames=1, budget=Budget(echoes=2)))


# -- the search can fail -------------------------------------------------------------------------------------------


class WithoutSessionWord(Handshake):
    """The first design: a bit "up" instead of the word."""

    __slots__ = ()

    def receive(self, hello: HelloHead, now: float) -> Outcome:
        return super().receive(hello._replace(session=hello.tag if hello.session == hello.tag else 0), now)


class BelievesAnyHello(Handshake):
    """Establishes without the echo of its tag."""

    __slots__ = ()

    def receive(self, hello: HelloHead, now: float) -> Outcome:
        return super().receive(hello if self.up else hello._replace(echo=self.tag), now)


class ReplacesAtOnce(Handshake):
    """Leaves its session for whoever says hello."""

    __slots__ = ()

    def receive(self, hello: HelloHead, now: float) -> Outcome:
        if self.up and hello.tag != self.peer_tag and hello.instance != self._instance:
            self.leave(now)
        return super().receive(hello, now)


class DeafToForeignEchoes(Handshake):
    """Answers a hello of its peer only if that echoes T or nothing."""

    __slots__ = ()

    def receive(self, hello: HelloHead, now: float) -> Outcome:
        if self.up and hello.tag == self.peer_tag and hello.echo not in (self.tag, 0):
            return Outcome.NOTHING
        return super().receive(hello, now)


class AnswersForItsFormerSelf(Handshake):
    """Takes its peer's answer to an old hello of its own for a new sender."""

    __slots__ = ()

    def receive(self, hello: HelloHead, now: float) -> Outcome:
        if self.up and hello.session == self.peer_tag != hello.tag and hello.echo in self._own_tags:
            hello = hello._replace(session=0)
        return super().receive(hello, now)


class DeafToItsOwnOldTags(Handshake):
    """Takes every hello with a tag of its own for an echo, or redraws and forgets who said it."""

    __slots__ = ()

    def receive(self, hello: HelloHead, now: float) -> Outcome:
        if hello.tag in self._own_tags:
            if hello.tag == self.tag and not self.up:
                self.leave(now)
            return Outcome.NOTHING
        return super().receive(hello, now)


class KeepsItsTag(Handshake):
    """Does not redraw on leaving UP."""

    __slots__ = ()

    def leave(self, now: float, *, quiet: float = 0.0) -> None:
        tag = getattr(self, "tag", 0)
        super().leave(now, quiet=quiet)
        self.tag = tag or self.tag


class NeverRepeats(Handshake):
    """Sends each hello once."""

    __slots__ = ()

    def handle_timer(self, now: float) -> None:
        self._retry_at = None


@pytest.mark.interpreted  # derives from a class that is closed when compiled
@pytest.mark.parametrize(
    ("broken", "world", "start", "complaint"),
    [
        (WithoutSessionWord, LOSSLESS_GHOST, "new", "session of two living peers ended"),
        (ReplacesAtOnce, LOSSLESS_GHOST, "new", "session of two living peers ended"),
        (BelievesAnyHello, LOSSLESS_GHOST, "new", "established with a ghost"),
        (DeafToForeignEchoes, LOSSLESS_GHOST, "new", "no session after"),
        (AnswersForItsFormerSelf, GHOST_AND_RESTART, "up", "session of two living peers ended"),
        (DeafToItsOwnOldTags, EQUAL_TAGS, "equal", "no session after"),
        (KeepsItsTag, RESTORE, "up", "an old tag is used again"),
        (NeverRepeats, LOSS_FROM_THE_START, "new", "nothing will ever happen again"),
    ],
)
def test_the_search_finds_the_fault_of(broken: type[Handshake], world: World, start: str, complaint: str) -> None:
    """Rules H1, H2, H3, H7, H10: each variant breaks one, the first is the fault told of at the page's end."""
    world = World(**{**world.__dict__, "handshake": broken})
    with pytest.raises(Broken, match=complaint):
        explore(world, established=start == "up", equal_tags=start == "equal", ghost_proof=world.budget.ghosts > 0)
