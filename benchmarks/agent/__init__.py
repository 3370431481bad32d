"""What the issue of the full agent promises of its speed, printed: ``make bench-agent``."""
