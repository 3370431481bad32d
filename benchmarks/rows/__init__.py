"""Our speed beside what is possible here, in the same run: ``python -m benchmarks.rows``."""
