"""Export of trained networks to bundles that run without torch."""

from .coamd import export_coamd
from .recognizer import check_own, export_run
from .tensorrt import build_engines
from .zero_shot import export_zero_shot, is_matcher

__all__ = ["build_engines", "check_own", "export_coamd", "export_run", "export_zero_shot", "is_matcher"]
