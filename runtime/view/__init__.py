"""A page in the browser: live skeletons and what they do, beside motion that is made from text."""

from .page import Page
from .player import Player

__all__ = ["Page", "Player"]
