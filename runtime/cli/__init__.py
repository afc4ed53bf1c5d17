"""The command line `motionrt`; each command imports only what it needs, for a fast start.

SIGTERM and SIGHUP end a command like Ctrl-C.
"""

import logging
import os
import sys
import traceback
from collections.abc import Sequence

from ..errors import InputError, printable
from .signals import interrupt_on_termination

EXIT_OK, EXIT_ERROR, EXIT_USAGE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: without the program name; default: those of the process. `--debug` shows tracebacks.
    Returns:
        0 on success; 2 for invalid input or usage; 1 for any other error.
    """
    argv = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in argv
    if logging.lastResort is not None:  # prints the log unless a program has set up another one
        logging.lastResort.setFormatter(_Printable())
    try:
        with interrupt_on_termination():
            code = _run([argument for argument in argv if argument != "--debug"])
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
        except OSError:  # Python would retry at exit and change the exit status
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
    except typer.Exit as exit_:
        return exit_.exit_code
    except Exception as error:
        if hasattr(error, "format_message"):  # a parser error, whose class depends on the version of typer
            raise InputError(" ".join(error.format_message().split())) from error
        raise
    return EXIT_OK


def _fail(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print("motionrt:", printable(" ".join(message.split())), file=sys.stderr)
    return code


class _Printable(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return printable(super().formatMessage(record))


def _discard_stdout() -> None:
    """Discard buffered output that the reader no longer accepts; flushing it at exit would fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
