"""Evaluation protocols: one function each, which returns a JSON object."""
