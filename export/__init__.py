"""Trained networks to bundles that run without torch."""

from .recognizer import export_run

__all__ = ["export_run"]
