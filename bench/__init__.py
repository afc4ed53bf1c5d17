"""Measurements: what the README claims is printed by a command in here."""
