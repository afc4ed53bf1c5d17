"""Errors. `InputError` is for what the user can fix; the command line prints it on one line with exit status 2."""

import re

# Controls of terminals, line breaks, and marks that reverse the direction of text
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """A text from elsewhere in one line, for terminals and logs: its control characters as in JSON, such as \\u001b."""
    return CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


class MotionError(Exception):
    """Base of all errors raised by motionrt. The message is in one line, without control characters."""

    def __init__(self, *values: object) -> None:
        super().__init__(*(printable(value) if isinstance(value, str) else value for value in values))


class InputError(MotionError, ValueError):
    """Input or usage that the user can fix; the message says what was wrong, where, and what was expected."""


class LayoutError(InputError):
    """An unknown skeleton layout, or joints that do not fit the one named."""


class BundleError(InputError):
    """A model bundle that is missing, damaged, tampered with or of an unsupported version."""


class MissingExtra(InputError):
    """A feature whose optional packages are not installed; the message names the extra."""


def install_hint(extra: str) -> str:
    """Command that installs the packages of an extra, from a checkout: motionrt is not on a package index."""
    return f"pip install '.[{extra}]' in motionrt's checkout"
