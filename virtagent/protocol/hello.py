"""The hello: who is there, and when a session is established (docs/protocol.md, section H).

:class:`Handshake` is the state table and nothing else: it knows tags and time, not what else a hello says. It is
model-checked exhaustively in ``tests/protocol/test_hello_model.py``.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple

__all__ = ["Handshake", "HelloHead", "Outcome"]

HEAD: Final = struct.Struct(">IIIQ")

FIRST_RETRY: Final = 0.05
"""Seconds until an unanswered hello is sent again (rule H10): long for a socket, short for a person."""

LONGEST_RETRY: Final = 2.0
"""Seconds between hellos to a peer that stays away (rule H10): 150 bytes/s at the most, 1.5 % of a 115200 line."""

ANSWER_INTERVAL: Final = 0.05
"""Seconds between two answers to the same sender (rule H10)."""

OWN_TAGS_KEPT: Final = 16
"""How many of its own tags a side remembers to recognise an echo (rule H7)."""

ANSWERS_KEPT: Final = 16
"""How many senders the rate limit (rule H10) remembers: a peer that invents senders must not grow it."""

CANDIDATE_RETRIES: Final = 5
"""How often a candidate is offered again to a sender that is up, and so does not repeat its own hello (rule H10)."""


class HelloHead(NamedTuple):
    """The fixed part of a hello (section H)."""

    tag: int
    echo: int
    session: int
    instance: int

    def pack(self) -> bytes:
        """The 20 bytes on the wire."""
        return HEAD.pack(self.tag, self.echo, self.session, self.instance)

    @classmethod
    def unpack(cls, payload: bytes | memoryview) -> HelloHead | None:
        """Read the head of a hello's payload; None where it is too short."""
        return cls(*HEAD.unpack_from(payload)) if len(payload) >= HEAD.size else None


class Outcome(Enum):
    """What a hello or a frame changed."""

    NOTHING = "nothing"
    HEARD = "heard"  # a peer is there, not yet established
    ESTABLISHED = "established"
    REPLACED = "replaced"  # the old session is lost, a new one is up
    ECHO = "echo"


class Candidate:
    """A tag offered to another sender while a session is up (rules H2, H3)."""

    __slots__ = ("peer_tag", "retries", "tag")

    def __init__(self, tag: int, peer_tag: int, retries: int = 0) -> None:
        self.tag = tag
        self.peer_tag = peer_tag
        self.retries = retries


class Handshake:
    """The state of one side (the table in section H).

    Args:
        draw_tag: 32 random bits from the kernel; 0 is never used as a tag.
        instance: 64 random bits of this connection (rule H7).
        now: the time.

    Attributes:
        up: whether a session is established.
        tag: this side's tag, of the session if up.
        peer_tag: the peer's newest tag, 0 if none was seen.
        due: a hello is to be sent; :meth:`to_send` gives it.
        echoes: hellos of our own that came back (rule H7).
        unanswered: hellos sent since the last sign of the peer, for rule H11's pad.
    """

    __slots__ = (
        "_answered",
        "_candidate",
        "_draw_tag",
        "_instance",
        "_offering",
        "_own_tags",
        "_retry",
        "_retry_at",
        "due",
        "echoes",
        "peer_tag",
        "tag",
        "unanswered",
        "up",
    )

    def __init__(self, draw_tag: Callable[[], int], instance: int, now: float) -> None:
        self._draw_tag = draw_tag
        self._instance = instance
        self._own_tags: deque[int] = deque(maxlen=OWN_TAGS_KEPT)
        self._answered: dict[int, float] = {}
        self.echoes = 0
        self.up = False
        self.tag = 0
        self.peer_tag = 0
        self._candidate: Candidate | None = None
        self.unanswered = 0
        self.due = False
        self._offering = False
        self._retry = FIRST_RETRY
        self._retry_at: float | None = None
        self.leave(now)

    @property
    def candidate(self) -> tuple[int, int] | None:
        """Our candidate tag and the tag of the sender it was offered to, if there is one."""
        return None if self._candidate is None else (self._candidate.tag, self._candidate.peer_tag)

    # -- events in -----------------------------------------------------------------------------------------------

    def leave(self, now: float, *, quiet: float = 0.0) -> None:
        """Go to HELLO with a new tag: at the start, and whenever a session ended.

        Args:
            now: the time.
            quiet: seconds before the first hello (rule H10: after a goodbye).
        """
        self.up = False
        self.tag = self._new_tag()
        self.peer_tag = 0
        self._candidate = None
        self._answered.clear()
        self.unanswered = 0
        self._retry = FIRST_RETRY
        self.due = quiet <= 0
        self._offering = False
        self._retry_at = now + quiet if quiet > 0 else None

    def receive(self, hello: HelloHead, now: float) -> Outcome:
        """Take in one hello; :meth:`to_send` then tells the answer, if one is due."""
        if hello.tag == 0:
            return Outcome.NOTHING
        if hello.instance == self._instance and hello.tag in self._own_tags:
            self.echoes += 1
            return Outcome.ECHO
        return self._receive_up(hello, now) if self.up else self._receive_hello(hello, now)

    def _receive_hello(self, hello: HelloHead, now: float) -> Outcome:
        if hello.tag == self.tag:
            self.tag = self._new_tag()  # equal tags (rule H7); only one of the two may ever see it, so go on with it
        self.peer_tag = hello.tag
        self.unanswered = 0
        if hello.echo == self.tag:
            self._establish(answer=hello.session != hello.tag)
            return Outcome.ESTABLISHED
        self._answer(hello.tag, now)
        return Outcome.HEARD

    def _receive_up(self, hello: HelloHead, now: float) -> Outcome:
        candidate = self._candidate
        of_peer, says_up = hello.tag == self.peer_tag, hello.session == hello.tag
        if candidate is not None and hello.echo == candidate.tag and (says_up or not of_peer):
            candidate.peer_tag = hello.tag
            self._take_candidate(candidate, answer=not says_up)
            return Outcome.REPLACED
        if of_peer:
            if hello.echo != self.tag or not says_up:
                self._answer(hello.tag, now)
            return Outcome.NOTHING
        if hello.session == self.peer_tag and hello.echo != self.tag:
            return Outcome.NOTHING  # the living peer answers somebody else, perhaps what we were before
        if candidate is None or candidate.tag == hello.tag:  # the latter by rule H7
            candidate = self._candidate = Candidate(self._new_tag(), hello.tag)
        candidate.peer_tag = hello.tag
        candidate.retries = CANDIDATE_RETRIES if hello.session else 0
        self._answer(hello.tag, now)
        return Outcome.HEARD

    def confirm(self, *, candidate: bool) -> Outcome:
        """A valid frame 0 came under the tags of an establishment in progress (rule H5)."""
        if self.up and candidate and self._candidate is not None:
            self._take_candidate(self._candidate, answer=False)
            return Outcome.REPLACED
        if not self.up and self.peer_tag:
            self._establish(answer=False)
            return Outcome.ESTABLISHED
        return Outcome.NOTHING

    def probe(self, now: float) -> None:
        """Noise or silence in a session: ask who is there (rate-limited)."""
        if self.up and not self.due:  # a candidate that is due must not be lost to the noise before its cause
            self._answer(self.peer_tag, now)

    # -- hellos out ----------------------------------------------------------------------------------------------

    def to_send(self, now: float) -> HelloHead:
        """The one hello that is due (rule H4); call it when the channel takes it."""
        self.due = False
        if not (self.up and self._offering):
            self._note_answer(self.peer_tag, now)
        if not self.up:
            self.unanswered += 1
            self._retry_at = now + self._retry
            self._retry = min(self._retry * 2, LONGEST_RETRY)
            return HelloHead(self.tag, self.peer_tag, 0, self._instance)
        if self._offering and self._candidate is not None:
            self._note_answer(self._candidate.peer_tag, now)
            if self._candidate.retries:
                self._retry_at = now + self._retry
                self._retry = min(self._retry * 2, LONGEST_RETRY)
            return HelloHead(self._candidate.tag, self._candidate.peer_tag, self.tag, self._instance)
        return HelloHead(self.tag, self.peer_tag, self.tag, self._instance)

    def next_timer(self) -> float | None:
        """When :meth:`handle_timer` wants to be called, or None."""
        return self._retry_at

    def handle_timer(self, now: float) -> None:
        """Retransmit what is still unanswered (rule H10)."""
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
            if not self.up:
                self.due = True
            elif self._candidate is not None and self._candidate.retries > 0:
                self._candidate.retries -= 1
                self.due = self._offering = True

    # -- helpers -------------------------------------------------------------------------------------------------

    def _new_tag(self) -> int:
        tag = 0
        while tag == 0 or tag in self._own_tags:
            tag = self._draw_tag()
        self._own_tags.append(tag)
        return tag

    def _answer(self, sender: int, now: float) -> None:
        """One hello, unless this sender has had one just now; the retry timer then covers what is lost."""
        last = self._answered.get(sender)
        if last is not None and now - last < ANSWER_INTERVAL:
            return
        self._retry = FIRST_RETRY
        self.due = True
        self._offering = self.up and sender != self.peer_tag

    def _note_answer(self, sender: int, now: float) -> None:
        self._answered.pop(sender, None)
        while len(self._answered) >= ANSWERS_KEPT:
            del self._answered[next(iter(self._answered))]
        self._answered[sender] = now

    def _establish(self, *, answer: bool) -> None:
        self.up = True
        self.unanswered = 0
        self._candidate = None
        self._retry = FIRST_RETRY
        self._retry_at = None
        self.due = answer
        self._offering = False

    def _take_candidate(self, candidate: Candidate, *, answer: bool) -> None:
        self.tag, self.peer_tag = candidate.tag, candidate.peer_tag
        self._answered.clear()
        self._establish(answer=answer)
