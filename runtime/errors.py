"""Every error a user can mend derives from `InputError`; the command line turns it into one line and exit status 2."""


class MotionError(Exception):
    """Base of all errors raised by motionrt."""


class InputError(MotionError, ValueError):
    """Input or usage that the user can mend; the message says what was wrong, where, and what was expected."""


class LayoutError(InputError):
    """An unknown skeleton layout, or joints that do not fit the one named."""


class BundleError(InputError):
    """A model bundle that is missing, damaged, tampered with or of another version."""


class MissingExtra(InputError):
    """A feature whose optional packages are not installed; the message names the extra."""


def install_hint(extra: str) -> str:
    """How the packages of an extra are installed; motionrt is on no registry, so from its checkout."""
    return f"pip install '.[{extra}]' in motionrt's checkout"
