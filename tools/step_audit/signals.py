"""SIGTERM and Ctrl-C end a command within a second, and its query on the server with it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import psycopg

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# How long cancelling and cleaning up may take: a server that hangs answers no cancel request.
_SECONDS = 0.7
_SOON = 0.01

# Of the commands' parts that run, the innermost last: what tells what was done so far, and how many
# seconds it may take to clean up.
_told: list[tuple[Callable[[], str], float]] = [
    (lambda: "what was not committed is undone", _SECONDS)
]


class StoppedError(SystemExit):
    """A signal ends the command; its exit code is the signal's, 130 or 143.

    As a SystemExit it makes psycopg cancel the query that it waits for.
    """

    def __init__(self, number: int, done: str) -> None:
        super().__init__(128 + number)
        self.name = signal.Signals(number).name
        self.done = done

    def __str__(self) -> str:
        """The line for people."""
        return f"step-audit: stopped by {self.name}; {self.done}"


@contextmanager
def stoppable() -> Iterator[None]:
    """Within, a signal raises :class:`StoppedError`, and ends the process if that takes too long.

    A signal that whoever started the process has made it ignore stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    deadlines: list[threading.Timer] = []

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        done, seconds = _told[-1]
        stopped = StoppedError(number, done())
        # It would warn of a server that answers no cancel request.
        logging.getLogger("psycopg").setLevel(logging.CRITICAL)
        deadline = threading.Timer(seconds, _leave, (stopped,))
        deadline.daemon = True
        deadline.start()
        deadlines.append(deadline)
        for child in multiprocessing.active_children():
            child.terminate()
        raise stopped

    hook = sys.unraisablehook

    def raise_again(args: sys.UnraisableHookArgs) -> None:
        """It was raised where Python lets nothing through, as in a finalizer: once more, soon."""
        if not isinstance(args.exc_value, StoppedError):
            hook(args)
            return
        number = int(args.exc_value.code or 0) - 128
        main = threading.main_thread().ident
        again = threading.Timer(_SOON, signal.pthread_kill, (main, number))
        again.daemon = True
        again.start()
        deadlines.append(again)

    sys.unraisablehook = raise_again
    before: dict[int, Any] = {
        each: signal.signal(each, stop)
        for each in _SIGNALS
        if signal.getsignal(each) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for deadline in deadlines:
            deadline.cancel()
        sys.unraisablehook = hook
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def telling(done: Callable[[], str], seconds: float = _SECONDS) -> Iterator[None]:
    """Within, a signal makes the command say what ``done`` gives: what was done so far.

    It may take ``seconds`` to clean up.
    """
    _told.append((done, seconds))
    try:
        yield
    finally:
        _told.pop()


def follow_parent(conn: psycopg.Connection[Any]) -> None:
    """In a worker process: Ctrl-C is for its parent, whose SIGTERM ends it and its query."""

    def leave(number: int, _frame: FrameType | None) -> NoReturn:
        with suppress(Exception):
            conn.cancel_safe(timeout=_SECONDS / 2)
        os._exit(128 + number)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, leave)


def _leave(stopped: StoppedError) -> None:
    """End the process, whatever it waits for."""
    for child in multiprocessing.active_children():
        child.kill()
    sys.stderr.write(f"{stopped}\n")
    sys.stderr.flush()
    os._exit(int(stopped.code or 1))
