"""`vtr` and `python -m vtr`: the door in front of the command line, where a Ctrl-C is met from the first moment.

A KeyboardInterrupt in the middle of an import leaves half a module behind, and numpy or torch then end in errors of
their own. While something is imported there is nothing to save, so the process simply ends.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130


def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    """A handler of SIGINT: ends the process while it imports, else raises KeyboardInterrupt as Python would."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, b"error: interrupted\n")
            os._exit(INTERRUPTED)
        frame = frame.f_back
    raise KeyboardInterrupt


def main() -> None:
    """The entry point of the `vtr` command."""
    # Somebody who started us deaf to Ctrl-C (nohup, a shell's background job) keeps that.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    from vtr.cli.app import main as run

    run()


if __name__ == "__main__":  # processes that are started anew import this module too
    main()
