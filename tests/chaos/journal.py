"""What writers were told of their operations, kept outside the database: in memory, in a file."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.plan import Operation

ACKNOWLEDGED = "acknowledged"
FAILED = "failed"
UNKNOWN = "unknown"
# Prepared, and neither committed nor rolled back.
IN_DOUBT = "in doubt"


@dataclass
class Entry:
    """An operation, and what became of it as far as its writer knows.

    ``before`` and ``after`` are positions in the WAL: read before anything was written, and after
    the commit was acknowledged. ``generation`` counts the failovers before it. ``prepared``: the
    first of two phases was acknowledged.
    """

    operation: Operation
    generation: int
    outcome: str = FAILED
    before: int = 0
    after: int | None = None
    prepared: bool = False
    error: str | None = None


@dataclass
class Journal:
    """All operations in the order in which they began; any thread writes."""

    path: Path
    entries: list[Entry] = field(default_factory=list)
    finished: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def begin(self, operation: Operation, generation: int) -> Entry:
        """Note that an operation begins."""
        entry = Entry(operation, generation)
        with self._changed:
            self.entries.append(entry)
            self._write("begun", operation, generation=generation)
        return entry

    def end(self, entry: Entry) -> None:
        """Note what became of it."""
        noted = {name: getattr(entry, name) for name in ("outcome", "before", "after", "error")}
        with self._changed:
            self.finished += 1
            self._write("ended", entry.operation, **noted)
            self._changed.notify_all()

    def say(self, event: str, **noted: Any) -> None:
        """Note what happened to the servers, or was found."""
        with self._changed, self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, **noted}, default=str) + "\n")

    def wait_for(self, finished: int, patience: float = 1.0) -> None:
        """Wait until so many operations have finished, or for a while none does."""
        with self._changed:
            last, quiet_since = self.finished, time.monotonic()
            while self.finished < finished and time.monotonic() - quiet_since < patience:
                self._changed.wait(patience)
                if self.finished != last:
                    last, quiet_since = self.finished, time.monotonic()

    def _write(self, event: str, operation: Operation, **noted: Any) -> None:
        line = {
            "event": event,
            "operation": operation.number,
            "kind": operation.kind,
            "writer": operation.writer,
            "kept": [str(each) for each in operation.kept_results],
            **noted,
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
