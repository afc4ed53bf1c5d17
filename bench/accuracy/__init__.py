"""Accuracy benchmarks: `registry` lists them, `protocols` holds how each is measured."""
