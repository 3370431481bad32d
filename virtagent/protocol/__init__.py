"""The protocol core, sans-I/O: bytes and ``now`` in, bytes and events out (docs/protocol.md).

Nothing in here knows asyncio, sockets or a clock.
:class:`~virtagent.protocol.connection.Connection` ties the parts together.
"""
