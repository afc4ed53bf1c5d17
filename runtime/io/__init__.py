"""Readers and writers of motion files, and live sources of skeletons."""

from .files import read, write
from .frame import Frame
from .source import Source, open_source

__all__ = ["Frame", "Source", "open_source", "read", "write"]
