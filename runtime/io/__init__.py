"""Readers and writers of motion files, and live sources of skeletons."""
