"""Errors. `InputError` is for what the user can fix; the command line prints it on one line with exit status 2."""


class MotionError(Exception):
    """Base of all errors raised by motionrt."""


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
