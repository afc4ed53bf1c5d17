"""Readers and writers of motion files, and live sources of skeletons."""

from .files import check_target, read, write
from .frame import Frame, Moment
from .source import Source, open_source

__all__ = ["Frame", "Moment", "Source", "check_target", "open_source", "read", "write"]
