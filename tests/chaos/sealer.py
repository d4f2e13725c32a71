"""A sealer that can be killed: a process of its own, which seals whenever it is told where."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import psycopg

from tests.chaos import audit
from tests.chaos.cluster import is_of_fault
from tests.support.connect import connect

NAME = "sealer"
# How its answer begins where no fault explains it.
FAILED = "failed"
_ROOT = Path(__file__).parents[2]


class Sealer:
    """The process, started anew where it was killed. ``lock`` is held from question to answer."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.process = self._start()

    def seal(self, dsn: str) -> str:
        """Seal all in a database; gives ``complete``, or why not."""
        with self.lock:
            self.ask(dsn)
            return self.answer()

    def ask(self, dsn: str) -> None:
        """Let it begin to seal."""
        assert self.process.stdin
        self.process.stdin.write(dsn + "\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        """What it says in the end; nothing where it was killed."""
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        """Kill it without warning, and start another."""
        self.process.kill()
        self.close()
        self.process = self._start()

    def close(self) -> None:
        """End it."""
        with suppress(BrokenPipeError):
            self.process.communicate()

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.sealer"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


def _serve() -> None:
    for dsn in sys.stdin:
        try:
            with connect(dsn.strip(), application_name=NAME, connect_timeout=10) as conn:
                while not audit.seal(conn):
                    pass
            print("complete", flush=True)
        except psycopg.Error as error:
            said = " ".join(str(error).split())
            print(said if is_of_fault(error) else f"{FAILED}: {said}", flush=True)


if __name__ == "__main__":
    _serve()
