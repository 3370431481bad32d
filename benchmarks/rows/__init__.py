"""Our speed beside what is possible here, in the same run: ``python -m benchmarks.rows``."""

from benchmarks.rows.session import Session, one_round, session

__all__ = ["Session", "one_round", "session"]
