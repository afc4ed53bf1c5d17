"""The command line `motionrt`; a command imports what it needs itself, so that it starts fast."""

import os
import sys
import traceback
from collections.abc import Sequence

from ..errors import InputError

EXIT_OK, EXIT_ERROR, EXIT_USAGE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: without the program's name; None: those of the process. `--debug` shows tracebacks.
    Returns:
        0; 2 for input or usage the user can mend; 1 for any other error.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    try:
        code = _run([argument for argument in given if argument != "--debug"])
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _discard_stdout()
        return EXIT_OK
    except KeyboardInterrupt:
        return _fail("interrupted", EXIT_ERROR, debug)
    except InputError as error:
        return _fail(str(error), EXIT_USAGE, debug)
    except OSError as error:
        try:
            sys.stdout.flush()
        except OSError:  # Python would try once more at exit, and end with a status of its own
            _discard_stdout()
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", EXIT_ERROR, debug)
    except Exception as error:
        return _fail(f"{type(error).__name__}: {error}", EXIT_ERROR, debug)


def _run(arguments: list[str]) -> int:
    import typer

    from .app import app

    command = typer.main.get_command(app)
    try:
        with command.make_context("motionrt", arguments) as context:
            command.invoke(context)
    except typer.Exit as leave:
        return leave.exit_code
    except Exception as error:
        if hasattr(error, "format_message"):  # the parser's errors, whose class depends on typer's version
            raise InputError(error.format_message()) from error
        raise
    return EXIT_OK


def _fail(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print("motionrt:", " ".join(message.split()), file=sys.stderr)
    return code


def _discard_stdout() -> None:
    """Whoever read our output has left, or is full: what is buffered goes nowhere instead of failing at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
