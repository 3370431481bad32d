"""Other libraries, this one, and the limits, each behind the same small interface: see :mod:`benchmarks.peers.peer`."""
