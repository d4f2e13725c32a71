"""The HTTP service over a real socket: the command, or the application in a thread."""

from __future__ import annotations

import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from step_audit.read.web.server import address, listen
from tests.support.command import STEP_AUDIT, environment


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Serve ``app`` from a thread of this process; gives its address."""
    with listen("127.0.0.1", 0) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield address(listening)
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def running_command(
    *arguments: str, log: list[str] | None = None, **settings: str
) -> Iterator[str]:
    """Run ``step-audit serve`` on a free port with these options; gives its address.

    At the end it is interrupted, as by Ctrl-C, and leaves in peace: it has complained of nothing,
    unless ``log`` is given, which gets its lines.
    """
    process = subprocess.Popen(
        [*STEP_AUDIT, "serve", "--port", "0", *arguments],
        env=environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        said = process.stdout.readline()
        try:
            assert said.startswith("step-audit serves http://"), said
            yield said.split()[-1]
        finally:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (0, "")
    lines = err.splitlines()
    if log is None:
        assert [line for line in lines if not re.match(r"\S+Z info request ", line)] == []
    else:
        log += lines
