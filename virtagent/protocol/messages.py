"""Messages out of frames: decoding, batches, and what happens to a message that cannot be accepted (rules C2, V8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgpack

from virtagent.errors import ResourceExhausted, StreamReset
from virtagent.protocol.codec import Codec, MessageHead, is_well_formed, message_head, peer_error
from virtagent.protocol.reassembly import TooLong
from virtagent.protocol.rpc import CallTable, reset_all
from virtagent.protocol.streams import Stream

__all__ = ["MessageReader", "Violation"]

NOT_ACCEPTABLE: Final = "a value that is not acceptable (docs/protocol.md, section V)"

Payload = bytes | bytearray | memoryview


class Violation(Exception):
    """The peer broke the protocol in a way that ends the session (rule G4). Never leaves the core."""


class MessageReader:
    """Decodes messages and hands them to the call table, with the streams that each of them opens.

    Args:
        codec: decodes; its stream hook calls :meth:`opened`.
        calls: takes the messages.
        refuse_stream: takes the data of each reference in a message that opens too many streams (rule T9).
    """

    __slots__ = ("_accepted", "_calls", "_references", "_refuse_stream", "_unpack", "refusal")

    def __init__(self, codec: Codec, calls: CallTable, refuse_stream: Callable[[bytes], None]) -> None:
        self._refuse_stream = refuse_stream
        self._unpack = codec.unpack
        self._calls = calls
        self._accepted: list[Stream] = []
        self._references: list[Any] = []
        self.refusal: tuple[int, str] | None = None

    def opened(self, stream: Stream) -> Any:
        """A reference in the message that is being decoded opened this stream; what to put in the reference's place."""
        reference = stream.reference()
        self._accepted.append(stream)
        self._references.append(reference)
        return reference

    def receive(self, payload: Payload, now: float, events: list[Any]) -> None:
        """A whole message.

        Raises:
            Violation: it is not msgpack.
        """
        try:
            message = self._unpack(payload)
        except Exception:
            self._receive_unacceptable(bytes(payload), events)
            return
        if self._accepted:
            streams, self._accepted = self._accepted, []
            self._references.clear()
            self._calls.receive(message, now, streams, events)
        else:
            self._calls.receive(message, now, None, events)

    def receive_batch(self, payload: Payload, now: float, events: list[Any]) -> None:
        """An array of messages.

        Raises:
            Violation: it is not an array of msgpack values.
        """
        try:
            messages = self._unpack(payload)
        except Exception:
            self._split_batch(bytes(payload), now, events)
            return
        if type(messages) is not list:
            raise Violation("a batch is an array")
        receive = self._calls.receive
        if not self._accepted:
            for message in messages:
                receive(message, now, None, events)
            return
        accepted, self._accepted = self._accepted, []
        references, self._references = self._references, []
        owners = {id(reference): stream for stream, reference in zip(accepted, references, strict=True)}
        for message in messages:
            receive(message, now, streams_in(message, owners), events)

    def refuse(self, message: TooLong, events: list[Any]) -> None:
        """A message that is too long for this side (rule P6)."""
        self._answer(message.head, ResourceExhausted.code, message.reason, events)

    def _split_batch(self, payload: bytes, now: float, events: list[Any]) -> None:
        """Take a batch message by message, so that one bad message costs that message only."""
        for stream in self._accepted:  # without a word to the peer: they are accepted anew with their message
            stream.receive_reset(StreamReset("its batch is being taken apart"))
        self._accepted = []
        self._references.clear()
        self.refusal = None
        unpacker = msgpack.Unpacker(max_buffer_size=len(payload) + 1)
        unpacker.feed(payload)
        try:
            count = unpacker.read_array_header()
        except (ValueError, msgpack.OutOfData, msgpack.StackError):
            raise Violation("a batch is an array") from None
        start = unpacker.tell()
        ends = is_well_formed(payload[start:], count)
        if ends is None:
            raise Violation("a frame with something that is not msgpack")
        position = start
        for end in ends:
            self.receive(payload[position : start + end], now, events)
            position = start + end

    def _receive_unacceptable(self, payload: bytes, events: list[Any]) -> None:
        self._drop_accepted()
        refusal, self.refusal = self.refusal, None
        if is_well_formed(payload) is None:
            raise Violation("a frame with something that is not msgpack")
        self._calls.malformed += 1
        if refusal is not None:
            Codec(decode_stream=self._refuse_stream).scan(payload)
        code, text = refusal or (19, NOT_ACCEPTABLE)
        self._answer(message_head(payload), code, text, events)

    def _answer(self, head: MessageHead | None, code: int, text: str, events: list[Any]) -> None:
        if head is None or head[1] is None:
            return
        if head[0] == 0:
            self._calls.refuse(head[1], code, text)
        elif head[0] == 1:
            self._calls.fail(head[1], peer_error([code, text, None]), events)

    def _drop_accepted(self) -> None:
        reset_all(self._accepted)
        self._accepted = []
        self._references.clear()


def streams_in(message: Any, owners: dict[int, Stream]) -> list[Stream] | None:
    """The streams of a batch that belong to one of its messages; ``owners`` has the stream of each reference's id()."""
    found = []
    waiting = [message]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += reversed(value)
        elif isinstance(value, dict):
            waiting += reversed(value.values())
        elif id(value) in owners:
            found.append(owners[id(value)])
    return found or None
