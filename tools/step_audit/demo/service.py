"""The demo's ``step-audit serve``, which may run on when the demo has ended."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from step_audit.demo.embedded import EmbeddedServer


@dataclass(frozen=True)
class Service:
    """The service of a demo's server; the server's folder holds its number and its log.

    The file with its number is locked as long as it runs, so that no other process is taken for it.
    """

    server: EmbeddedServer

    def start(self) -> str:
        """Start it on a free port; gives its address."""
        command = [sys.executable, "-m", "step_audit", "serve", "--port", "0"]
        with (
            self._pid_file.open("w", encoding="ascii") as pid_file,
            (self.server.folder / "service.log").open("wb") as log,
        ):
            fcntl.flock(pid_file, fcntl.LOCK_EX)
            process = subprocess.Popen(
                [*command, "--dsn", self.server.dsn()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                # The demo's Ctrl-C, and the end of its terminal, are not the service's.
                start_new_session=True,
                pass_fds=[pid_file.fileno()],
            )
            pid_file.write(f"{process.pid}\n")
        # It is left to itself, which is no fault.
        process.returncode = 0
        assert process.stdout is not None
        with process.stdout as said:
            return said.readline().split()[-1]

    def stop(self) -> None:
        """End it, if it runs, and wait until it has ended."""
        if not self._pid_file.exists():
            return
        with self._pid_file.open(encoding="ascii") as pid_file:
            try:
                fcntl.flock(pid_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.kill(int(pid_file.read()), signal.SIGTERM)
                fcntl.flock(pid_file, fcntl.LOCK_EX)

    @property
    def _pid_file(self) -> Path:
        return self.server.folder / "service.pid"
