"""A watch as a process of its own, and what it says."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tests.support.command import STEP_AUDIT, environment

# So long is waited for what has to come.
_SECONDS = 60.0

QUICK = (
    *("--seal-every", "200ms", "--verify-every", "200ms"),
    *("--verify-all-every", "1h", "--patience", "500ms"),
)


@dataclass
class Watcher:
    """A running watch; ``said`` is all that it has said so far, in order."""

    process: subprocess.Popen[str]
    said: list[dict[str, Any]] = field(default_factory=list)
    _lines: queue.Queue[str] = field(default_factory=queue.Queue)

    def __post_init__(self) -> None:
        """Read what it says without keeping it from going on."""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        # The end of a test closes what is read here.
        with suppress(ValueError):
            for line in self.process.stderr:
                self._lines.put(line)

    def wait_for(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait for a line that was not waited for yet; gives it."""
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"it never said that, but {self.said}") from None
            said: dict[str, Any] = json.loads(line)
            self.said.append(said)
            if condition(said):
                return said

    def alarm(self, kind: str, state: str = "raised") -> dict[str, Any]:
        """Wait for an alarm; gives its line."""
        return self.wait_for(lambda said: (said.get("alarm"), said.get("state")) == (kind, state))

    def note(self, begins: str) -> dict[str, Any]:
        """Wait for another line."""
        return self.wait_for(lambda said: said.get("note", "").startswith(begins))

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it by a signal; gives its exit code."""
        self.process.send_signal(number)
        self.note("stopped by ")
        return self.process.wait(timeout=_SECONDS)


@contextmanager
def watching(dsn: str, *options: str) -> Iterator[Watcher]:
    """A watch that goes round quickly; killed at the end if it still runs."""
    with subprocess.Popen(
        [*STEP_AUDIT, "watch", *QUICK, *options, "--dsn", dsn],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        # A suite that runs in the background may have been told to ignore interrupts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as process:
        try:
            yield Watcher(process)
        finally:
            process.kill()
