"""Measuring a peer: load, statistics, comparison, plots. What ``virtagent bench`` and ``benchmarks/`` stand on."""
