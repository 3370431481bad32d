"""This library beside others and beside the limits, in interleaved rounds of one run: ``make bench-peers``."""
