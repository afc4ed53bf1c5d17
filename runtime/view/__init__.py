"""A page in the browser: live skeletons and what they do, beside motion that is made from text."""

from .page import Page
from .source_player import SourcePlayer

__all__ = ["Page", "SourcePlayer"]
