"""Counted cost, which noise cannot touch: instructions, allocations and system calls per call (``make counted``)."""
