"""The viewer, a page in the browser: live skeletons and their actions, and motion generated from text."""

from .page import Page
from .source_player import SourcePlayer

__all__ = ["Page", "SourcePlayer"]
