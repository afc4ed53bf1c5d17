"""Benchmarks: every number in the documentation is printed by a command in this package."""
