"""`vtr` and `python -m vtr`: the door in front of the command line, where signals are met from the first moment.

A KeyboardInterrupt in the middle of an import leaves half a module behind, and numpy or torch then end in errors of
their own. While something is imported there is nothing to save, so the process simply ends.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from vtr.errors import Interrupted
from vtr.launched import is_launched

SAID = b"error: interrupted\nhint: run the same command to go on\n"
# What schedulers send, and a terminal that is closed; a training hears them as wishes while it trains.
SCHEDULERS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    """A handler of signals: ends the process while it imports, else raises KeyboardInterrupt as Python would."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, SAID)
            os._exit(Interrupted.exit_code)
        frame = frame.f_back
    raise KeyboardInterrupt


def main() -> None:
    """The entry point of the `vtr` command."""
    # Somebody who started us deaf to Ctrl-C (nohup, a shell's background job) keeps that.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    # One of several processes may wait for the others where Python hears nothing: there a signal ends it, as ever, and
    # their launcher says so.
    for number in SCHEDULERS if not is_launched() else ():
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, interrupt)
    from vtr.cli.app import main as run

    run()


if __name__ == "__main__":  # processes that are started anew import this module too
    main()
