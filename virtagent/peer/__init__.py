"""The asyncio skin: one protocol connection over one channel after another is a Peer."""
