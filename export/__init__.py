"""Export of trained networks to bundles that run without torch."""

from .coamd import export_coamd
from .matcher import export_matcher, is_feature_run
from .official_ctr_gcn import export_clips, is_clip_run
from .recognizer import check_own, export_run
from .tensorrt import build_engines
from .zero_shot import export_zero_shot, is_matcher

__all__ = [
    "build_engines",
    "check_own",
    "export_clips",
    "export_coamd",
    "export_matcher",
    "export_run",
    "export_zero_shot",
    "is_clip_run",
    "is_feature_run",
    "is_matcher",
]
