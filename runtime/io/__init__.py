"""Readers and writers of motion files, and live sources of skeletons."""

from .files import read, write
from .frame import Frame, Moment
from .source import Source, open_source

__all__ = ["Frame", "Moment", "Source", "open_source", "read", "write"]
