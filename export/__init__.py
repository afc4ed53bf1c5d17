"""Trained networks to bundles that run without torch."""

from .family import export_family
from .recognizer import export_run
from .zero_shot import export_zero_shot, is_matcher

__all__ = ["export_family", "export_run", "export_zero_shot", "is_matcher"]
