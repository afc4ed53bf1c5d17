"""Trained networks to bundles that run without torch."""

from .family import export_family
from .recognizer import export_run

__all__ = ["export_family", "export_run"]
