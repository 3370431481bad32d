"""Two equal RPC peers, host and guest, over whatever channel there is."""

__version__ = "0.1.0"
